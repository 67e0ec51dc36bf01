package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"weir/internal/llm"
)

// message is a turn, as chat templates want it.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversation is a chat with a generator and its history.
type conversation struct {
	gen      llm.Generator
	params   llm.Params
	messages []message
	raw      bool // continue text instead of answering messages
	quiet    bool
}

func newConversation(g llm.Generator, p llm.Params, system string) *conversation {
	c := &conversation{gen: g, params: p}
	c.clear(system)
	return c
}

// clear forgets all turns; system, if not empty, opens the next conversation.
func (c *conversation) clear(system string) {
	c.messages = nil
	if system != "" {
		c.messages = []message{{"system", system}}
	}
}

// system is the message that opens the conversation, or "".
func (c *conversation) system() string {
	if len(c.messages) > 0 && c.messages[0].Role == "system" {
		return c.messages[0].Content
	}
	return ""
}

// ask sends a prompt, streams the answer to out and its speed to note. An
// answer that was cut short stays in the history; one that failed does not.
func (c *conversation) ask(ctx context.Context, prompt string, out, note io.Writer) error {
	before := len(c.messages)
	c.messages = append(c.messages, message{"user", prompt})
	answer, err := c.stream(ctx, out, note)
	if err != nil && answer == "" {
		c.messages = c.messages[:before]
		return err
	}
	c.messages = append(c.messages, message{"assistant", answer})
	return err
}

// retry forgets the last answer and asks again.
func (c *conversation) retry(ctx context.Context, out, note io.Writer) error {
	n := len(c.messages)
	if n < 2 || c.messages[n-1].Role != "assistant" {
		return errors.New("there is no answer yet to try again")
	}
	prompt := c.messages[n-2].Content
	c.messages = c.messages[:n-2]
	return c.ask(ctx, prompt, out, note)
}

func (c *conversation) prompt() (llm.Prompt, error) {
	if c.raw {
		var text strings.Builder
		for _, m := range c.messages {
			text.WriteString(m.Content)
		}
		return llm.Text(text.String()), nil
	}
	list, err := json.Marshal(c.messages)
	if err != nil {
		return nil, fmt.Errorf("encoding the messages: %w", err)
	}
	return &llm.Chat{Messages: list}, nil
}

func (c *conversation) stream(ctx context.Context, out, note io.Writer) (string, error) {
	p, err := c.prompt()
	if err != nil {
		return "", err
	}
	var answer strings.Builder
	var speed speedometer
	speed.start(time.Now())
	for ev, err := range c.gen.Generate(ctx, &llm.Request{ID: "run", Prompt: p, Params: c.params}) {
		if err != nil {
			return answer.String(), endOfAnswer(ctx, err, answer.Len() > 0, out, note)
		}
		speed.count(ev, time.Now())
		answer.WriteString(ev.Text)
		if _, err := io.WriteString(out, ev.Text); err != nil {
			return answer.String(), fmt.Errorf("writing the answer: %w", err)
		}
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return answer.String(), fmt.Errorf("writing the answer: %w", err)
	}
	if !c.quiet {
		fmt.Fprintln(note, speed.String())
	}
	return answer.String(), nil
}

// endOfAnswer ends the line if there is one. An answer that the user cut short
// is no failure.
func endOfAnswer(ctx context.Context, err error, begun bool, out, note io.Writer) error {
	if begun {
		fmt.Fprintln(out)
	}
	if ctx.Err() != nil {
		fmt.Fprintln(note, "[stopped]")
		return nil
	}
	return err
}

// speedometer times an answer.
type speedometer struct {
	began, first, last time.Time
	tokens             int
	usage              llm.Usage
	finish             llm.Finish
}

func (s *speedometer) start(now time.Time) { s.began = now }

func (s *speedometer) count(ev llm.Event, now time.Time) {
	if n := len(ev.Tokens); n > 0 {
		if s.tokens == 0 {
			s.first = now
		}
		s.tokens += n
		s.last = now
	}
	if ev.Usage != nil {
		s.usage = *ev.Usage
	}
	if ev.Finish != llm.FinishNone {
		s.finish = ev.Finish
	}
}

// String tells the decode speed (tokens after the first, over the time since
// the first), time to first token, and why a long answer ended.
func (s *speedometer) String() string {
	var parts []string
	parts = append(parts, fmt.Sprintf("%d tokens", s.tokens))
	if d := s.last.Sub(s.first); s.tokens > 1 && d > 0 {
		parts = append(parts, fmt.Sprintf("%.1f tokens/s", float64(s.tokens-1)/d.Seconds()))
	}
	if s.tokens > 0 {
		parts = append(parts, fmt.Sprintf("first after %.2f s", s.first.Sub(s.began).Seconds()))
	}
	prompt := fmt.Sprintf("prompt %d", s.usage.PromptTokens)
	if s.usage.CachedTokens > 0 {
		prompt += fmt.Sprintf(" (%d cached)", s.usage.CachedTokens)
	}
	parts = append(parts, prompt)
	if s.finish == llm.FinishLength {
		parts = append(parts, "cut: the limit of tokens or the context is reached")
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
