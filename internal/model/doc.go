// Package model turns a model file into a forward pass.
//
// A family (Llama, Mistral, Qwen2, Qwen3) is one file that reads from top to
// bottom: how its configuration is read from a Hugging Face checkpoint and from
// a GGUF, which tensors it binds, and its forward pass as a list of operations
// on a [backend.Stream]. What families share stands beside them: hf.go and
// gguf.go read the two formats' metadata, config.go checks the sizes, bind.go
// finds tensors by name and shape, rope.go computes rotations, decoder.go holds
// the activations and layers of a decoder-only transformer.
//
// A file is untrusted, and a key or tensor that weir does not know could change
// what the model says. So the rules are: every size is checked against limits
// and against the tensors' shapes; a key that changes the output and is not
// supported is refused by name; and a tensor that the family does not use is an
// error, not a leftover.
//
// docs/adding-a-model.md shows the steps for a new family.
package model
