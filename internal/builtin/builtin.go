// Package builtin holds the model that comes with weir, so that a newcomer's first `weir serve` streams
// text within seconds and nothing has to be downloaded.
//
// weir-mini is a Llama-shaped model of about 7 million parameters with its own tokeniser (byte-level BPE,
// 2048 tokens) and chat template (ChatML), stored as GGUF with Q8_0 matrices. Every matrix reads a
// multiple of 256 values a row, so each quantised type can hold it. Beside it stand a one-layer draft
// model of the same vocabulary and three Medusa heads, for speculative decoding. All of it is made by
// tools/builtin from a seed, out of text that a program there writes; docs/builtin-model.md tells how,
// and manifest.json records what was measured.
//
// The returned slices are the embedded bytes themselves: they are shared and must not be written to.
package builtin

import _ "embed"

// Name is what the built-in model is called in the API.
const Name = "weir-mini"

//go:embed weir-mini.gguf
var model []byte

//go:embed weir-mini-draft.gguf
var draft []byte

//go:embed weir-mini-medusa.safetensors
var medusaHeads []byte

//go:embed medusa_config.json
var medusaConfig []byte

// Model is the model as a GGUF file: architecture llama, Q8_0 matrices, F32 norms, tied embeddings.
func Model() []byte { return model }

// Draft is the draft model as a GGUF file, of the same vocabulary as Model.
func Draft() []byte { return draft }

// MedusaHeads is a safetensors file in the layout of the Medusa project: for head i the residual layer
// "{i}.0.linear.weight" [width, width] and "{i}.0.linear.bias" [width], and the output matrix
// "{i}.1.weight" [vocabulary, width], all F16. Head i reads the hidden state after the last norm at
// position t and predicts the token at t+i+2.
func MedusaHeads() []byte { return medusaHeads }

// MedusaConfig is the config.json that belongs to MedusaHeads.
func MedusaConfig() []byte { return medusaConfig }
