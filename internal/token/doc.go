// Package token turns text into token ids and back.
//
// A Tokenizer comes from one of four descriptions of it: the key-values of a
// GGUF file, a tokenizer.json, tiktoken ranks, or a SentencePiece model.
// Each loader reduces its description to the same pipeline:
//
//	text
//	  │ added      tokens that are found in the text as it is (<|im_end|>)
//	  │ normalize  Unicode forms, "▁" for spaces
//	  │ added      tokens that are found in the normalised text
//	  │ split      words, by patterns
//	  ▼ model      byte-level BPE, SentencePiece BPE or unigram, word by word
//	ids
//
// and the way back: every token has its bytes, fixed when the tokeniser is
// loaded, and decoding strings them together. A Decoder does so as tokens
// arrive and holds back the beginning of a character until the rest is there.
//
// # What is promised
//
// Ids equal those of the description's own library: llama.cpp for GGUF,
// Hugging Face tokenizers for tokenizer.json, tiktoken, SentencePiece.
// Deliberate differences, all in what no model was trained on:
//
//   - Malformed UTF-8 is read as one U+FFFD for each byte that is wrong.
//   - On decoding, a run of byte tokens that is not UTF-8 keeps the characters
//     in it that are (Hugging Face replaces the whole run), and a token added
//     to a byte-level vocabulary decodes to its text as written.
//
// Encoding takes time linear in the text but for a logarithm in the length of
// a word; one text cannot slow another down. Patterns without a scanner of
// ours run on a backtracking engine under a timeout.
//
// A tokeniser description is untrusted: a wrong one is an error, never a
// panic, and takes memory in proportion to its size.
package token
