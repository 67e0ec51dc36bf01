package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"weir/internal/llm"
)

// parrot answers with what it was asked, and a count.
type parrot struct {
	mu       sync.Mutex
	asked    []llm.Prompt
	params   []llm.Params
	answer   func(n int) (text string, err error)
	endless  chan struct{} // not nil: an answer goes on until it is cancelled; closed once it has begun
	template bool
}

func (p *parrot) Model() llm.Model {
	defaults := llm.DefaultParams()
	defaults.Temperature = 0.7
	return llm.Model{ID: "parrot", Family: "bird", Quant: "F32", Context: 100, Chat: p.template, Defaults: &defaults}
}

func (p *parrot) Generate(ctx context.Context, r *llm.Request) iter.Seq2[llm.Event, error] {
	p.mu.Lock()
	p.asked, p.params = append(p.asked, r.Prompt), append(p.params, r.Params)
	n := len(p.asked)
	p.mu.Unlock()
	return func(yield func(llm.Event, error) bool) {
		text, err := fmt.Sprintf("answer %d", n), error(nil)
		if p.answer != nil {
			text, err = p.answer(n)
		}
		if !yield(llm.Event{Text: text, Tokens: make([]llm.Token, 2)}, nil) {
			return
		}
		if p.endless != nil {
			close(p.endless)
			<-ctx.Done()
			err = &llm.Error{Kind: llm.Canceled, Message: "cancelled", Err: ctx.Err()}
		}
		if err != nil {
			yield(llm.Event{}, err)
			return
		}
		yield(llm.Event{Finish: llm.FinishStop, Usage: &llm.Usage{PromptTokens: 7, CompletionTokens: 2}}, nil)
	}
}

