// Package answer reads what a model says: which of it is thinking, which is for
// the reader, and which calls tools. Models differ in how they write that, and
// their chat templates show how ([Detect]).
//
// A [Reader] takes text as it comes, in pieces cut anywhere, and gives [Part]s
// as soon as they are certain. What looks like a call and turns out to be none
// is text: nothing that the model said is lost.
package answer

import "strings"

// Format is a way to write tool calls.
type Format string

// The formats.
const (
	// None: calls are not looked for.
	None Format = "none"
	// Hermes is <tool_call>{"name": …, "arguments": …}</tool_call>: Hermes, Qwen2.5, Qwen3.
	Hermes Format = "hermes"
	// Llama3 is an answer that is {"name": …, "parameters": …}, or follows
	// <|python_tag|>: Llama 3.1 to 3.3.
	Llama3 Format = "llama3"
	// Mistral is [TOOL_CALLS][{"name": …, "arguments": …, "id": …}, …], or
	// [TOOL_CALLS]name[ARGS]{…}.
	Mistral Format = "mistral"
	// DeepSeek is <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>…: V3, R1 and what was
	// distilled from it.
	DeepSeek Format = "deepseek"
	// Harmony is gpt-oss's channels: thinking and calls both.
	Harmony Format = "harmony"
	// JSON is for templates that know no tools: an answer that is
	// {"name": …, "arguments": …}, or a list of such.
	JSON Format = "json"
)

// Formats lists those that can be asked for.
func Formats() []Format { return []Format{None, Hermes, Llama3, Mistral, DeepSeek, Harmony, JSON} }

// Thinking is how a model marks its thoughts; the zero value: it does not.
type Thinking struct{ Open, Close string }

// Style is how a model writes.
type Style struct {
	Calls    Format
	Thinking Thinking
}

// thoughts are the marks that are known.
var thoughts = []Thinking{
	{"<think>", "</think>"},
	{"<seed:think>", "</seed:think>"},
	{"[THINK]", "[/THINK]"},
	{"<thinking>", "</thinking>"},
	{"<reasoning>", "</reasoning>"},
}

// Detect tells how a model writes, by its chat template.
func Detect(template string) Style {
	s := Style{Calls: JSON}
	for _, f := range []struct {
		format Format
		mark   string
	}{
		{Harmony, "<|channel|>"}, {DeepSeek, "<｜tool▁calls▁begin｜>"}, {Mistral, "[TOOL_CALLS]"}, {Hermes, "<tool_call>"}, {Llama3, "<|python_tag|>"},
	} {
		if strings.Contains(template, f.mark) {
			s.Calls = f.format
			break
		}
	}
	if s.Calls == JSON && strings.Contains(template, "<|start_header_id|>ipython") {
		s.Calls = Llama3
	}
	if s.Calls == Harmony {
		return s // its channels tell
	}
	for _, t := range thoughts {
		if strings.Contains(template, t.Close) {
			s.Thinking = t
			break
		}
	}
	return s
}

// Marks are the texts that have a meaning in the style, and that a vocabulary may
// have as special tokens.
func (s Style) Marks() []string {
	marks := []string{}
	switch s.Calls {
	case Hermes:
		marks = append(marks, hermesOpen, hermesClose)
	case Llama3:
		marks = append(marks, pythonTag)
	case Mistral:
		marks = append(marks, mistralCalls, mistralArgs, mistralID)
	case DeepSeek:
		marks = append(marks, deepBegin, deepEnd, deepCall, deepSep, deepCallEnd)
	case Harmony:
		marks = append(marks, harmonyStart, harmonyChannel, harmonyMessage, harmonyEnd, harmonyConstrain, harmonyCall, harmonyReturn)
	}
	if s.Thinking.Close != "" {
		marks = append(marks, s.Thinking.Open, s.Thinking.Close)
	}
	return marks
}

