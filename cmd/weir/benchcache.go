package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"weir/internal/bench"
)

type benchCacheCmd struct {
	Targets []string `arg:"" help:"Servers to measure, as NAME=URL; the others are compared with the first."`

	Workload string `help:"What to send: shared is many requests at once that begin alike, after one that did; chat is conversations; unique has nothing in common, and shows what a cache costs." enum:"shared,chat,unique" default:"shared" placeholder:"shared" group:"Measurement"`
	Clients  int    `help:"Requests, or conversations, at once." default:"32" placeholder:"32" group:"Measurement"`
	Shared   int    `help:"Tokens that all prompts begin with; of unique, that they are longer by." default:"1024" placeholder:"1024" group:"Measurement"`
	Tail     int    `help:"Tokens of each prompt's own; of chat, of each turn." default:"64" placeholder:"64" group:"Measurement"`
	Turns    int    `help:"Turns of a conversation; otherwise, requests of each client, one after the other." default:"1" placeholder:"1" group:"Measurement"`
	Output   int    `help:"Tokens of each answer." default:"1" placeholder:"1" group:"Measurement"`
	Vocab    int    `help:"Prompts are token ids below this number: every model measured must have them." default:"2048" placeholder:"2048" group:"Measurement"`
	Repeat   int    `help:"Rounds. Each measures every target once, with prompts of its own." default:"5" placeholder:"5" group:"Measurement"`

	JSON     bool `name:"json" help:"Print JSON." xor:"format" group:"Output"`
	Markdown bool `help:"Print Markdown." xor:"format" group:"Output"`
}

// Help is printed by kong below the command's summary.
func (*benchCacheCmd) Help() string {
	return `The servers must be running: any that has /v1/completions and takes token ids. docs/benchmarks.md explains the figures.

    weir bench cache on=http://127.0.0.1:8080 off=http://127.0.0.1:8081
    weir bench cache on=http://127.0.0.1:8080 off=http://127.0.0.1:8081 --workload chat --clients 16 --turns 8 --shared 0 --output 32`
}

func (c *benchCacheCmd) settings() bench.CacheSettings {
	return bench.CacheSettings{Load: bench.Load(c.Workload), Clients: c.Clients, Shared: c.Shared, Tail: c.Tail, Turns: c.Turns, Output: c.Output, Vocab: c.Vocab, Repeat: c.Repeat}
}

// Validate is called by kong.
func (c *benchCacheCmd) Validate() error {
	for _, t := range c.Targets {
		if _, err := bench.ParseTarget(t); err != nil {
			return err
		}
	}
	return c.settings().Validate()
}

// Run measures and prints.
func (c *benchCacheCmd) Run(s streams, log *slog.Logger) error {
	ctx, stop := untilInterrupted()
	defer stop()
	o := bench.CacheOptions{CacheSettings: c.settings(), Version: version(), Command: c.command(), Progress: func(what string) { log.Info(what) }}
	for _, text := range c.Targets {
		t, err := bench.ParseTarget(text)
		if err != nil {
			return err
		}
		o.Targets = append(o.Targets, t)
	}
	report, err := bench.RunCache(ctx, o)
	if err != nil && ctx.Err() != nil {
		return codedError{errors.New("interrupted; nothing was measured to the end"), exitInterrupted}
	}
	if err != nil {
		return err
	}
	write := map[bool]func(io.Writer) error{true: report.WriteJSON, false: report.WriteText}[c.JSON]
	if c.Markdown {
		write = report.WriteMarkdown
	}
	if err := write(s.out); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if done := report.Settings.Repeat; done < c.Repeat {
		return codedError{fmt.Errorf("interrupted; the report is of the %d rounds of %d that were measured to the end", done, c.Repeat), exitInterrupted}
	}
	return nil
}

// command is what repeats the measurement.
func (c *benchCacheCmd) command() string {
	return fmt.Sprintf("weir bench cache %s --workload %s --clients %d --shared %d --tail %d --turns %d --output %d --vocab %d --repeat %d",
		strings.Join(c.Targets, " "), c.Workload, c.Clients, c.Shared, c.Tail, c.Turns, c.Output, c.Vocab, c.Repeat)
}
