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
	"syscall"

	"golang.org/x/term"

	"weir/internal/llm"
)

// interact is the chat in a terminal, which is in raw mode until it ends.
func interact(in *os.File, s streams, c *conversation) error {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("preparing the terminal: %w", err)
	}
	restore := func() { _ = term.Restore(int(in.Fd()), state) } // nothing helps if it fails
	defer restore()

	// An answer that goes to a file is not for a terminal's eyes; what is typed
	// shows on the terminal all the same.
	screen := s.err
	if _, ok := isTerminal(s.out); ok {
		screen = s.out
		s.out = &cleanWriter{w: s.out, newline: "\r\n"}
	}
	if _, ok := isTerminal(s.err); ok {
		s.err = &cleanWriter{w: s.err, newline: "\r\n"}
	}
	keys := newKeyboard(in)
	defer keys.close()
	e := newEditor(keys, screen, func() (int, int, error) { return term.GetSize(int(in.Fd())) })
	defer e.close()
	defer onSignal(func() { e.close(); restore() })()
	return c.chat(e, s)
}

// onSignal leaves the terminal usable when weir is told to end from outside.
// What it returns ends that.
func onSignal(restore func()) func() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-signals:
			restore()
			os.Exit(exitCode(sig))
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// chat answers messages until the user ends it: with ^D, /bye, or ^C twice at
// the prompt.
func (c *conversation) chat(e *editor, s streams) error {
	fmt.Fprintf(s.err, "%s\n/help lists the commands, ^D ends.\n", c.describe())
	for leaving := false; ; {
		line, err := e.message()
		switch {
		case errors.Is(err, errInterrupted) && e.typed:
			leaving = false // it was for the line
			continue
		case errors.Is(err, errInterrupted) && leaving:
			return nil
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.err)
			return nil
		case errors.Is(err, errInterrupted):
			leaving = true
			fmt.Fprintln(s.err, "^C once more, ^D or /bye ends")
			continue
		case err != nil:
			return fmt.Errorf("reading from the terminal: %w", err)
		}
		leaving = false
		ctx, stop := e.keys.untilInterrupt()
		done, err := c.turn(ctx, line, s)
		stop()
		if err != nil {
			fmt.Fprintln(s.err, "weir:", err)
		}
		if known := (*llm.Error)(nil); errors.As(err, &known) && known.Kind == llm.TooLong {
			fmt.Fprintln(s.err, "/clear forgets what was said so far")
		}
		if done {
			return nil
		}
	}
}

func (c *conversation) describe() string {
	m := c.gen.Model()
	what := fmt.Sprintf("%s (%s, %s, context %d)", m.ID, m.Family, m.Quant, m.Context)
	switch {
	case c.raw && !m.Chat:
		return what + "\nIt has no chat template, so weir continues your text instead of answering it; --chat-template FILE or FORMAT gives it one."
	case c.raw:
		return what + "\nYour text is continued as it stands, without the chat template."
	}
	return what
}

// turn does what a line says and tells whether the chat is over.
func (c *conversation) turn(ctx context.Context, line string, s streams) (done bool, err error) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" {
		return false, nil
	}
	if strings.HasPrefix(trimmed, "/") {
		return c.command(ctx, trimmed, s)
	}
	return false, c.ask(ctx, line, s.out, s.err)
}

const commandHelp = `/help             this list
/clear            forget the conversation (the system message stays)
/system [TEXT]    start afresh with this system message; without TEXT show it
/retry            answer the last message again
/history          show the conversation
/set [NAME VALUE] temperature, top-p, top-k, min-p, max-tokens or seed; off is
                  the model's own; alone, show them
/show             the model and the settings
/save FILE        write the conversation as JSON
/load FILE        read one back
/bye              end (also ^D)
A line that ends in \ goes on in the next. """ opens and closes a block of
lines. ^C stops an answer.
`

