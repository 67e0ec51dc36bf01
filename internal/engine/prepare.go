package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"weir/internal/chat"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/token"
)

// prepare turns a request into ids and complete parameters. Everything that can
// be wrong with a request is found here, before the loop hears of it.
func (e *Engine) prepare(r *llm.Request) ([]int32, llm.Params, error) {
	p := r.Params
	if len(r.CacheSalt) > maxSalt {
		return nil, p, llm.Invalidf("cache_salt", "the salt has %d bytes; %d are possible", len(r.CacheSalt), maxSalt)
	}
	if err := e.checkParams(&p); err != nil {
		return nil, p, err
	}
	prompt, err := e.tokenizePrompt(r)
	if err != nil {
		return nil, p, err
	}
	if len(prompt) == 0 {
		bos, ok := e.opts.Tokenizer.BOS()
		if !ok {
			return nil, p, llm.Invalidf("prompt", "the prompt is empty; give at least one token")
		}
		prompt = []int32{bos}
	}
	room := e.opts.Describe.Context - len(prompt)
	if room < 1 {
		return nil, p, e.tooLong(r.Prompt, fmt.Sprintf("%d tokens", len(prompt)))
	}
	if p.MaxTokens != nil {
		room = min(room, *p.MaxTokens)
	}
	p.MaxTokens = &room
	if p.Seed == nil {
		seed := freshSeed()
		p.Seed = &seed
	}
	if p.BestOf > p.N && p.Logprobs == nil {
		p.Logprobs = new(int) // to rank by; taken out again before delivery
	}
	return prompt, p, nil
}

// maxSalt bounds what the prefix cache keeps of a client's in each root.
const maxSalt = 1024

// tokenizePrompt refuses a text that can't fit before tokenising it: merging a
// word of megabytes takes memory and seconds. A token spells at most its bytes,
// and normalising shortens a text (runs of spaces, composed characters) by far
// less than the factor allowed for it.
func (e *Engine) tokenizePrompt(r *llm.Request) ([]int32, error) {
	const shrink = 4
	limit := e.opts.Describe.Context * e.longestToken * shrink
	text, o := llm.Text(""), r.Tokenize
	switch p := r.Prompt.(type) {
	case llm.Text:
		text = p
	case *llm.Chat:
		rendered, err := e.render(p)
		if err != nil {
			return nil, err
		}
		text, o = llm.Text(rendered), llm.TokenizeOptions{NoSpecial: !p.AddSpecialToken}
	default:
		return e.encode(r.Prompt, o)
	}
	if len(text) > limit {
		return nil, e.tooLong(r.Prompt, fmt.Sprintf("%d bytes, more than %d tokens can spell", len(text), e.opts.Describe.Context))
	}
	return e.encode(text, o)
}

func (e *Engine) tooLong(p llm.Prompt, size string) error {
	param := "prompt"
	if _, ok := p.(*llm.Chat); ok {
		param = "messages"
	}
	return &llm.Error{Kind: llm.TooLong, Param: param, Code: "context_length_exceeded", Message: fmt.Sprintf(
		"the prompt has %s, but the context is %d tokens and one must be left for the output; shorten the prompt or serve with a larger --ctx", size, e.opts.Describe.Context)}
}

// checkParams validates what depends on the model; ranges of the wire formats
// are their decoders' business, but nothing here trusts them.
func (e *Engine) checkParams(p *llm.Params) error {
	p.N = max(1, p.N)
	p.BestOf = max(p.N, p.BestOf)
	switch {
	case p.BestOf > e.opts.Limits.Running*8:
		return llm.Invalidf("n", "%d choices are more than this server computes for one request (%d); ask for fewer", p.BestOf, e.opts.Limits.Running*8)
	case p.MaxTokens != nil && *p.MaxTokens < 1:
		return llm.Invalidf("max_tokens", "max_tokens is %d; it must be at least 1", *p.MaxTokens)
	case p.MaxTokens != nil && p.MinTokens > *p.MaxTokens:
		return llm.Invalidf("min_tokens", "min_tokens is %d, more than max_tokens (%d)", p.MinTokens, *p.MaxTokens)
	case p.Logprobs != nil && *p.Logprobs > e.opts.Describe.MaxTopLP:
		return llm.Invalidf("top_logprobs", "%d log probabilities a token are more than the %d that this server gives", *p.Logprobs, e.opts.Describe.MaxTopLP)
	case p.PromptLogprobs != nil && *p.PromptLogprobs > e.opts.Describe.MaxTopLP:
		return llm.Invalidf("prompt_logprobs", "%d log probabilities a token are more than the %d that this server gives", *p.PromptLogprobs, e.opts.Describe.MaxTopLP)
	}
	return sample.Validate(p, e.opts.Describe.Vocab)
}

