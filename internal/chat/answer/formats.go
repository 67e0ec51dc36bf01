package answer

import (
	"strings"
)

const (
	hermesOpen, hermesClose = "<tool_call>", "</tool_call>"
	pythonTag               = "<|python_tag|>"
)

// streamed passes on a trusted call's arguments as they come. next is the state
// after them. The value has begun: the buffer begins with it.
func streamed(scan *scanner, next state) state {
	return func(r *Reader, final bool) bool {
		text := r.buf
		if !scan.begun {
			if text = strings.TrimLeft(text, " \n\t\r"); text == "" {
				return false
			}
			r.buf = text
		}
		n, whole := scan.scan(text)
		if n > 0 {
			r.out = append(r.out, Part{Kind: CallArgs, Call: r.calls - 1, Text: text[:n]})
			r.buf = text[n:]
		}
		if whole {
			r.endCall()
			r.state = next
			return !r.done
		}
		return false
	}
}

// begin begins a trusted call whose head is complete in the buffer. It reports
// false if it is not, or not yet.
func (r *Reader) begin(key string, next state) bool {
	name, n := r.head(r.buf, key)
	if n <= 0 {
		return false
	}
	r.buf = r.buf[n:]
	r.call(name, "")
	r.state = streamed(new(scanner), func(r *Reader, final bool) bool { // the head's own brace
		if !r.skip(final, "}") {
			return false
		}
		r.state = next
		return true
	})
	return true
}

// skip drops white space and then one of the texts from the buffer, if it is
// there. It reports false while that is not certain.
func (r *Reader) skip(final bool, texts ...string) bool {
	rest := strings.TrimLeft(r.buf, " \n\t\r")
	for _, t := range texts {
		if strings.HasPrefix(rest, t) {
			r.buf = rest[len(t):]
			return true
		}
		if !final && strings.HasPrefix(t, rest) {
			return false
		}
	}
	return true
}

// Hermes.

func hermesText(r *Reader, final bool) bool {
	if _, ok := r.upTo(Content, final, hermesOpen); ok {
		r.state = hermesCall
		return true
	}
	return false
}

// hermesCall begins with <tool_call>.
func hermesCall(r *Reader, final bool) bool {
	body := r.buf[len(hermesOpen):]
	if r.o.Trusted && (body == "" || body[0] == '\n') {
		switch _, n := r.head(strings.TrimPrefix(body, "\n"), "arguments"); {
		case n > 0:
			r.buf = body[1:]
			return r.begin("arguments", hermesAfter)
		case n == 0 && !final:
			return false
		}
	}
	text := strings.TrimLeft(body, " \n\t\r")
	n := value(text)
	if n == 0 && !final || text == "" && !final {
		return false
	}
	if n > 0 {
		if c, ok := readCall(text[:n]); ok && r.known(c.name) {
			r.buf = text[n:]
			r.whole(c)
			r.state = hermesAfter
			return !r.done
		}
	}
	// It is none: what was said is text, the mark first.
	r.emit(Content, len(hermesOpen))
	r.state = hermesText
	return true
}

// hermesAfter drops </tool_call>, which may be missing at the end.
func hermesAfter(r *Reader, final bool) bool {
	if !r.skip(final, hermesClose) {
		return false
	}
	r.state = hermesText
	return true
}

// Llama 3, and JSON alone: the answer is a call, or several, or it is none.

func jsonStart(r *Reader, final bool) bool {
	text := strings.TrimLeft(r.buf, " \n\t\r")
	tagged := false
	if r.o.Calls == Llama3 {
		if !final && text != "" && strings.HasPrefix(pythonTag, text) {
			return false
		}
		if strings.HasPrefix(text, pythonTag) {
			text, tagged = strings.TrimLeft(text[len(pythonTag):], " \n\t\r"), true
		}
	}
	if text == "" {
		if final {
			r.state = onlyContent
		}
		return final
	}
	if r.o.Calls == JSON {
		if fenced, waits := fence(text, final); waits {
			return false
		} else if fenced != "" {
			return r.jsonCalls(fenced, final)
		}
	}
	if tagged && text[0] != '{' && text[0] != '[' {
		return r.pythonCall(text, final)
	}
	return r.jsonCalls(text, final)
}

// fence takes the mark ```json from the beginning of text. It waits where that is
// not certain yet.
func fence(text string, final bool) (rest string, waits bool) {
	const open = "```"
	if !strings.HasPrefix(text, open) {
		return "", !final && strings.HasPrefix(open, text)
	}
	line, rest, ended := strings.Cut(text[len(open):], "\n")
	if !ended {
		return "", !final && len(line) < 16
	}
	if rest = strings.TrimLeft(rest, " \n\t\r"); rest == "" {
		return "", !final
	}
	return rest, false
}