// command runs a /-command.
func (c *conversation) command(ctx context.Context, line string, s streams) (done bool, err error) {
	name, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch name {
	case "/help", "/?":
		fmt.Fprint(s.err, commandHelp)
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
		c.showHistory(s)
	case "/set":
		return false, c.setParam(rest, s.err)
	case "/show":
		fmt.Fprintf(s.err, "%s\n%s\n", c.describe(), c.settings())
	case "/save":
		return false, c.save(rest, s.err)
	case "/load":
		return false, c.load(rest, s.err)
	default:
		return false, fmt.Errorf("%s is not a command%s", name, didYouMean(name, commandNames(), "/help lists them"))
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
	switch {
	case text != "":
		c.clear(text)
		fmt.Fprintln(s.err, "a new conversation with this system message")
	case c.system() == "":
		fmt.Fprintln(s.err, "there is no system message")
	default:
		fmt.Fprintln(s.err, c.system())
	}
}

func (c *conversation) showHistory(s streams) {
	if len(c.messages) == 0 {
		fmt.Fprintln(s.err, "nothing has been said yet")
	}
	for _, m := range c.messages {
		fmt.Fprintf(s.err, "%s: %s\n", m.Role, m.Content)
	}
}

// settings are the sampling parameters in a line.
func (c *conversation) settings() string {
	p := c.params
	text := fmt.Sprintf("temperature %v, top-p %v, top-k %d, min-p %v", p.Temperature, p.TopP, p.TopK, p.MinP)
	if p.MaxTokens != nil {
		text += fmt.Sprintf(", max-tokens %d", *p.MaxTokens)
	}
	if p.Seed != nil {
		text += fmt.Sprintf(", seed %d", *p.Seed)
	}
	return text
}

var paramNames = []string{"temperature", "top-p", "top-k", "min-p", "max-tokens", "seed"}

// setParam changes a sampling parameter for the answers to come.
func (c *conversation) setParam(rest string, note io.Writer) error {
	if rest != "" {
		name, value, _ := strings.Cut(rest, " ")
		var changed samplingOptions
		if err := changed.parse(name, strings.TrimSpace(value)); err != nil {
			return err
		}
		if err := changed.check(); err != nil {
			return err
		}
		c.apply(name, changed)
	}
	fmt.Fprintln(note, c.settings())
	return nil
}

// parse sets the option of that name; "off" leaves it nil.
func (o *samplingOptions) parse(name, value string) (err error) {
	var number float64
	var whole int
	switch name {
	case "temperature", "top-p", "min-p":
		if value != "off" {
			number, err = strconv.ParseFloat(value, 64)
			*map[string]**float64{"temperature": &o.Temperature, "top-p": &o.TopP, "min-p": &o.MinP}[name] = &number
		}
	case "top-k", "max-tokens":
		if value != "off" {
			whole, err = strconv.Atoi(value)
			*map[string]**int{"top-k": &o.TopK, "max-tokens": &o.MaxTokens}[name] = &whole
		}
	case "seed":
		if value != "off" {
			var seed uint64
			seed, err = strconv.ParseUint(value, 10, 64)
			o.Seed = &seed
		}
	default:
		return fmt.Errorf("%q is not a setting%s", name, didYouMean(name, paramNames, "they are "+strings.Join(paramNames, ", ")))
	}
	if err != nil {
		return fmt.Errorf("%q is not a value for %s: write /set %s NUMBER, or off for the model's own", value, name, name)
	}
	return nil
}

// apply takes over the named parameter; one that is nil becomes the model's own.
func (c *conversation) apply(name string, from samplingOptions) {
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
	}
}

// save writes the conversation to a new file; half a file is worse than none.
func (c *conversation) save(file string, note io.Writer) error {
	if file == "" {
		return errors.New("write /save FILE")
	}
	data, err := json.MarshalIndent(c.messages, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the conversation: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already and is left as it is; give another name", file)
	}
	if err != nil {
		return fmt.Errorf("saving the conversation: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("saving the conversation: %w", err), os.Remove(file))
	}
	fmt.Fprintf(note, "%s saved to %s\n", plural(len(c.messages), "message", "no message"), file)
	return nil
}

func (c *conversation) load(file string, note io.Writer) error {
	if file == "" {
		return errors.New("write /load FILE")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("loading a conversation: %w", err)
	}
	var messages []message
	if err := json.Unmarshal(data, &messages); err != nil {
		return fmt.Errorf("%s is not a conversation, a list of messages with role and content: %w", file, err)
	}
	for i, m := range messages {
		if m.Role != "system" && m.Role != "user" && m.Role != "assistant" {
			return fmt.Errorf("%s: message %d has the role %q; it must be system, user or assistant", file, i+1, m.Role)
		}
	}
	c.messages = messages
	fmt.Fprintf(note, "%s loaded from %s\n", plural(len(messages), "message", "no message"), file)
	return nil
}

// untilInterrupted gives a context that ends when the program is interrupted or told to
// end, as timeout(1) and job runners do: what is measured by then is still reported.
func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}
