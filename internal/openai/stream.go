package openai

import (
	"strconv"

	"weir/internal/llm"
)

// stream is what the streams of chats and completions share. A stream writes
// its chunks into a slice of the caller's: one slice, and so one write, an
// event. It is not safe for concurrent use.
type stream struct {
	head      []byte // what every chunk begins with, up to the choices
	s         *Sampling
	perPrompt int
	usage     llm.Usage
	prompts   []int // tokens of each prompt, for usage so far
	output    []int // tokens of each choice
}

func newStream(h Head, s *Sampling, prompts int, prefix, object string) stream {
	head := h.append([]byte("data: {"), prefix, object)
	return stream{
		head:      append(head, `,"choices":[`...),
		s:         s,
		perPrompt: s.choices(),
		prompts:   make([]int, prompts),
		output:    make([]int, prompts*s.choices()),
	}
}

// count takes note of an event and returns its choice's index in the response.
func (s *stream) count(prompt int, e *llm.Event) int {
	if e.Prompt != nil {
		s.prompts[prompt] = len(e.Prompt.IDs)
	}
	if e.Usage != nil {
		addUsage(&s.usage, e.Usage)
	}
	i := prompt*s.perPrompt + e.Choice
	s.output[i] += len(e.Tokens)
	return i
}

// open begins a chunk of choice i.
func (s *stream) open(dst []byte, i int) []byte {
	dst = append(append(dst, s.head...), `{"index":`...)
	return strconv.AppendInt(dst, int64(i), 10)
}

// close ends the choice i, and with shut the chunk.
func (s *stream) close(dst []byte, i int) []byte {
	dst = append(dst, "}]"...)
	switch {
	case s.s.continuousUsage():
		u := llm.Usage{PromptTokens: s.prompts[i/s.perPrompt], CompletionTokens: s.output[i]}
		dst = appendUsage(append(dst, `,"usage":`...), &u)
	case s.s.includeUsage():
		dst = append(dst, `,"usage":null`...)
	}
	return dst
}

func shut(dst []byte) []byte { return append(dst, "}\n\n"...) }

// wants tells whether an event's tokens or text make a chunk. Tokens whose text
// is held back make one only if the client sees the tokens themselves.
func (s *stream) wants(e *llm.Event, logprobs bool) bool {
	return e.Text != "" || (len(e.Tokens) > 0 && (logprobs || s.s.ReturnTokenIDs))
}

