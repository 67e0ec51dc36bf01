package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"golang.org/x/term"
)

// errInterrupted is what reading gives for ^C, which raw mode makes a key.
var errInterrupted = errors.New("interrupted")

const ctrlC = 3

// keyboard reads a terminal that is in raw mode for as long as the chat lasts,
// so that what is typed while an answer streams does not show up inside it: it
// waits for the next line, and ^C stops the answer. (The usual mode would do the
// latter by itself, but echo every key into the answer.)
type keyboard struct {
	chunks  chan []byte   // from the goroutine that reads; closed at the end of input
	done    chan struct{} // closed when nobody reads any more
	pending []byte        // received and not yet read
}

func newKeyboard(in io.Reader) *keyboard {
	k := &keyboard{chunks: make(chan []byte), done: make(chan struct{})}
	go k.pump(in)
	return k
}

// close lets the goroutine end with its next key: a terminal can't be told to
// give up a read.
func (k *keyboard) close() { close(k.done) }

func (k *keyboard) pump(in io.Reader) {
	defer close(k.chunks)
	for {
		b := make([]byte, 256)
		n, err := in.Read(b)
		if n > 0 {
			select {
			case k.chunks <- b[:n]:
			case <-k.done:
				return
			}
		}
		if err != nil {
			return // the terminal is gone, whatever the error
		}
	}
}

// Read implements io.Reader for the line editor. ^C is errInterrupted.
func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.pending) == 0 {
		b, ok := <-k.chunks
		if !ok {
			return 0, io.EOF
		}
		k.pending = b
	}
	n := bytes.IndexByte(k.pending, ctrlC)
	if n == 0 {
		k.pending = k.pending[1:]
		return 0, errInterrupted
	}
	if n < 0 {
		n = len(k.pending)
	}
	n = copy(p, k.pending[:n])
	k.pending = k.pending[n:]
	return n, nil
}

// untilInterrupt returns a context that ends with ^C, and what ends the watch
// for it. Other keys are kept for the next line.
func (k *keyboard) untilInterrupt() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	enough, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for chunks := k.chunks; ; {
			select {
			case b, ok := <-chunks:
				if !ok {
					chunks = nil // the answer goes on; the next line finds the end
				}
				k.pending = append(k.pending, b...)
				if i := bytes.LastIndexByte(k.pending, ctrlC); i >= 0 {
					k.pending = k.pending[i+1:]
					cancel()
				}
			case <-enough:
				return
			}
		}
	}()
	return ctx, func() {
		close(enough)
		<-ended
		cancel()
	}
}

// editor reads messages: lines with editing, and earlier lines with the arrow
// keys.
type editor struct {
	keys     *keyboard
	screen   io.Writer
	size     func() (width, height int, err error)
	terminal *term.Terminal
	typed    bool // something, since message began
}

func newEditor(keys *keyboard, screen io.Writer, size func() (int, int, error)) *editor {
	e := &editor{keys: keys, screen: screen, size: size}
	e.terminal = term.NewTerminal(e, "")
	e.terminal.SetBracketedPasteMode(true)
	return e
}

func (e *editor) close() { e.terminal.SetBracketedPasteMode(false) }

// Read implements io.Reader for the terminal. Between keys the window may have
// got another size.
func (e *editor) Read(p []byte) (int, error) {
	n, err := e.keys.Read(p)
	e.typed = e.typed || n > 0
	e.fit()
	return n, err
}

// Write implements io.Writer for the terminal.
func (e *editor) Write(p []byte) (int, error) { return e.screen.Write(p) }

func (e *editor) fit() {
	if w, h, err := e.size(); err == nil && w > 0 {
		_ = e.terminal.SetSize(w, h) // a wrong width only wraps oddly
	}
}

// message reads a line, or several: a line that ends in \ goes on in the next,
// """ opens a block that ends with """, and pasted lines are one message. The
// error is io.EOF for ^D and errInterrupted for ^C.
func (e *editor) message() (string, error) {
	e.typed = false
	line, pasted, err := e.line("> ")
	if err != nil {
		return "", err
	}
	block := !pasted && strings.HasPrefix(line, `"""`)
	text := line
	if block {
		text = strings.TrimPrefix(line, `"""`)
	}
	for {
		switch {
		case block && strings.HasSuffix(text, `"""`):
			return strings.TrimSuffix(text, `"""`), nil
		case block || pasted:
		case strings.HasSuffix(text, `\`):
			text = strings.TrimSuffix(text, `\`)
		default:
			return strings.TrimRight(text, "\n"), nil
		}
		if line, pasted, err = e.line("… "); err != nil {
			return "", err
		}
		text += "\n" + line
	}
}

// line reads one line and tells whether it was pasted with its end.
func (e *editor) line(prompt string) (line string, pasted bool, err error) {
	e.fit()
	e.terminal.SetPrompt(prompt)
	line, err = e.terminal.ReadLine()
	switch {
	case errors.Is(err, term.ErrPasteIndicator):
		return line, true, nil
	case errors.Is(err, errInterrupted):
		e.abandon()
	}
	return line, false, err
}

// abandon forgets the line that was being edited. The terminal can't be told
// to, so a new one takes its place, with its history.
func (e *editor) abandon() {
	io.WriteString(e.screen, "^C\r\n")
	history := e.terminal.History
	e.terminal = term.NewTerminal(e, "")
	e.terminal.History = history
}

// cleanWriter writes what a model says to a terminal: control characters, which
// could move the cursor or do worse, become U+FFFD.
type cleanWriter struct {
	w       io.Writer
	newline string // "\r\n" in raw mode
}

// Write takes whole characters, as text comes from the engine.
func (c *cleanWriter) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, r := range string(p) {
		switch {
		case r == '\n':
			b.WriteString(c.newline)
		case r < ' ' && r != '\t', r >= 0x7f && r < 0xa0:
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
	}
	if _, err := io.WriteString(c.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
