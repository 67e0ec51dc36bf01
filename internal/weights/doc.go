// Package weights reads model files: names mapped to typed tensors.
//
// Three things are called a model file here, and [Open] takes any of them:
//
//   - a GGUF file (version 2 or 3, little-endian), or one part of a split set
//     name-00001-of-00003.gguf, which opens the whole set;
//   - a Hugging Face checkpoint: a directory with config.json and safetensors,
//     in one file or sharded by model.safetensors.index.json;
//   - one .safetensors file, with the files beside it.
//
// A [File] holds them mapped into memory (or read into memory outside the Go
// heap, [Options].Load) and hands out [Tensor] values whose Data aliases that
// memory: no copy, no repacking. Nothing may use a Tensor's Data after
// [File.Close]. GGUF key-values come as [Metadata]; the JSON files of a
// checkpoint through [File.JSON].
//
// A [Type] says how a tensor's numbers are stored, numbered as GGUF numbers
// them. Types other than F32, F16 and BF16 store blocks of 32 or 256 elements
// with shared scales; a row is a whole number of blocks. [DequantizeRow]
// decodes a row exactly as the formats define it, with the same bits on every
// platform. [QuantizeRow] encodes one.
//
// Shapes are outermost first: a matrix is [rows, cols], the way it multiplies
// a column of cols numbers (GGUF itself stores the reverse).
//
// Files are untrusted. Every count, length and offset is checked against the
// bytes that are there before anything is allocated for it, so a hostile file
// costs memory in proportion to its own size and gets an error that names the
// cause and the remedy. What cannot be contained: a file that another process
// truncates while it is mapped raises SIGBUS at the next access. [Read] is for
// those who replace model files in place.
package weights