func (e *Engine) inVocab(id int32) bool { return id >= 0 && int(id) < e.opts.Describe.Vocab }

// Tokenize turns a prompt into ids; see llm.Texter.
func (e *Engine) Tokenize(ctx context.Context, p llm.Prompt, o llm.TokenizeOptions) (ids []int32, err error) {
	err = e.inPool(ctx, func() (err error) {
		ids, err = e.encode(p, o)
		return err
	})
	return ids, err
}

func (e *Engine) encode(p llm.Prompt, o llm.TokenizeOptions) ([]int32, error) {
	switch p := p.(type) {
	case llm.Text:
		return e.oneBOS(e.opts.Tokenizer.Encode(string(p), token.EncodeOptions{AddSpecial: !o.NoSpecial, ParseSpecial: true})), nil
	case llm.Tokens:
		return e.checkTokens(p)
	case *llm.Chat:
		text, err := e.render(p)
		if err != nil {
			return nil, err
		}
		// The template writes special tokens itself, BOS among them.
		return e.oneBOS(e.opts.Tokenizer.Encode(text, token.EncodeOptions{AddSpecial: p.AddSpecialToken, ParseSpecial: true})), nil
	}
	return nil, llm.Invalidf("prompt", "the request has no prompt")
}

// oneBOS drops the second of two: a rendered template that is sent as text often
// brings its own, and models answer a doubled one badly.
func (e *Engine) oneBOS(ids []int32) []int32 {
	bos, ok := e.opts.Tokenizer.BOS()
	if ok && len(ids) > 1 && ids[0] == bos && ids[1] == bos {
		return ids[1:]
	}
	return ids
}

func (e *Engine) checkTokens(p llm.Tokens) ([]int32, error) {
	for i, id := range p {
		if !e.inVocab(id) {
			return nil, llm.Invalidf("prompt", "token %d at position %d is not in the vocabulary of %d", id, i, e.opts.Describe.Vocab)
		}
	}
	return p, nil
}

// Detokenize gives the text of ids; see llm.Texter.
func (e *Engine) Detokenize(ids []int32) (string, error) {
	if _, err := e.checkTokens(ids); err != nil {
		return "", err
	}
	return e.opts.Tokenizer.Decode(ids, token.DecodeOptions{}), nil
}

// TokenText gives a token as its vocabulary writes it.
func (e *Engine) TokenText(id int32) string { return e.opts.Tokenizer.Token(id) }

// Render applies the chat template; see llm.Texter.
func (e *Engine) Render(ctx context.Context, c *llm.Chat) (text string, err error) {
	err = e.inPool(ctx, func() (err error) {
		text, err = e.render(c)
		return err
	})
	return text, err
}

func (e *Engine) render(c *llm.Chat) (string, error) {
	t, err := e.template(c)
	if err != nil {
		return "", err
	}
	text, err := t.Render(e.templateInput(c))
	if err != nil {
		return "", &llm.Error{Kind: llm.Invalid, Param: "messages", Message: fmt.Sprintf("the chat template refused the messages: %v", err), Err: err}
	}
	return text, nil
}

// template is the request's own, or the model's for what the request has.
func (e *Engine) template(c *llm.Chat) (*chat.Template, error) {
	if c.Template != "" {
		t, err := chat.Parse(c.Template)
		if err != nil {
			return nil, llm.Invalidf("chat_template", "the template of the request is wrong: %v", err)
		}
		return t, nil
	}
	t, err := e.opts.Templates.For(hasTools(c.Tools))
	if err != nil {
		return nil, llm.Invalidf("messages", "model %q has no chat template, so it can't take messages; start weir with --chat-template, or use /v1/completions", e.opts.Describe.ID)
	}
	return t, nil
}

// hasTools: an empty list is as good as none.
func hasTools(list json.RawMessage) bool {
	var tools []json.RawMessage
	return json.Unmarshal(list, &tools) == nil && len(tools) > 0
}

func (e *Engine) templateInput(c *llm.Chat) chat.Input {
	in := chat.Input{
		Messages: c.Messages, Tools: c.Tools, Documents: c.Documents, Extra: c.Kwargs, OpenAI: true,
		AddGenerationPrompt: !c.NoGeneration && !c.ContinueFinal,
		ContinueFinal:       c.ContinueFinal,
		Now:                 time.Now(),
	}
	if id, ok := e.opts.Tokenizer.BOS(); ok {
		in.BOSToken = e.opts.Tokenizer.Token(id)
	}
	if id, ok := e.opts.Tokenizer.EOS(); ok {
		in.EOSToken = e.opts.Tokenizer.Token(id)
	}
	return in
}