// End appends what follows the last event: the usage, if asked for, and [DONE].
func (s *stream) End(dst []byte) []byte {
	if s.s.includeUsage() {
		dst = append(append(dst, s.head...), `],"usage":`...)
		dst = shut(appendUsage(dst, &s.usage))
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// ChatStream writes a chat completion as server-sent events.
type ChatStream struct {
	stream
	r     *ChatRequest
	begun bool
}

// NewStream starts the stream that answers r.
func (r *ChatRequest) NewStream(h Head) *ChatStream {
	return &ChatStream{stream: newStream(h, &r.Sampling, 1, "chatcmpl-", "chat.completion.chunk"), r: r}
}

// Append appends the chunks of an event, if it makes any. prompt is 0: a chat
// has one.
func (s *ChatStream) Append(dst []byte, prompt int, e *llm.Event) []byte {
	i := s.count(prompt, e)
	if !s.begun {
		s.begun = true
		dst = s.begin(dst, e)
	}
	if e.Reasoning != "" && !s.r.hidesReasoning() {
		dst = appendString(append(s.open(dst, i), `,"delta":{"reasoning_content":`...), e.Reasoning)
		dst = shut(s.close(append(dst, `},"logprobs":null,"finish_reason":null`...), i))
	}
	if s.wants(e, s.r.Logprobs) {
		dst = appendString(append(s.open(dst, i), `,"delta":{"content":`...), e.Text)
		dst = append(dst, `},"logprobs":`...)
		if s.r.Logprobs && len(e.Tokens) > 0 {
			dst = appendChatLogprobs(dst, e.Tokens, s.r.TokensAsTokenIDs)
		} else {
			dst = append(dst, "null"...)
		}
		dst = appendFinish(dst, llm.FinishNone)
		if s.r.ReturnTokenIDs {
			dst = appendTokenIDs(dst, e.Tokens)
		}
		dst = shut(s.close(dst, i))
	}
	for j := range e.Calls {
		dst = appendCallDelta(append(s.open(dst, i), `,"delta":`...), &e.Calls[j])
		dst = shut(s.close(append(dst, `,"logprobs":null,"finish_reason":null`...), i))
	}
	if e.Finish != llm.FinishNone {
		// A chunk of its own: there are clients that do not read the text of
		// the one that carries the reason.
		dst = append(s.open(dst, i), `,"delta":{},"logprobs":null`...)
		dst = appendStop(appendFinish(dst, e.Finish), e.StopString, e.StopToken)
		dst = shut(s.close(dst, i))
	}
	return dst
}

// begin appends the chunks that open the choices; the first carries the
// prompt's ids, if asked for.
func (s *ChatStream) begin(dst []byte, e *llm.Event) []byte {
	role, echo := s.r.role(), s.r.echo()
	for i := range s.perPrompt {
		dst = appendString(append(s.open(dst, i), `,"delta":{"role":`...), role)
		dst = append(dst, `,"content":"","refusal":null},"logprobs":null,"finish_reason":null`...)
		dst = s.close(dst, i)
		if i == 0 && s.r.ReturnTokenIDs && e.Prompt != nil {
			dst = appendInts(appendKey(dst, "prompt_token_ids"), e.Prompt.IDs)
		}
		if i == 0 && s.r.ExplainCache && e.Prompt != nil {
			dst = appendCacheInfo(appendKey(dst, "cache"), e.Prompt.Cache)
		}
		dst = shut(dst)
		if echo != "" {
			dst = appendString(append(s.open(dst, i), `,"delta":{"content":`...), echo)
			dst = append(dst, `},"logprobs":null,"finish_reason":null`...)
			dst = shut(s.close(dst, i))
		}
	}
	return dst
}

// CompletionStream writes a text completion as server-sent events.
type CompletionStream struct {
	stream
	r       *CompletionRequest
	ids     [][]int32        // of each prompt
	caches  []*llm.CacheInfo // of each prompt
	told    []bool           // which choices have had what there is to tell of their prompt
	offsets []offsets        // of each choice
}

// NewStream starts the stream that answers r.
func (r *CompletionRequest) NewStream(h Head) *CompletionStream {
	s := &CompletionStream{stream: newStream(h, &r.Sampling, len(r.Prompt), "cmpl-", "text_completion"), r: r}
	s.ids = make([][]int32, len(r.Prompt))
	s.caches = make([]*llm.CacheInfo, len(r.Prompt))
	s.told = make([]bool, len(s.output))
	s.offsets = make([]offsets, len(s.output))
	return s
}

// Append appends the chunks of an event of a prompt, if it makes any.
func (s *CompletionStream) Append(dst []byte, prompt int, e *llm.Event) []byte {
	e = s.r.asked(e)
	i := s.count(prompt, e)
	if e.Prompt != nil {
		s.ids[prompt], s.caches[prompt] = e.Prompt.IDs, e.Prompt.Cache
		if s.r.Echo {
			dst = s.echo(dst, prompt, e.Prompt)
		}
	}
	if s.wants(e, s.r.Logprobs != nil) {
		dst = s.chunk(dst, i, e.Text, e.Tokens)
		dst = appendFinish(dst, llm.FinishNone)
		dst = s.finishChunk(dst, i, e.Tokens)
	}
	if e.Finish != llm.FinishNone {
		dst = s.chunk(dst, i, "", nil)
		dst = appendStop(appendFinish(dst, e.Finish), e.StopString, e.StopToken)
		dst = s.finishChunk(dst, i, nil)
	}
	return dst
}

// echo appends the prompt's text to each of its choices.
func (s *CompletionStream) echo(dst []byte, prompt int, p *llm.PromptInfo) []byte {
	for i := prompt * s.perPrompt; i < (prompt+1)*s.perPrompt; i++ {
		s.offsets[i] = echoed(p)
		dst = s.chunk(dst, i, p.Text, p.Logprobs)
		dst = appendFinish(dst, llm.FinishNone)
		dst = s.finishChunk(dst, i, nil)
	}
	return dst
}

// chunk begins a chunk of choice i, up to its logprobs.
func (s *CompletionStream) chunk(dst []byte, i int, text string, tokens []llm.Token) []byte {
	dst = appendString(append(s.open(dst, i), `,"text":`...), text)
	dst = append(dst, `,"logprobs":`...)
	if s.r.Logprobs == nil || len(tokens) == 0 {
		return append(dst, "null"...)
	}
	return appendTextLogprobs(dst, tokens, *s.r.Logprobs, s.r.TokensAsTokenIDs, &s.offsets[i])
}

func (s *CompletionStream) finishChunk(dst []byte, i int, tokens []llm.Token) []byte {
	first := !s.told[i]
	s.told[i] = true
	if s.r.ReturnTokenIDs {
		if first {
			dst = appendInts(appendKey(dst, "prompt_token_ids"), s.ids[i/s.perPrompt])
		}
		dst = appendTokenIDs(dst, tokens)
	}
	if s.r.ExplainCache && first {
		dst = appendCacheInfo(appendKey(dst, "cache"), s.caches[i/s.perPrompt])
	}
	return shut(s.close(dst, i))
}
