package openai

import (
	"strconv"

	"weir/internal/llm"
)

// Head is what a response says of itself.
type Head struct {
	ID          string // unique; without the dialect's prefix
	Created     int64  // Unix seconds
	Model       string // the model that answered
	Fingerprint string // of the program and model; "" for none
}

// append appends the fields that open a response and its chunks, without the
// brace before them.
func (h Head) append(dst []byte, prefix, object string) []byte {
	dst = appendString(append(dst, `"id":`...), prefix+h.ID)
	dst = appendString(appendKey(dst, "object"), object)
	dst = strconv.AppendInt(appendKey(dst, "created"), h.Created, 10)
	dst = appendString(appendKey(dst, "model"), h.Model)
	if h.Fingerprint != "" {
		dst = appendString(appendKey(dst, "system_fingerprint"), h.Fingerprint)
	}
	return dst
}

// choice gathers what became of one choice.
type choice struct {
	text       []byte
	reasoning  []byte
	calls      []gatheredCall
	tokens     []llm.Token
	finish     llm.Finish
	stopString string
	stopToken  *int32
}

// gathered is the events of a response that is not streamed.
type gathered struct {
	perPrompt  int // choices of each prompt
	keepTokens bool
	prompts    []llm.PromptInfo
	choices    []choice // prompt after prompt
	usage      llm.Usage
}

func newGathered(prompts, perPrompt int, keepTokens bool) gathered {
	return gathered{perPrompt, keepTokens, make([]llm.PromptInfo, prompts), make([]choice, prompts*perPrompt), llm.Usage{}}
}

// Add takes the next event of a prompt, counted from 0.
func (g *gathered) Add(prompt int, e *llm.Event) {
	if e.Prompt != nil {
		g.prompts[prompt] = *e.Prompt
	}
	if e.Usage != nil {
		addUsage(&g.usage, e.Usage)
	}
	c := &g.choices[prompt*g.perPrompt+e.Choice]
	c.text = append(c.text, e.Text...)
	c.reasoning = append(c.reasoning, e.Reasoning...)
	c.addCalls(e.Calls)
	if g.keepTokens {
		c.tokens = append(c.tokens, e.Tokens...)
	}
	if e.Finish != llm.FinishNone {
		c.finish, c.stopString, c.stopToken = e.Finish, e.StopString, e.StopToken
	}
}

func addUsage(to, u *llm.Usage) {
	to.PromptTokens += u.PromptTokens
	to.CachedTokens += u.CachedTokens
	to.CompletionTokens += u.CompletionTokens
	if u.Guesses == nil {
		return
	}
	sum := llm.Guesses{}
	if to.Guesses != nil {
		sum = *to.Guesses
	}
	sum.Drafts += u.Guesses.Drafts
	sum.Tokens += u.Guesses.Tokens
	sum.Held += u.Guesses.Held
	at := make([]int, max(len(sum.HeldAt), len(u.Guesses.HeldAt)))
	copy(at, sum.HeldAt)
	for i, n := range u.Guesses.HeldAt {
		at[i] += n
	}
	sum.HeldAt = at
	to.Guesses = &sum
}

// ChatResponse gathers a chat completion.
type ChatResponse struct {
	gathered
	r *ChatRequest
	h Head
}

// NewResponse starts the response to r.
func (r *ChatRequest) NewResponse(h Head) *ChatResponse {
	return &ChatResponse{newGathered(1, r.choices(), r.Logprobs || r.ReturnTokenIDs), r, h}
}

// Append appends the response's body.
func (c *ChatResponse) Append(dst []byte) []byte {
	dst = c.h.append(append(dst, '{'), "chatcmpl-", "chat.completion")
	dst = append(dst, `,"choices":[`...)
	role, echo := c.r.role(), c.r.echo()
	for i := range c.choices {
		dst = c.appendChoice(comma(dst, i), i, role, echo)
	}
	dst = appendUsage(append(dst, `],"usage":`...), &c.usage)
	if n := c.r.PromptLogprobs; n != nil {
		dst = appendPromptLogprobs(appendKey(dst, "prompt_logprobs"), c.prompts[0].Logprobs, *n)
	}
	if c.r.ReturnTokenIDs {
		dst = appendInts(appendKey(dst, "prompt_token_ids"), c.prompts[0].IDs)
	}
	if c.r.ExplainCache {
		dst = appendCacheInfo(appendKey(dst, "cache"), c.prompts[0].Cache)
	}
	return append(dst, '}')
}