// key is what the arguments are called.
func (r *Reader) key() string {
	if r.o.Calls == Llama3 {
		return "parameters"
	}
	return "arguments"
}

// jsonCalls reads calls from text, which is the buffer without what may stand
// before them.
func (r *Reader) jsonCalls(text string, final bool) bool {
	if r.o.Trusted && text[0] == '{' {
		switch _, n := r.head(text, r.key()); {
		case n > 0:
			r.buf = text
			return r.begin(r.key(), jsonAfter)
		case n == 0 && !final:
			return false
		}
	}
	n := value(text)
	if n == 0 && !final {
		return false
	}
	if n > 0 {
		if list, ok := readCalls(text[:n]); ok && r.allKnown(list) {
			r.buf = text[n:]
			r.state = jsonAfter
			for _, c := range list {
				if r.whole(c); r.done {
					return false
				}
			}
			return true
		}
	}
	r.state = onlyContent
	return true
}

func (r *Reader) allKnown(list []call) bool {
	for _, c := range list {
		if !r.known(c.name) {
			return false
		}
	}
	return true
}

// jsonAfter looks for more calls: on another line, or behind a semicolon. A fence
// that ends is dropped. Anything else is text.
func jsonAfter(r *Reader, final bool) bool {
	text := strings.TrimLeft(r.buf, " \n\t\r;,`")
	if text == "" {
		if final {
			r.buf = ""
		}
		return false
	}
	if text[0] == '{' {
		r.buf = text
		r.state = jsonNext
		return true
	}
	r.buf = strings.TrimPrefix(strings.TrimLeft(r.buf, " \n\t\r"), "```")
	r.state = onlyContent
	return true
}

func jsonNext(r *Reader, final bool) bool { return r.jsonCalls(r.buf, final) }

// pythonCall reads a built-in tool's call, name.call(key="value", …): all that is
// written behind the tag. Other code is text.
func (r *Reader) pythonCall(text string, final bool) bool {
	if !final {
		return false
	}
	if c, ok := readPython(text); ok && r.known(c.name) {
		r.buf = ""
		r.whole(c)
		return false
	}
	r.state = onlyContent
	return true
}

// Mistral.

const (
	mistralCalls = "[TOOL_CALLS]"
	mistralArgs  = "[ARGS]"
	mistralID    = "[CALL_ID]"
)

func mistralText(r *Reader, final bool) bool {
	if _, ok := r.upTo(Content, final, mistralCalls); ok {
		r.state = mistralCall
		return true
	}
	return false
}

// mistralCall begins with [TOOL_CALLS].
func mistralCall(r *Reader, final bool) bool {
	text := strings.TrimLeft(r.buf[len(mistralCalls):], " \n\t\r")
	if text == "" && !final {
		return false
	}
	if text != "" && text[0] != '[' && text[0] != '{' {
		return r.mistralNamed(text, final)
	}
	if r.o.Trusted && strings.HasPrefix(text, "[") {
		switch _, n := r.head(text[1:], "arguments"); {
		case n > 0:
			r.buf = text[1:]
			return r.begin("arguments", mistralAfter)
		case n == 0 && !final:
			return false
		}
	}
	n := value(text)
	if n == 0 && !final {
		return false
	}
	if n > 0 {
		if list, ok := readCalls(text[:n]); ok && r.allKnown(list) {
			r.buf = text[n:]
			r.state = mistralText
			for _, c := range list {
				if r.whole(c); r.done {
					return false
				}
			}
			return true
		}
	}
	return r.mistralNone()
}

func (r *Reader) mistralNone() bool {
	r.emit(Content, len(mistralCalls))
	r.state = mistralText
	return true
}

// mistralAfter is within the list that a grammar wrote, behind a call's arguments.
func mistralAfter(r *Reader, final bool) bool {
	text := strings.TrimLeft(r.buf, " \n\t\r")
	switch {
	case text == "":
		return false
	case text[0] == ']':
		r.buf = text[1:]
		r.state = mistralText
		return true
	case text[0] == ',':
		next := strings.TrimPrefix(text[1:], " ")
		switch _, n := r.head(next, "arguments"); {
		case n > 0:
			r.buf = next
			return r.begin("arguments", mistralAfter)
		case n == 0 && !final:
			return false
		}
	}
	r.state = mistralText
	return true
}

