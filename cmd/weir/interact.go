package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// interact is the chat in a terminal. Lines are edited in raw mode, with the
// arrow keys for earlier ones; answers stream in the usual mode, so that ^C
// stops the answer and not the chat.
func interact(in *os.File, s streams, c *conversation) error {
	fmt.Fprintf(s.err, "%s. /help lists the commands, ^D ends.\n", describe(c))
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, s.out}, "> ")
	for {
		line, err := readMessage(in, editor)
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(s.out)
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading from the terminal: %w", err)
		}
		done, err := c.turn(line, s)
		if err != nil {
			fmt.Fprintln(s.err, "weir:", err)
		}
		if done {
			return nil
		}
	}
}

func describe(c *conversation) string {
	m := c.gen.Model()
	how := "chat"
	if c.raw {
		how = "plain text continuation"
	}
	return fmt.Sprintf("%s (%s, %s, context %d): %s", m.ID, m.Family, m.Quant, m.Context, how)
}

// readMessage reads a line, or several: a line that ends in \ goes on in the
// next, and """ opens a block that ends with """.
func readMessage(in *os.File, editor *term.Terminal) (string, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return "", err
	}
	defer term.Restore(int(in.Fd()), state)
	if w, h, err := term.GetSize(int(in.Fd())); err == nil && w > 0 {
		_ = editor.SetSize(w, h) // a wrong width only wraps oddly
	}
	editor.SetPrompt("> ")
	defer editor.SetPrompt("> ")
	line, err := readLine(editor)
	if err != nil {
		return "", err
	}
	return readRest(editor, line)
}

// readLine takes pasted text as it takes typed text.
func readLine(editor *term.Terminal) (string, error) {
	line, err := editor.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) {
		err = nil
	}
	return line, err
}