// Opened tells whether a prompt ends within a thought that the template opened.
func (s Style) Opened(prompt string) bool {
	return s.Thinking.Open != "" && strings.HasSuffix(strings.TrimRight(prompt, " \n\t"), s.Thinking.Open)
}

// Kind says what a part is.
type Kind int

// The kinds of parts.
const (
	Content   Kind = iota // Text is for the reader
	Reasoning             // Text is thinking
	CallStart             // a call of the tool Name begins
	CallArgs              // Text is more of the call's arguments, which are JSON
	CallEnd               // the call is complete
)

// Part is a piece of an answer.
type Part struct {
	Kind Kind
	Text string
	Call int    // which call, counted from 0
	Name string // of a CallStart
	ID   string // of a CallStart, if the model gave one
}

// Options say how to read.
type Options struct {
	Style
	// Opened: the answer begins within a thought.
	Opened bool
	// Tools are the names that may be called; nil: calls are text.
	Tools []string
	// Trusted: a grammar sees to it that what begins as a call is one, so that its
	// arguments are passed on as they come. Otherwise a call is held back until it
	// is complete, since it may be none.
	Trusted bool
	// One ends the answer after a call.
	One bool
}

// Reader reads an answer.
type Reader struct {
	o     Options
	buf   string // what is not certain yet
	state state
	calls int
	done  bool // nothing more is read
	out   []Part

	thought   bool   // a thought has been read, or there can be none
	fresh     bool   // no content since a thought or a call: line ends before it are the format's
	pending   string // line ends at the end of the content so far
	mark      string // that encloses calls, dropped unless there are none
	recipient string // harmony's
}

// state is a step of a format: it takes what it can from the buffer, and reports
// whether it got on. With final, no more text comes.
type state func(r *Reader, final bool) bool

// NewReader starts to read an answer.
func NewReader(o Options) *Reader {
	r := &Reader{o: o}
	switch {
	case o.Calls == Harmony:
		r.state = harmonyHeader
	case o.Opened:
		r.state = inThought
	case o.Thinking.Open != "":
		r.state = beforeThought
	default:
		r.state = r.body()
	}
	return r
}

// body is what follows the thought.
func (r *Reader) body() state {
	if r.o.Tools == nil {
		return onlyContent
	}
	switch r.o.Calls {
	case Hermes:
		return hermesText
	case Llama3, JSON:
		return jsonStart
	case Mistral:
		return mistralText
	case DeepSeek:
		return deepText
	}
	return onlyContent
}

// Push takes more text and returns what has become certain; the parts are valid
// until the next call.
func (r *Reader) Push(text string) []Part { return r.read(text, false) }

// Flush returns the rest, when no more text comes.
func (r *Reader) Flush() []Part { return r.read("", true) }

func (r *Reader) read(text string, final bool) []Part {
	r.out = r.out[:0]
	if r.done {
		return nil
	}
	r.buf += text
	for !r.done && r.state(r, final) {
	}
	if final && r.pending != "" {
		r.out = append(r.out, Part{Kind: Content, Text: r.pending})
		r.pending = ""
	}
	return r.out
}

// Calls is how many calls have begun.
func (r *Reader) Calls() int { return r.calls }

// Done tells that the answer has ended although the model may go on: after the one
// call that was allowed.
func (r *Reader) Done() bool { return r.done }

// emit gives n bytes of the buffer as a part.
func (r *Reader) emit(k Kind, n int) {
	if n > 0 {
		r.part(Part{Kind: k, Text: r.buf[:n], Call: r.calls - 1})
		r.buf = r.buf[n:]
	}
}

// part appends a part, joined to the last if it is more of the same.
func (r *Reader) part(p Part) {
	if p.Kind == Content {
		if p.Text = r.space(p.Text); p.Text == "" {
			return
		}
	}
	if n := len(r.out); n > 0 && p.Kind < CallStart && r.out[n-1].Kind == p.Kind {
		r.out[n-1].Text += p.Text
		return
	}
	r.out = append(r.out, p)
}