// mistralNamed reads name[ARGS]{…}, perhaps with a [CALL_ID] between.
func (r *Reader) mistralNamed(text string, final bool) bool {
	at := strings.IndexByte(text, '{')
	if at < 0 || at > maxHeader {
		if final || len(text) > maxHeader {
			return r.mistralNone()
		}
		return false
	}
	name := strings.TrimSuffix(strings.TrimSpace(text[:at]), mistralArgs)
	name, id, _ := strings.Cut(name, mistralID)
	name, id = strings.TrimSpace(name), strings.TrimSpace(id)
	if !r.known(name) {
		return r.mistralNone()
	}
	if r.o.Trusted {
		r.buf = text[at:]
		r.call(name, id)
		r.state = streamed(new(scanner), mistralText)
		return true
	}
	n := value(text[at:])
	if n == 0 && !final {
		return false
	}
	if n > 0 {
		if args, ok := arguments(text[at : at+n]); ok {
			r.buf = text[at+n:]
			r.whole(call{name, id, args})
			r.state = mistralText
			return !r.done
		}
	}
	return r.mistralNone()
}

// DeepSeek.

const (
	deepBegin   = "<｜tool▁calls▁begin｜>"
	deepEnd     = "<｜tool▁calls▁end｜>"
	deepCall    = "<｜tool▁call▁begin｜>"
	deepSep     = "<｜tool▁sep｜>"
	deepCallEnd = "<｜tool▁call▁end｜>"
	deepFence   = "```json\n"
)

func deepText(r *Reader, final bool) bool {
	switch found, ok := r.upTo(Content, final, deepBegin, deepCall, deepEnd); {
	case !ok:
		return false
	case found == deepCall:
		r.state = deepHead
	case found == deepBegin:
		r.state = deepOpen
	case r.fresh: // behind a call
		r.buf = r.buf[len(deepEnd):]
	default:
		r.emit(Content, len(deepEnd))
	}
	return true
}

// deepOpen begins with <｜tool▁calls▁begin｜>, which means nothing unless a call
// follows.
func deepOpen(r *Reader, final bool) bool {
	rest := strings.TrimLeft(r.buf[len(deepBegin):], " \n\t\r")
	switch {
	case strings.HasPrefix(rest, deepCall):
		r.mark, r.buf = r.buf[:len(r.buf)-len(rest)], rest
		r.state = deepHead
	case !final && strings.HasPrefix(deepCall, rest):
		return false
	default:
		r.emit(Content, len(deepBegin))
		r.state = deepText
	}
	return true
}

// deepHead begins with <｜tool▁call▁begin｜>; then follows either "function", the
// separator, the name and the arguments in a fence (V3, R1), or the name, the
// separator and the arguments (V3.1).
func deepHead(r *Reader, final bool) bool {
	text := r.buf[len(deepCall):]
	kind, rest, ok := strings.Cut(text, deepSep)
	at := strings.IndexByte(rest, '{')
	if !ok || at < 0 || len(text)-len(rest)+at > maxHeader {
		if final || len(text) > maxHeader {
			return r.deepNone()
		}
		return false
	}
	name := strings.TrimSpace(kind)
	before := rest[:at]
	if strings.TrimSpace(before) != "" {
		line, fence, _ := strings.Cut(before, "\n")
		if fence = strings.TrimSpace(fence); fence != "" && fence != "```json" && fence != "```" {
			return r.deepNone()
		}
		name = strings.TrimSpace(line)
	}
	if !r.known(name) {
		return r.deepNone()
	}
	if r.o.Trusted {
		r.mark = ""
		r.buf = rest[at:]
		r.call(name, "")
		r.state = streamed(new(scanner), deepAfter)
		return true
	}
	n := value(rest[at:])
	if n == 0 && !final {
		return false
	}
	if n > 0 {
		if args, ok := arguments(rest[at : at+n]); ok {
			r.mark, r.buf = "", rest[at+n:]
			r.whole(call{name, "", args})
			r.state = deepAfter
			return !r.done
		}
	}
	return r.deepNone()
}

func (r *Reader) deepNone() bool {
	r.part(Part{Kind: Content, Text: r.mark})
	r.mark = ""
	r.emit(Content, len(deepCall))
	r.state = deepText
	return true
}

// deepAfter drops the fence's end and <｜tool▁call▁end｜>.
func deepAfter(r *Reader, final bool) bool {
	if !r.skip(final, "```") {
		return false
	}
	r.state = func(r *Reader, final bool) bool {
		if !r.skip(final, deepCallEnd) {
			return false
		}
		r.state = deepText
		return true
	}
	return true
}
