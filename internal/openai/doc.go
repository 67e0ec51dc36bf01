// Package openai translates between the OpenAI API's bytes and package llm's
// vocabulary. It is pure: no network, no clock, no state beyond a response
// being written.
//
// One direction, as the server uses it:
//
//	body --DecodeChat, DecodeCompletion--> *ChatRequest, *CompletionRequest
//	     --Requests(model)--> []*llm.Request --a Generator--> llm.Event...
//	     --NewStream(head).Append / NewResponse(head).Append--> bytes
//
// Decoding is driven by a table of fields (fields.go) which is also what
// docs/api.md prints. Its rule: a field either does what its author expects or
// is refused by name. Nothing that would change the output is ignored in
// silence, and a field that nobody knows is refused with the nearest known one,
// since it is nearly always a misspelling.
//
// The vLLM extensions (top_k, return_token_ids, chat_template_kwargs, ...) are
// fields like any other and keep vLLM's places in requests and responses.
package openai
