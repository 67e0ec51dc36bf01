package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"

	"weir/internal/llm"
)

type runCmd struct {
	modelOptions
	engineOptions

	Prompt string `short:"p" help:"Answer this prompt and exit. Piped text is appended to it." placeholder:"TEXT" group:"Chat"`
	System string `help:"System message that opens the conversation." placeholder:"TEXT" group:"Chat"`
	Raw    bool   `help:"Continue the prompt as plain text, without the chat template." group:"Chat"`
	Quiet  bool   `short:"q" help:"Print the answers only, no speeds." group:"Chat"`
	samplingOptions
}

// samplingOptions are nil where the model's own defaults hold.
type samplingOptions struct {
	Temperature *float64 `help:"Randomness; 0 always takes the most probable token (default: the model's own, else 1)." placeholder:"T" group:"Sampling"`
	TopP        *float64 `help:"Sample from the most probable tokens that together have this probability." placeholder:"P" group:"Sampling"`
	TopK        *int     `help:"Sample from so many most probable tokens." placeholder:"K" group:"Sampling"`
	MinP        *float64 `help:"Drop tokens less probable than this share of the most probable one." placeholder:"P" group:"Sampling"`
	Seed        *uint64  `help:"Makes sampling repeatable." placeholder:"N" group:"Sampling"`
	MaxTokens   *int     `help:"Most tokens in an answer." placeholder:"N" group:"Sampling"`
}

// Help is printed by kong below the command's summary.
func (*runCmd) Help() string {
	return `Examples:

    weir run
    weir run model.gguf --system "Answer in one sentence."
    echo "What is a KV cache?" | weir run
    weir run -q -p "Summarise this:" < report.txt`
}

// Validate is called by kong; it hides engineOptions' own.
func (c *runCmd) Validate() error {
	if err := c.samplingOptions.check(); err != nil {
		return fmt.Errorf("--%w", err)
	}
	return c.engineOptions.Validate()
}

// maxPiped bounds what is read from standard input: no context is longer.
const maxPiped = 64 << 20

// Run chats, or answers one prompt.
func (c *runCmd) Run(s streams, log *slog.Logger) error {
	in, terminal := isTerminal(s.in)
	chatting := terminal && c.Prompt == ""
	var prompt string
	if !chatting {
		var err error
		if prompt, err = c.prompt(s.in, terminal); err != nil {
			return err
		}
	}
	c.talking = true
	m, err := open(context.Background(), c.modelOptions, c.engineOptions, "", newReading(s.err, nil, log), log)
	if err != nil {
		return err
	}
	defer m.close()
	m.settle(c.Load, nil, log.Debug)
	talk := newConversation(m.engine, c.params(m.engine.Model()), c.System)
	talk.raw = c.Raw || !m.engine.Model().Chat
	talk.quiet = c.Quiet
	if chatting {
		return interact(in, s, talk)
	}
	return answer(s, talk, prompt, c.Raw)
}

// isTerminal tells whether a stream is one, and as which file.
func isTerminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// prompt is what --prompt says and what is piped in.
func (c *runCmd) prompt(in io.Reader, terminal bool) (string, error) {
	prompt := c.Prompt
	if !terminal {
		piped, err := io.ReadAll(io.LimitReader(in, maxPiped+1))
		if err != nil {
			return "", fmt.Errorf("reading the prompt from standard input: %w", err)
		}
		if len(piped) > maxPiped {
			return "", fmt.Errorf("standard input has more than %d bytes; no model reads so much at once", maxPiped)
		}
		prompt = joinPrompt(prompt, strings.TrimRight(string(piped), "\r\n"))
	}
	if strings.TrimSpace(prompt) == "" {
		return "", codedError{errors.New("there is no prompt; give one with --prompt, pipe one in, or run weir in a terminal to chat"), exitUsage}
	}
	return prompt, nil
}

// answer answers one prompt. Standard output gets the answer and nothing else.
func answer(s streams, talk *conversation, prompt string, asked bool) error {
	if talk.raw && !asked && !talk.quiet {
		fmt.Fprintf(s.err, "weir: %s has no chat template, so the prompt is continued as plain text; --chat-template FILE or FORMAT gives it one%s\n", talk.gen.Model().ID, likely(talk.gen.Model()))
	}
	out := s.out
	if _, ok := isTerminal(out); ok {
		out = &cleanWriter{w: out, newline: "\n"}
	}
	ctx, stop := untilInterrupted()
	defer stop()
	if err := talk.ask(ctx, prompt, out, s.err); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return codedError{nil, exitInterrupted}
	}
	return nil
}

func joinPrompt(prompt, piped string) string {
	if prompt == "" || piped == "" {
		return prompt + piped
	}
	return prompt + "\n\n" + piped
}

// params are the model's defaults with the user's choices over them.
func (o samplingOptions) params(m llm.Model) llm.Params {
	p := llm.DefaultParams()
	if m.Defaults != nil {
		p = *m.Defaults
	}
	set(&p.Temperature, o.Temperature)
	set(&p.TopP, o.TopP)
	set(&p.TopK, o.TopK)
	set(&p.MinP, o.MinP)
	if o.Seed != nil {
		p.Seed = o.Seed
	}
	if o.MaxTokens != nil {
		p.MaxTokens = o.MaxTokens
	}
	return p
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// check tells what is wrong, beginning with the option's name.
func (o samplingOptions) check() error {
	switch {
	case o.Temperature != nil && !(*o.Temperature >= 0 && *o.Temperature <= 100):
		return fmt.Errorf("temperature is %v; it must be from 0 to 100", *o.Temperature)
	case o.TopP != nil && !(*o.TopP > 0 && *o.TopP <= 1):
		return fmt.Errorf("top-p is %v; it must be above 0 and at most 1", *o.TopP)
	case o.MinP != nil && !(*o.MinP >= 0 && *o.MinP <= 1):
		return fmt.Errorf("min-p is %v; it must be from 0 to 1", *o.MinP)
	case o.TopK != nil && *o.TopK < 0:
		return fmt.Errorf("top-k is %d; it must be positive, or 0 for all", *o.TopK)
	case o.MaxTokens != nil && *o.MaxTokens < 1:
		return fmt.Errorf("max-tokens is %d; it must be at least 1", *o.MaxTokens)
	}
	return nil
}