func (c *ChatResponse) appendChoice(dst []byte, i int, role, echo string) []byte {
	x := &c.choices[i]
	dst = strconv.AppendInt(append(dst, `{"index":`...), int64(i), 10)
	dst = appendString(append(dst, `,"message":{"role":`...), role)
	if text := echo + string(x.text); text != "" || len(x.calls) == 0 {
		dst = appendString(appendKey(dst, "content"), text)
	} else {
		dst = append(dst, `,"content":null`...)
	}
	dst = append(x.appendAnswer(append(dst, `,"refusal":null`...), c.r.hidesReasoning()), `},"logprobs":`...)
	if c.r.Logprobs {
		dst = appendChatLogprobs(dst, x.tokens, c.r.TokensAsTokenIDs)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendFinish(dst, x.finish)
	dst = appendStop(dst, x.stopString, x.stopToken)
	if c.r.ReturnTokenIDs {
		dst = appendTokenIDs(dst, x.tokens)
	}
	return append(dst, '}')
}

// CompletionResponse gathers a text completion.
type CompletionResponse struct {
	gathered
	r *CompletionRequest
	h Head
}

// NewResponse starts the response to r.
func (r *CompletionRequest) NewResponse(h Head) *CompletionResponse {
	return &CompletionResponse{newGathered(len(r.Prompt), r.choices(), r.Logprobs != nil || r.ReturnTokenIDs), r, h}
}

// Add takes the next event of a prompt, counted from 0.
func (c *CompletionResponse) Add(prompt int, e *llm.Event) { c.gathered.Add(prompt, c.r.asked(e)) }

// Append appends the response's body.
func (c *CompletionResponse) Append(dst []byte) []byte {
	dst = c.h.append(append(dst, '{'), "cmpl-", "text_completion")
	dst = append(dst, `,"choices":[`...)
	for i := range c.choices {
		dst = c.appendChoice(comma(dst, i), i)
	}
	return append(appendUsage(append(dst, `],"usage":`...), &c.usage), '}')
}

func (c *CompletionResponse) appendChoice(dst []byte, i int) []byte {
	x, p := &c.choices[i], &c.prompts[i/c.perPrompt]
	dst = strconv.AppendInt(append(dst, `{"index":`...), int64(i), 10)
	text := string(x.text)
	if c.r.Echo {
		text = p.Text + text
	}
	dst = appendString(appendKey(dst, "text"), text)
	dst = append(dst, `,"logprobs":`...)
	if c.r.Logprobs != nil {
		tokens, o := x.tokens, offsets{}
		if c.r.Echo {
			tokens = append(p.Logprobs[:len(p.Logprobs):len(p.Logprobs)], tokens...)
			o = echoed(p)
		}
		dst = appendTextLogprobs(dst, tokens, *c.r.Logprobs, c.r.TokensAsTokenIDs, &o)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendFinish(dst, x.finish)
	dst = appendStop(dst, x.stopString, x.stopToken)
	if c.r.PromptLogprobs != nil {
		dst = appendPromptLogprobs(appendKey(dst, "prompt_logprobs"), p.Logprobs, *c.r.PromptLogprobs)
	}
	if c.r.ReturnTokenIDs {
		dst = appendTokenIDs(dst, x.tokens)
		dst = appendInts(appendKey(dst, "prompt_token_ids"), p.IDs)
	}
	if c.r.ExplainCache {
		dst = appendCacheInfo(appendKey(dst, "cache"), p.Cache)
	}
	return append(dst, '}')
}

// role is whose message the answer is.
func (r *ChatRequest) role() string {
	if role, _ := lastMessage(r.Messages); r.ContinueFinal && role != "" {
		return role
	}
	return "assistant"
}

// echo is the text that goes before the answer.
func (r *ChatRequest) echo() string {
	if role, content := lastMessage(r.Messages); r.Echo && role == r.role() {
		return content
	}
	return ""
}

func appendFinish(dst []byte, f llm.Finish) []byte {
	dst = append(dst, `,"finish_reason":`...)
	if f == llm.FinishNone {
		return append(dst, "null"...)
	}
	return appendString(dst, string(f))
}

// appendStop appends vLLM's stop_reason: the string or the token that ended a
// choice, null for any other end.
func appendStop(dst []byte, s string, id *int32) []byte {
	dst = append(dst, `,"stop_reason":`...)
	switch {
	case s != "":
		return appendString(dst, s)
	case id != nil:
		return strconv.AppendInt(dst, int64(*id), 10)
	}
	return append(dst, "null"...)
}

func appendTokenIDs(dst []byte, tokens []llm.Token) []byte {
	dst = append(dst, `,"token_ids":[`...)
	for i, t := range tokens {
		dst = strconv.AppendInt(comma(dst, i), int64(t.ID), 10)
	}
	return append(dst, ']')
}

func appendUsage(dst []byte, u *llm.Usage) []byte {
	dst = strconv.AppendInt(append(dst, `{"prompt_tokens":`...), int64(u.PromptTokens), 10)
	dst = strconv.AppendInt(append(dst, `,"completion_tokens":`...), int64(u.CompletionTokens), 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), int64(u.PromptTokens+u.CompletionTokens), 10)
	dst = strconv.AppendInt(append(dst, `,"prompt_tokens_details":{"cached_tokens":`...), int64(u.CachedTokens), 10)
	return append(appendGuesses(append(dst, '}'), u.Guesses), '}')
}

// appendGuesses adds how speculation fared: OpenAI's field for predictions, and
// what it lacks.
func appendGuesses(dst []byte, g *llm.Guesses) []byte {
	if g == nil {
		return dst
	}
	dst = strconv.AppendInt(append(dst, `,"completion_tokens_details":{"accepted_prediction_tokens":`...), int64(g.Held), 10)
	dst = strconv.AppendInt(append(dst, `,"rejected_prediction_tokens":`...), int64(g.Tokens-g.Held), 10)
	dst = strconv.AppendInt(append(dst, `},"speculation":{"drafts":`...), int64(g.Drafts), 10)
	dst = append(dst, `,"accepted_by_position":[`...)
	for i, n := range g.HeldAt {
		dst = strconv.AppendInt(comma(dst, i), int64(n), 10)
	}
	return append(dst, "]}"...)
}
