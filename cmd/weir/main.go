// Command weir deploys large language models: it serves them over the OpenAI
// API with its own inference engine, chats with them in a terminal, and shows
// what is in their files.
//
// Each verb is a file of this package. config.go has the options that verbs
// share, where their values come from, and how they become the packages'
// Options; nothing below cmd reads flags, files of settings or the environment.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	Config    string `help:"YAML file with options by their flag names (default: weir/config.yaml in the user's configuration folder, if it is there)." placeholder:"FILE" group:"General"`
	LogLevel  string `help:"Least severe messages to print: ${enum}." enum:"debug,info,warn,error" default:"info" group:"General"`
	LogFormat string `help:"Form of log lines: ${enum}." enum:"text,json" default:"text" group:"General"`

	Serve    serveCmd    `cmd:"" help:"Serve a model over the OpenAI API."`
	Run      runCmd      `cmd:"" help:"Chat with a model in the terminal, or answer a prompt from standard input."`
	Show     showCmd     `cmd:"" help:"Show what is in a model's files: family, sizes, types, context, template, memory needed."`
	Template templateCmd `cmd:"" help:"Render a chat template with an input, to debug it."`
	Version  versionCmd  `cmd:"" help:"Print weir's version."`
}

// streams are where a verb reads and writes; tests replace them.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Environ()))
}

// exit codes
const (
	exitOK    = 0
	exitError = 1 // it was tried and failed
	exitUsage = 2 // the command line or a setting is wrong

	exitInterrupted = 130 // as shells report a process that ^C ended
)

// codedError ends weir with a code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// run is main without the process: it parses args, runs the verb and returns
// the exit code. env is the environment, as os.Environ gives it.
func run(args []string, io streams, env []string) int {
	var c cli
	parser, exit, err := newParser(&c, io, args, env)
	if err != nil {
		fmt.Fprintln(io.err, "weir:", err)
		return exitUsage
	}
	ctx, err := parser.Parse(args)
	if exit.done {
		return exit.code
	}
	if err != nil {
		fmt.Fprintln(io.err, "weir:", err)
		fmt.Fprintln(io.err, "Run `weir --help` for the commands, `weir COMMAND --help` for their options.")
		return exitUsage
	}
	ctx.Bind(io)
	ctx.Bind(newLogger(&c, io.err))
	if err := ctx.Run(); err != nil {
		return report(io.err, err)
	}
	return exitOK
}

func report(w io.Writer, err error) int {
	var coded codedError
	if errors.As(err, &coded) {
		if coded.error != nil {
			fmt.Fprintln(w, "weir:", coded.error)
		}
		return coded.code
	}
	fmt.Fprintln(w, "weir:", err)
	return exitError
}

// exited records that kong has answered by itself (--help).
type exited struct {
	done bool
	code int
}

func newParser(c *cli, io streams, args, env []string) (*kong.Kong, *exited, error) {
	exit := &exited{}
	settings, err := loadSettings(args, env)
	if err != nil {
		return nil, nil, err
	}
	p, err := kong.New(c,
		kong.Name("weir"),
		kong.Description("Deploy large language models: one program, its own engine. Without a model, `weir serve` serves the small one that is built in."),
		kong.Writers(io.out, io.err),
		kong.Exit(func(code int) { exit.done, exit.code = true, code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Resolvers(settings),
	)
	return p, exit, err
}
