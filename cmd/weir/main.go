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
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// cli is the command line.
type cli struct {
	Config      string      `help:"YAML file with lines of option: value (default: weir/config.yaml in your configuration folder, if it is there)." placeholder:"FILE" group:"General"`
	LogLevel    string      `help:"Least severe messages to print: debug, info, warn or error." enum:"debug,info,warn,error" default:"info" placeholder:"info" group:"General"`
	LogFormat   string      `help:"Form of log lines: text or json." enum:"text,json" default:"text" placeholder:"text" group:"General"`
	ShowVersion versionFlag `name:"version" help:"Print weir's version." group:"General"`

	Serve    serveCmd    `cmd:"" help:"Serve a model over the OpenAI API."`
	Run      runCmd      `cmd:"" help:"Chat with a model in the terminal, or answer a prompt from standard input."`
	Show     showCmd     `cmd:"" help:"Show what is in a model's files and what memory it needs."`
	Options  configCmd   `cmd:"" name:"config" help:"Check options, and show where they come from."`
	Key      keyCmd      `cmd:"" help:"Make keys for a server."`
	Bench    benchCmd    `cmd:"" help:"Measure speeds, beside what the machine allows."`
	Template templateCmd `cmd:"" help:"Render a chat template with an input, to debug it."`
	Version  versionCmd  `cmd:"" help:"Print weir's version."`
}

const description = `Deploy large language models: one program, with its own inference engine. Without a model, the small one that is built in is used.

Each option has one name: --max-running 32 on the command line, WEIR_MAX_RUNNING=32 in the environment, max-running: 32 in the file of --config. The first of them wins. What stands after = below is the default.`

// streams are what connects a verb to the outside; tests replace them.
type streams struct {
	in       io.Reader
	out, err io.Writer
	signals  <-chan os.Signal // what stops serve; nil: the signals to the process
	reload   <-chan os.Signal // what makes serve read its files again; likewise

	level *slog.LevelVar           // of the log; nil: it does not change
	again func() (*setting, error) // reads the settings again; nil: that is not possible
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
	asked := args
	switch {
	case len(args) == 0:
		args, io.out = []string{"--help"}, io.err
	case args[0] == "help":
		args = append(slices.Clone(args[1:]), "--help")
	}
	settings, err := loadSettings(args, env)
	if err != nil {
		fmt.Fprintln(io.err, "weir:", err)
		return exitUsage
	}
	var c cli
	parser, exit, err := newParser(&c, io, settings)
	if err != nil {
		fmt.Fprintln(io.err, "weir:", err)
		return exitUsage
	}
	ctx, err := parser.Parse(args)
	switch {
	case exit.done && len(asked) == 0:
		return exitUsage
	case exit.done:
		return exit.code
	case err != nil:
		fmt.Fprintf(io.err, "weir: %s\n%s\n", settings.explain(err, parser.Model), usageHint(err, parser.Model))
		return exitUsage
	}
	io.level = new(slog.LevelVar)
	io.again = func() (*setting, error) { return parseSetting(args, env) }
	log := newLogger(&c, io.err, io.level)
	ctx.Bind(io)
	ctx.Bind(log)
	ctx.Bind(settings)
	if err := ctx.Run(); err != nil {
		return report(io.err, err)
	}
	return exitOK
}

// usageHint tells where the command line is explained.
func usageHint(err error, app *kong.Application) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context.Selected() != nil {
		return fmt.Sprintf("`%s --help` lists the options.", parse.Context.Selected().FullPath())
	}
	if flag, ok := strings.CutPrefix(err.Error(), "unknown flag --"); ok {
		for _, verb := range app.Children {
			if slices.Contains(flagNames(verb), flag) {
				return fmt.Sprintf("It is an option of a command and follows it: weir %s --%s", verb.Name, flag)
			}
		}
	}
	return "`weir --help` lists the commands, `weir COMMAND --help` a command's options."
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

func newParser(c *cli, io streams, settings *settings) (*kong.Kong, *exited, error) {
	exit := &exited{}
	options := append(valueMappers(),
		kong.Name("weir"),
		kong.Description(description),
		kong.Writers(io.out, io.err),
		kong.Exit(func(code int) { exit.done, exit.code = true, code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.Resolvers(settings),
	)
	p, err := kong.New(c, options...)
	if err == nil {
		p.Model.HelpFlag.Help = "Show this."
		p.Model.HelpFlag.Group = &kong.Group{Key: "General", Title: "General"}
	}
	return p, exit, err
}