// space holds back white space at content's ends: around calls and thoughts it
// belongs to the format.
func (r *Reader) space(text string) string {
	if r.fresh {
		if text = strings.TrimLeft(text, "\n"); text == "" {
			return ""
		}
		r.fresh = false
	}
	text = r.pending + text
	trimmed := strings.TrimRight(text, "\n")
	r.pending = text[len(trimmed):]
	return trimmed
}

// call begins a call; the white space before it is dropped.
func (r *Reader) call(name, id string) {
	r.pending, r.fresh = "", true
	r.out = append(r.out, Part{Kind: CallStart, Call: r.calls, Name: name, ID: id})
	r.calls++
}

// endCall ends it.
func (r *Reader) endCall() {
	r.out = append(r.out, Part{Kind: CallEnd, Call: r.calls - 1})
	if r.o.One {
		r.done, r.buf = true, ""
	}
}

// whole emits a complete call.
func (r *Reader) whole(c call) {
	r.call(c.name, c.id)
	r.out = append(r.out, Part{Kind: CallArgs, Call: r.calls - 1, Text: c.args})
	r.endCall()
}

func (r *Reader) known(name string) bool {
	for _, t := range r.o.Tools {
		if t == name {
			return true
		}
	}
	return false
}

// upTo emits what stands before the first of the marks and tells which it is; it
// is left in the buffer. If there is none it emits what cannot begin one.
func (r *Reader) upTo(k Kind, final bool, marks ...string) (found string, ok bool) {
	at := -1
	for _, m := range marks {
		if i := strings.Index(r.buf, m); i >= 0 && (at < 0 || i < at) {
			at, found = i, m
		}
	}
	if at >= 0 {
		r.emit(k, at)
		return found, true
	}
	keep := 0
	if !final {
		keep = undecided(r.buf, marks)
	}
	r.emit(k, len(r.buf)-keep)
	return "", false
}

// undecided is the length of the longest end of text that begins a mark.
func undecided(text string, marks []string) int {
	most := 0
	for _, m := range marks {
		for n := min(len(text), len(m)-1); n > most; n-- {
			if strings.HasPrefix(m, text[len(text)-n:]) {
				most = n
				break
			}
		}
	}
	return most
}

// onlyContent passes everything on.
func onlyContent(r *Reader, final bool) bool {
	r.emit(Content, len(r.buf))
	return false
}

// beforeThought looks whether the answer begins with a thought.
func beforeThought(r *Reader, final bool) bool {
	text := strings.TrimLeft(r.buf, " \n\t")
	open := r.o.Thinking.Open
	switch {
	case strings.HasPrefix(text, open):
		r.buf = text[len(open):]
		r.state = inThought
	case !final && strings.HasPrefix(open, text):
		return false
	default:
		r.state = r.body()
	}
	return true
}

// inThought is within a thought. White space at its ends is the format's.
func inThought(r *Reader, final bool) bool {
	if !r.thought {
		r.buf = strings.TrimLeft(r.buf, "\n")
		if r.thought = r.buf != ""; !r.thought {
			return false
		}
	}
	// Line ends are held back: they may stand before the end.
	close := r.o.Thinking.Close
	at := strings.Index(r.buf, close)
	if at >= 0 {
		r.emit(Reasoning, len(strings.TrimRight(r.buf[:at], "\n")))
		r.buf = strings.TrimLeft(r.buf, "\n")[len(close):]
		r.fresh = true
		r.state = r.body()
		return true
	}
	keep := 0
	if !final {
		keep = undecided(r.buf, []string{close})
	}
	certain := r.buf[:len(r.buf)-keep]
	if !final {
		certain = strings.TrimRight(certain, "\n")
	}
	r.emit(Reasoning, len(certain))
	return false
}
