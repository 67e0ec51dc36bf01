package server

import "weir/internal/llm"

// batched makes a streamer pass on so many tokens of a choice in one event. The
// first is passed on as it comes: it is what a person waits for.
func batched(to streamer, interval int) streamer {
	if interval <= 1 {
		return to
	}
	return &gatheredTokens{to: to, every: interval, choices: map[[2]int]*pendingEvent{}}
}

// gatheredTokens gathers events. It is not safe for concurrent use.
type gatheredTokens struct {
	to      streamer
	every   int
	choices map[[2]int]*pendingEvent // by prompt and choice
}

// pendingEvent is what is held back of a choice.
type pendingEvent struct {
	llm.Event
	begun bool
}

// Append implements [streamer].
func (g *gatheredTokens) Append(dst []byte, prompt int, e *llm.Event) []byte {
	key := [2]int{prompt, e.Choice}
	p := g.choices[key]
	if p == nil {
		p = &pendingEvent{}
		g.choices[key] = p
	}
	plain := e.Prompt == nil && e.Usage == nil && e.Finish == llm.FinishNone
	if plain && (p.begun || len(e.Tokens) == 0) {
		p.Choice = e.Choice
		p.Text += e.Text
		p.Tokens = append(p.Tokens, e.Tokens...)
		if len(p.Tokens) < g.every {
			return dst
		}
		return g.release(dst, prompt, p)
	}
	p.begun = p.begun || len(e.Tokens) > 0
	if p.Text == "" && len(p.Tokens) == 0 {
		return g.to.Append(dst, prompt, e)
	}
	whole := *e
	whole.Text, whole.Tokens = p.Text+e.Text, append(p.Tokens, e.Tokens...)
	p.Text, p.Tokens = "", p.Tokens[:0]
	return g.to.Append(dst, prompt, &whole)
}

func (g *gatheredTokens) release(dst []byte, prompt int, p *pendingEvent) []byte {
	if p.Text != "" || len(p.Tokens) > 0 {
		dst = g.to.Append(dst, prompt, &p.Event)
		p.Text, p.Tokens = "", p.Tokens[:0]
	}
	return dst
}

// Held appends what is held back, for a stream that breaks off.
func (g *gatheredTokens) Held(dst []byte) []byte {
	for key, p := range g.choices {
		dst = g.release(dst, key[0], p)
	}
	return dst
}

// End implements [streamer].
func (g *gatheredTokens) End(dst []byte) []byte {
	return g.to.End(g.Held(dst))
}