// typing is a chat whose keys a test types and whose screen it reads.
type typing struct {
	t      *testing.T
	keys   *io.PipeWriter
	screen *syncBuffer
	ended  chan error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func chatWith(t *testing.T, p *parrot, c *conversation) *typing {
	t.Helper()
	before := runtime.NumGoroutine()
	in, keys := io.Pipe()
	ty := &typing{t: t, keys: keys, screen: &syncBuffer{}, ended: make(chan error, 1)}
	k := newKeyboard(in)
	e := newEditor(k, ty.screen, func() (int, int, error) { return 60, 20, nil })
	go func() {
		ty.ended <- c.chat(e, streams{out: ty.screen, err: ty.screen})
	}()
	t.Cleanup(func() {
		k.close()
		keys.Close()
		waitFor(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
	})
	return ty
}

func (ty *typing) keysIn(s string) {
	ty.t.Helper()
	if _, err := io.WriteString(ty.keys, s); err != nil {
		ty.t.Fatal(err)
	}
}

// until waits for the screen to show something, and how often.
func (ty *typing) until(s string, times int) {
	ty.t.Helper()
	waitFor(ty.t, s, func() bool { return strings.Count(ty.screen.String(), s) >= times })
}

func (ty *typing) end() string {
	ty.t.Helper()
	if err := <-ty.ended; err != nil {
		ty.t.Errorf("the chat ended with %v", err)
	}
	return ty.screen.String()
}

// said lists what the parrot was asked, as it came.
func (p *parrot) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, q := range p.asked {
		switch q := q.(type) {
		case *llm.Chat:
			list = append(list, string(q.Messages))
		case llm.Text:
			list = append(list, string(q))
		}
	}
	return list
}

func newChat(p *parrot, system string) *conversation {
	p.template = true
	return newConversation(p, (&samplingOptions{}).params(p.Model()), system)
}

// TestChatKeys types at the prompt and looks at what the model is asked.
func TestChatKeys(t *testing.T) {
	const up, left, home, paste, endPaste = "\x1b[A", "\x1b[D", "\x1b[H", "\x1b[200~", "\x1b[201~"
	for name, c := range map[string]struct {
		keys string
		want []string // the last message of each request
	}{
		"a line":               {"hello\r", []string{"hello"}},
		"editing":              {"hllo" + left + left + left + "e\r", []string{"hello"}},
		"home":                 {"world" + home + "hello \r", []string{"hello world"}},
		"history":              {"one\rtwo\r" + up + up + "\r", []string{"one", "two", "one"}},
		"spaces and nothing":   {"\r   \rhello\r", []string{"hello"}},
		"goes on":              {"one\\\rtwo\\\rthree\r", []string{`one\ntwo\nthree`}},
		"block":                {"\"\"\"one\r\rtwo\\\r/help\rthree\"\"\"\r", []string{`one\n\ntwo\\\n/help\nthree`}},
		"block in a line":      {"\"\"\"one\"\"\"\r", []string{"one"}},
		"paste":                {paste + "one\r\ttwo\r/three" + endPaste + "!\r", []string{`one\n\ttwo\n/three!`}},
		"paste with an end":    {paste + "one\ntwo\n" + endPaste + "\r", []string{`one\ntwo`}},
		"paste of a line":      {"say: " + paste + "hi" + endPaste + "\r", []string{"say: hi"}},
		"^C clears":            {"wrong\x03right\r", []string{"right"}},
		"^C leaves a block":    {"\"\"\"one\rtwo\x03right\r", []string{"right"}},
		"^C keeps the history": {"one\rtwo\x03" + up + "\r", []string{"one", "one"}},
		"^C at a prompt once":  {"\x03hello\r", []string{"hello"}},
		"^C, a line, ^C":       {"\x03hello\r\x03again\r", []string{"hello", "again"}},
		"what is no ASCII":     {"grüße 你好\r", []string{"grüße 你好"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &parrot{}
			ty := chatWith(t, p, newChat(p, ""))
			ty.keysIn(c.keys)
			ty.until("[2 tokens", len(c.want))
			ty.keysIn("\x04")
			ty.end()
			got := p.said()
			if len(got) != len(c.want) {
				t.Fatalf("asked %d times: %q", len(got), got)
			}
			for i, want := range c.want {
				if !strings.HasSuffix(got[i], `{"role":"user","content":"`+want+`"}]`) {
					t.Errorf("request %d is %s, want %q at its end", i, got[i], want)
				}
			}
		})
	}
}

// TestChatEnds: by ^D, by ^C twice, by a command, and when the terminal is gone.
func TestChatEnds(t *testing.T) {
	for name, keys := range map[string]string{"^D": "\x04", "^C twice": "\x03\x03", "/bye": "/bye\r", "/quit": "/quit\r"} {
		t.Run(name, func(t *testing.T) {
			p := &parrot{}
			ty := chatWith(t, p, newChat(p, ""))
			ty.keysIn(keys)
			if screen := ty.end(); name == "^C twice" && !strings.Contains(screen, "once more") {
				t.Errorf("no hint: %q", screen)
			}
		})
	}
	t.Run("the terminal is gone", func(t *testing.T) {
		p := &parrot{}
		ty := chatWith(t, p, newChat(p, ""))
		ty.keysIn("half a li")
		ty.keys.Close()
		ty.end()
	})
}

// TestChatStopsAnAnswer: ^C ends the answer and not the chat, what was typed
// before it is gone, what is typed after it waits for the prompt.
func TestChatStopsAnAnswer(t *testing.T) {
	p := &parrot{endless: make(chan struct{})}
	c := newChat(p, "")
	ty := chatWith(t, p, c)
	ty.keysIn("go on\r")
	<-p.endless
	ty.keysIn("not this\r\x03")
	ty.until("[stopped]", 1)
	p.endless = nil
	ty.keysIn("but this\r")
	ty.until("[2 tokens", 1)
	ty.keysIn("\x04")
	ty.end()
	got := p.said()
	want := `[{"role":"user","content":"go on"},{"role":"assistant","content":"answer 1"},{"role":"user","content":"but this"}]`
	if len(got) != 2 || got[1] != want {
		t.Errorf("asked %q, want %s at last", got, want)
	}
}

// TestTypingAhead: what is typed while an answer streams is the next line.
func TestTypingAhead(t *testing.T) {
	p := &parrot{}
	began, goOn := make(chan struct{}), make(chan struct{})
	p.answer = func(n int) (string, error) {
		if n == 1 {
			close(began)
			<-goOn
		}
		return "text", nil
	}
	ty := chatWith(t, p, newChat(p, ""))
	ty.keysIn("first\r")
	<-began
	ty.keysIn("second\r")
	close(goOn)
	ty.until("[2 tokens", 2)
	ty.keysIn("\x04")
	if screen := ty.end(); strings.Index(screen, "second") < strings.Index(screen, "[2 tokens") {
		t.Errorf("what was typed shows inside of the answer: %q", screen)
	}
}

func TestChatCommands(t *testing.T) {
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.json")
	for name, content := range map[string]string{"role.json": `[{"role":"robot","content":"x"}]`, "text.json": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	p := &parrot{}
	c := newChat(p, "Be brief.")
	say := func(line string) string {
		var out, err bytes.Buffer
		done, e := c.turn(t.Context(), line, streams{out: &out, err: &err})
		if done {
			t.Errorf("%s ended the chat", line)
		}
		if e != nil {
			return "error: " + e.Error()
		}
		return out.String() + err.String()
	}
	for _, step := range []struct{ line, want string }{
		{"/retry", "there is no answer yet"},
		{"hello", "answer 1"},
		{"/retry", "answer 2"},
		{"/history", "system: Be brief.\nuser: hello\nassistant: answer 2\n"},
		{"/help", "/retry"},
		{"/?", "/retry"},
		{"/show", "temperature 0.7"},
		{"/set temperature 0.1", "temperature 0.1,"},
		{"/set", "temperature 0.1,"},
		{"/set seed 5", "seed 5"},
		{"/set max-tokens 9", "max-tokens 9"},
		{"/set top-k 4", "top-k 4"},
		{"/set top-p 0.5", "top-p 0.5"},
		{"/set min-p 0.25", "min-p 0.25"},
		{"again", "answer 3"},
		{"/set temperature off", "temperature 0.7,"},
		{"/set max-tokens off", "min-p 0.25, seed 5\n"},
		{"/set seed off", "min-p 0.25\n"},
		{"/set temprature 1", "did you mean temperature?"},
		{"/set temperature", `"" is not a value`},
		{"/set temperature 101", "must be from 0 to 100"},
		{"/set colour red", "they are temperature"},
		{"/save", "write /save FILE"},
		{"/save " + saved, "5 messages saved"},
		{"/save " + saved, "exists already"},
		{"/save " + filepath.Join(dir, "none", "x"), "no such file"},
		{"/system", "Be brief."},
		{"/system Be long.", "a new conversation"},
		{"/history", "system: Be long.\n"},
		{"/load", "write /load FILE"},
		{"/load " + filepath.Join(dir, "none"), "no such file"},
		{"/load " + filepath.Join(dir, "text.json"), "is not a conversation"},
		{"/load " + filepath.Join(dir, "role.json"), `message 1 has the role "robot"`},
		{"/history", "system: Be long.\n"},
		{"/load " + saved, "5 messages loaded"},
		{"/history", "user: again\nassistant: answer 3\n"},
		{"/clear", "forgotten"},
		{"/history", "system: Be brief.\n"},
		{"/hist", "did you mean /history?"},
		{"/nothing-like-it", "/help lists them"},
	} {
		if got := say(step.line); !strings.Contains(got, step.want) {
			t.Errorf("%s: %q, want %q in it", step.line, got, step.want)
		}
	}
	q := p.params[2]
	if q.Temperature != 0.1 || *q.Seed != 5 || *q.MaxTokens != 9 || q.TopK != 4 || q.TopP != 0.5 || q.MinP != 0.25 {
		t.Errorf("the settings did not reach the model: %+v", q)
	}
}

// TestFailedAnswers: an answer that failed before its first word leaves no trace
// in the conversation, a half one stays.
func TestFailedAnswers(t *testing.T) {
	p := &parrot{}
	c := newChat(p, "")
	p.answer = func(int) (string, error) {
		return "", &llm.Error{Kind: llm.TooLong, Message: "the prompt has 200 tokens"}
	}
	if err := c.ask(t.Context(), "long", io.Discard, io.Discard); err == nil || len(c.messages) != 0 {
		t.Errorf("%v, messages %v", err, c.messages)
	}
	p.answer = func(int) (string, error) { return "half", errors.New("broken") }
	if err := c.ask(t.Context(), "long", io.Discard, io.Discard); err == nil || len(c.messages) != 2 || c.messages[1].Content != "half" {
		t.Errorf("%v, messages %v", err, c.messages)
	}
	p.answer = nil
	if err := c.ask(t.Context(), "more", full{}, io.Discard); err == nil || !strings.Contains(err.Error(), "writing the answer") {
		t.Errorf("a full disk: %v", err)
	}
	ty := chatWith(t, p, c)
	p.answer = func(int) (string, error) {
		return "", &llm.Error{Kind: llm.TooLong, Message: "the prompt has 200 tokens"}
	}
	ty.keysIn("long\r")
	ty.until("/clear forgets", 1)
	ty.keysIn("\x04")
	ty.end()
}

// TestRawChat: without a template the texts follow each other as they are.
func TestRawChat(t *testing.T) {
	p := &parrot{}
	c := newConversation(p, llm.DefaultParams(), "")
	c.raw = true
	if d := c.describe(); !strings.Contains(d, "no chat template") || !strings.Contains(d, "--chat-template") {
		t.Errorf("it does not say so: %s", d)
	}
	for _, text := range []string{"Once ", " more"} {
		if err := c.ask(t.Context(), text, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.said(); got[1] != "Once answer 1 more" {
		t.Errorf("asked %q", got)
	}
	p.template = true
	if d := c.describe(); !strings.Contains(d, "without the chat template") {
		t.Errorf("it does not say that the template is left out: %s", d)
	}
}

func TestCleanWriter(t *testing.T) {
	var b strings.Builder
	w := &cleanWriter{w: &b, newline: "\r\n"}
	text := "a\tb\nc\x1b[2J\x07\u009b\x7fü"
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if want := "a\tb\r\nc\uFFFD[2J\uFFFD\uFFFD\uFFFDü"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	if _, err := (&cleanWriter{w: full{}}).Write([]byte("x")); err == nil {
		t.Error("a full disk is no error")
	}
}