func readRest(editor *term.Terminal, line string) (string, error) {
	block := strings.HasPrefix(line, `"""`)
	text := strings.TrimPrefix(line, `"""`)
	for {
		switch {
		case block && len(text) >= 3 && strings.HasSuffix(text, `"""`):
			return strings.TrimSuffix(text, `"""`), nil
		case !block && strings.HasSuffix(text, `\`):
			text = strings.TrimSuffix(text, `\`)
		case !block:
			return text, nil
		}
		editor.SetPrompt("… ")
		next, err := readLine(editor)
		if err != nil {
			return "", err
		}
		text += "\n" + next
	}
}

// turn does what a line says and tells whether the chat is over.
func (c *conversation) turn(line string, s streams) (done bool, err error) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if strings.HasPrefix(trimmed, "/") {
		return c.command(ctx, trimmed, s)
	}
	return false, c.ask(ctx, line, s.out, s.err)
}

const commandHelp = `/help             this list
/clear            forget the conversation (the system message stays)
/system [TEXT]    set the system message and start afresh; without TEXT show it
/retry            answer the last message again
/history          show the conversation
/set NAME VALUE   temperature, top-p, top-k, min-p, max-tokens, seed; VALUE "off" for the default
/show             the model and the settings
/save FILE        write the conversation as JSON
/load FILE        read one back
/bye              end (also ^D)
A line that ends in \ goes on in the next; """ opens and closes a block of lines.
`

// command runs a /-command.
func (c *conversation) command(ctx context.Context, line string, s streams) (done bool, err error) {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch name {
	case "/help", "/?":
		fmt.Fprint(s.out, commandHelp)
	case "/bye", "/exit", "/quit":
		return true, nil
	case "/clear":
		c.clear(c.system())
		fmt.Fprintln(s.err, "forgotten")
	case "/system":
		c.setSystem(rest, s)
	case "/retry":
		return false, c.retry(ctx, s.out, s.err)
	case "/history":
		for _, m := range c.messages {
			fmt.Fprintf(s.out, "%s: %s\n", m.Role, m.Content)
		}
	case "/set":
		return false, c.setParam(rest)
	case "/show":
		c.show(s.out)
	case "/save":
		return false, c.save(rest)
	case "/load":
		return false, c.load(rest)
	default:
		return false, fmt.Errorf("%s is not a command%s", name, didYouMean(name, commandNames()))
	}
	return false, nil
}

func commandNames() []string {
	var names []string
	for _, l := range strings.Split(commandHelp, "\n") {
		if strings.HasPrefix(l, "/") {
			names = append(names, strings.Fields(l)[0])
		}
	}
	return names
}

func (c *conversation) setSystem(text string, s streams) {
	if text == "" {
		fmt.Fprintf(s.out, "system: %s\n", c.system())
		return
	}
	c.clear(text)
	fmt.Fprintln(s.err, "a new conversation with this system message")
}

func (c *conversation) show(out io.Writer) {
	p := c.params
	fmt.Fprintln(out, describe(c))
	fmt.Fprintf(out, "temperature %v, top-p %v, top-k %d, min-p %v", p.Temperature, p.TopP, p.TopK, p.MinP)
	if p.MaxTokens != nil {
		fmt.Fprintf(out, ", max-tokens %d", *p.MaxTokens)
	}
	if p.Seed != nil {
		fmt.Fprintf(out, ", seed %d", *p.Seed)
	}
	fmt.Fprintln(out)
}

// setParam changes a sampling parameter for the answers to come.
func (c *conversation) setParam(rest string) error {
	name, value, ok := strings.Cut(rest, " ")
	if !ok {
		return errors.New("write /set NAME VALUE, such as /set temperature 0.7")
	}
	changed := runCmd{}
	if value != "off" {
		if err := changed.parseParam(name, strings.TrimSpace(value)); err != nil {
			return err
		}
		if err := changed.checkSampling(); err != nil {
			return err
		}
	}
	return c.apply(name, &changed)
}

func (r *runCmd) parseParam(name, value string) (err error) {
	switch name {
	case "temperature":
		r.Temperature, err = parsed(strconv.ParseFloat(value, 64))
	case "top-p":
		r.TopP, err = parsed(strconv.ParseFloat(value, 64))
	case "min-p":
		r.MinP, err = parsed(strconv.ParseFloat(value, 64))
	case "top-k":
		r.TopK, err = parsed(strconv.Atoi(value))
	case "max-tokens":
		r.MaxTokens, err = parsed(strconv.Atoi(value))
	case "seed":
		r.Seed, err = parsed(strconv.ParseUint(value, 10, 64))
	}
	if err != nil {
		return fmt.Errorf("%q is not a value for %s", value, name)
	}
	return nil
}

func parsed[T any](v T, err error) (*T, error) { return &v, err }

// apply copies the named parameter; one that is nil falls back to the default.
func (c *conversation) apply(name string, from *runCmd) error {
	base := from.params(c.gen.Model())
	switch name {
	case "temperature":
		c.params.Temperature = base.Temperature
	case "top-p":
		c.params.TopP = base.TopP
	case "min-p":
		c.params.MinP = base.MinP
	case "top-k":
		c.params.TopK = base.TopK
	case "max-tokens":
		c.params.MaxTokens = base.MaxTokens
	case "seed":
		c.params.Seed = base.Seed
	default:
		return fmt.Errorf("%q is not a setting%s", name, didYouMean(name, []string{"temperature", "top-p", "top-k", "min-p", "max-tokens", "seed"}))
	}
	return nil
}

func (c *conversation) save(file string) error {
	if file == "" {
		return errors.New("write /save FILE")
	}
	data, err := json.MarshalIndent(c.messages, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the conversation: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("saving the conversation: %w", err)
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		f.Close()
		return fmt.Errorf("saving the conversation: %w", err)
	}
	return f.Close()
}

func (c *conversation) load(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("loading a conversation: %w", err)
	}
	var messages []message
	if err := json.Unmarshal(data, &messages); err != nil {
		return fmt.Errorf("%s is not a list of messages with role and content: %w", file, err)
	}
	c.messages = messages
	return nil
}
