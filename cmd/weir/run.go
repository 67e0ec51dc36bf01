package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"weir/internal/llm"
)

type runCmd struct {
	modelOptions
	engineOptions

	Prompt      string   `short:"p" help:"Answer this prompt and exit. Piped text is appended to it." group:"Chat"`
	System      string   `help:"System message that opens the conversation." group:"Chat"`
	Raw         bool     `help:"Continue the prompt as plain text, without the chat template." group:"Chat"`
	Quiet       bool     `short:"q" help:"Print the answers only, no speeds." group:"Chat"`
	Temperature *float64 `help:"Randomness; 0 always takes the most probable token (default: the model's own, else 1)." group:"Sampling"`
	TopP        *float64 `help:"Sample from the most probable tokens that together have this probability." group:"Sampling"`
	TopK        *int     `help:"Sample from so many most probable tokens." group:"Sampling"`
	MinP        *float64 `help:"Drop tokens less probable than this share of the most probable one." group:"Sampling"`
	Seed        *uint64  `help:"Makes sampling repeatable." group:"Sampling"`
	MaxTokens   *int     `help:"Most tokens in an answer." group:"Sampling"`
}

// maxPiped bounds what is read from standard input: no context is longer.
const maxPiped = 64 << 20

// Run chats, or answers one prompt.
func (c *runCmd) Run(io streams, log *slog.Logger) error {
	if err := c.checkSampling(); err != nil {
		return codedError{err, exitUsage}
	}
	m, err := open(c.modelOptions, c.engineOptions, "", log)
	if err != nil {
		return err
	}
	defer m.close()
	ch := newConversation(m.engine, c.params(m.engine.Model()), c.System)
	ch.raw = c.Raw || !m.engine.Model().Chat
	ch.quiet = c.Quiet
	if in, ok := io.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) && c.Prompt == "" {
		return interact(in, io, ch)
	}
	return c.answerPiped(io, ch)
}

func (c *runCmd) answerPiped(streams streams, ch *conversation) error {
	prompt := c.Prompt
	if in, ok := streams.in.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		piped, err := io.ReadAll(io.LimitReader(streams.in, maxPiped+1))
		if err != nil {
			return fmt.Errorf("reading the prompt from standard input: %w", err)
		}
		if len(piped) > maxPiped {
			return fmt.Errorf("standard input has more than %d bytes; no model reads so much at once", maxPiped)
		}
		prompt = joinPrompt(prompt, strings.TrimRight(string(piped), "\n"))
	}
	if strings.TrimSpace(prompt) == "" {
		return codedError{errors.New("there is no prompt; give one with --prompt, pipe one in, or run weir in a terminal to chat"), exitUsage}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return ch.ask(ctx, prompt, streams.out, streams.err)
}

func joinPrompt(prompt, piped string) string {
	if prompt == "" || piped == "" {
		return prompt + piped
	}
	return prompt + "\n\n" + piped
}

// params are the model's defaults with the command line's choices over them.
func (c *runCmd) params(m llm.Model) llm.Params {
	p := llm.DefaultParams()
	if m.Defaults != nil {
		p = *m.Defaults
	}
	set(&p.Temperature, c.Temperature)
	set(&p.TopP, c.TopP)
	set(&p.TopK, c.TopK)
	set(&p.MinP, c.MinP)
	p.Seed, p.MaxTokens = c.Seed, c.MaxTokens
	return p
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (c *runCmd) checkSampling() error {
	switch {
	case c.Temperature != nil && !(*c.Temperature >= 0 && *c.Temperature <= 100):
		return fmt.Errorf("--temperature is %v; it must be from 0 to 100", *c.Temperature)
	case c.TopP != nil && !(*c.TopP > 0 && *c.TopP <= 1):
		return fmt.Errorf("--top-p is %v; it must be above 0 and at most 1", *c.TopP)
	case c.MinP != nil && !(*c.MinP >= 0 && *c.MinP <= 1):
		return fmt.Errorf("--min-p is %v; it must be from 0 to 1", *c.MinP)
	case c.TopK != nil && *c.TopK < 0:
		return fmt.Errorf("--top-k is %d; it must be positive, or 0 for all", *c.TopK)
	case c.MaxTokens != nil && *c.MaxTokens < 1:
		return fmt.Errorf("--max-tokens is %d; it must be at least 1", *c.MaxTokens)
	}
	return nil
}
