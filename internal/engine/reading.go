package engine

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"

	answers "weir/internal/chat/answer"
	"weir/internal/llm"
	"weir/internal/token"
)

// Answers are read on the request's goroutine, as text: what of it is thinking,
// what calls tools (package answer). The loop knows nothing of it.

// reading is how a request's output is read.
type reading struct {
	answers.Options
	// marks are the special tokens that mean something to the reader, and are text
	// to it although texts leave them out.
	marks map[int32]string
	// named: calls have the tool's name before their arguments, and not in an object
	// or behind the word "function": the later templates of Mistral and DeepSeek.
	named bool
}

// AnswerOptions say how a model writes its answers, where that is not to be found
// out by its chat template.
type AnswerOptions struct {
	Calls    answers.Format // "": as the template shows
	Thinking string         // the name of the marks, as "think"; "": as the template shows; "none"
}

// styleOf is how the model writes when it answers a chat.
func (e *Engine) styleOf(c *llm.Chat) (answers.Style, error) {
	t, err := e.template(c)
	if err != nil {
		return answers.Style{}, err
	}
	s := answers.Detect(t.Source())
	if f := e.opts.Answers.Calls; f != "" {
		s.Calls = f
	}
	if name := e.opts.Answers.Thinking; name != "" {
		s.Thinking, _ = answers.ThinkingNamed(name) // Validate has looked
	}
	return s, nil
}

// readingOf says how the answer to a request is read; nil: as text.
func (e *Engine) readingOf(r *llm.Request, prompt []int32) (*reading, error) {
	c, ok := r.Prompt.(*llm.Chat)
	if !ok || c.NoGeneration || c.ContinueFinal || !r.Reading.Thinking && r.Reading.Tools == llm.ToolsNone {
		return nil, nil
	}
	style, err := e.styleOf(c)
	if err != nil {
		return nil, err
	}
	rd := &reading{Options: answers.Options{Style: style, One: r.Reading.OneCall, Trusted: true}, marks: map[int32]string{}}
	if rd.named, err = e.namesFirst(c, style); err != nil {
		return nil, err
	}
	if !r.Reading.Thinking {
		rd.Thinking = answers.Thinking{}
	}
	if r.Reading.Tools != llm.ToolsNone {
		for _, t := range toolsOf(c.Tools) {
			if r.Reading.Tool == "" || r.Reading.Tool == t.Name {
				rd.Tools = append(rd.Tools, t.Name)
			}
		}
	}
	if rd.Tools == nil && rd.Calls != answers.Harmony {
		rd.Calls = answers.None
	}
	if rd.Calls == answers.None && rd.Thinking.Close == "" {
		return nil, nil
	}
	tail := prompt[max(0, len(prompt)-8):]
	rd.Opened = rd.Style.Opened(e.opts.Tokenizer.Decode(tail, token.DecodeOptions{Continuation: true}))
	for _, m := range rd.Marks() {
		if id, ok := e.opts.Tokenizer.ID(m); ok && e.opts.Tokenizer.IsSpecial(id) {
			rd.marks[id] = m
		}
	}
	return rd, nil
}

// namesFirst looks which of two ways a template has.
func (e *Engine) namesFirst(c *llm.Chat, s answers.Style) (bool, error) {
	t, err := e.template(c)
	if err != nil {
		return false, err
	}
	switch s.Calls {
	case answers.Mistral:
		return strings.Contains(t.Source(), "[ARGS]"), nil
	case answers.DeepSeek:
		return !strings.Contains(t.Source(), "```json"), nil
	}
	return false, nil
}

// tool is a function that a model may call.
type tool struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
	Strict     bool            `json:"strict"`
}

// toolsOf reads the tools of a chat; what is no function is left out.
func toolsOf(list json.RawMessage) []tool {
	var entries []struct {
		Function *tool `json:"function"`
	}
	if json.Unmarshal(list, &entries) != nil {
		return nil
	}
	var tools []tool
	for _, e := range entries {
		if e.Function != nil && e.Function.Name != "" {
			tools = append(tools, *e.Function)
		}
	}
	return tools
}

// text is what a token adds to a choice's text.
func (d *delivery) text(c *choice, id int32) string {
	if d.req.reading != nil && !d.req.params.KeepSpecial {
		if mark, ok := d.req.reading.marks[id]; ok {
			return c.decoder.Flush() + mark
		}
	}
	return c.decoder.Push(id)
}

// read tells thinking and calls from the text of an event.
func (d *delivery) read(c *choice, ev *llm.Event) {
	if c.reader == nil {
		return
	}
	text := ev.Text
	ev.Text = ""
	d.addParts(ev, c.reader.Push(text))
	if c.reader.Done() && ev.Finish == llm.FinishNone {
		ev.Finish = llm.FinishStop
		d.e.inbox.send(message{choice: c.seq})
	}
	if ev.Finish == llm.FinishNone {
		return
	}
	d.addParts(ev, c.reader.Flush())
	if ev.Finish == llm.FinishStop && c.reader.Calls() > 0 {
		ev.Finish = llm.FinishCalls
	}
}

func (d *delivery) addParts(ev *llm.Event, parts []answers.Part) {
	for _, p := range parts {
		switch p.Kind {
		case answers.Content:
			ev.Text += p.Text
		case answers.Reasoning:
			ev.Reasoning += p.Text
		case answers.CallStart:
			id := p.ID
			if id == "" {
				id = d.callID()
			}
			ev.Calls = append(ev.Calls, llm.CallDelta{Call: p.Call, ID: id, Name: p.Name})
		case answers.CallArgs:
			ev.Calls = append(ev.Calls, llm.CallDelta{Call: p.Call, Args: p.Text})
		}
	}
}

// callID makes a call's id. Mistral's templates take none but of nine letters and
// digits.
func (d *delivery) callID() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	prefix, n := "call_", 24
	if d.req.reading.Calls == answers.Mistral {
		prefix, n = "", 9
	}
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return prefix + string(b)
}

// Validate tells what is wrong with o.
func (o AnswerOptions) Validate() error {
	if o.Calls != "" && !slices.Contains(answers.Formats(), o.Calls) {
		return answers.UnknownFormat(string(o.Calls))
	}
	_, err := answers.ThinkingNamed(o.Thinking)
	return err
}
