package answer

import (
	"strings"
)

// Harmony, gpt-oss's way: an answer is messages, each with a header that names its
// channel (analysis, commentary, final) and, of a call, its recipient. The prompt
// ends with <|start|>assistant, so the first header's beginning is not seen.
//
//	<|channel|>analysis<|message|>…<|end|><|start|>assistant
//	<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>
//	<|start|>assistant<|channel|>final<|message|>…<|return|>
const (
	harmonyStart     = "<|start|>"
	harmonyChannel   = "<|channel|>"
	harmonyMessage   = "<|message|>"
	harmonyEnd       = "<|end|>"
	harmonyConstrain = "<|constrain|>"
	harmonyCall      = "<|call|>"
	harmonyReturn    = "<|return|>"

	// maxHeader is more than any header has.
	maxHeader = 512
)

// harmonyHeader reads a header, up to <|message|>.
func harmonyHeader(r *Reader, final bool) bool {
	header, rest, ok := strings.Cut(r.buf, harmonyMessage)
	if !ok || len(header) > maxHeader || !headerLike(r.buf) {
		if !ok && !final && len(r.buf) < maxHeader+len(harmonyMessage) && headerLike(r.buf) {
			return false
		}
		if strings.TrimSpace(r.buf) == "" {
			if final {
				r.buf = ""
			}
			return false
		}
		// Not a header: the model just talks. What looks like one's beginning is text.
		if final || headerLike(r.buf) {
			r.emit(Content, len(r.buf))
		}
		r.state = harmonyContent
		return r.buf != ""
	}
	channel, to := readHeader(header)
	name, isCall := strings.CutPrefix(to, "functions.")
	switch {
	case isCall && r.o.Tools != nil && r.known(name):
		r.recipient = name
		if r.o.Trusted {
			r.buf = rest
			r.call(name, "")
			r.state = streamed(new(scanner), harmonyAfter)
			return true
		}
		r.state = harmonyBody
	case to != "": // of a tool that is not offered: what is said to it is text
		r.state = harmonyContent
		if channel == "analysis" { // built-in tools are called while thinking
			r.state = harmonyReasoning
		}
		r.buf = rest
	case channel == "analysis":
		r.buf, r.state = rest, harmonyReasoning
	default:
		r.buf, r.state = rest, harmonyContent
	}
	r.fresh = true
	return true
}

// headerLike tells whether text may still become a header.
func headerLike(text string) bool {
	for _, begin := range []string{harmonyStart, harmonyChannel, " to=", "assistant"} {
		if strings.HasPrefix(text, begin) || strings.HasPrefix(begin, text) {
			return true
		}
	}
	return false
}

// readHeader takes a header apart.
func readHeader(header string) (channel, to string) {
	header = strings.ReplaceAll(header, harmonyConstrain, " ")
	header = strings.ReplaceAll(header, harmonyChannel, " channel=")
	header = strings.ReplaceAll(header, harmonyStart, " ")
	for _, word := range strings.Fields(header) {
		if c, ok := strings.CutPrefix(word, "channel="); ok && channel == "" {
			channel = c
		}
		if t, ok := strings.CutPrefix(word, "to="); ok && to == "" {
			to = t
		}
	}
	return channel, to
}

// harmonyMarks end a message.
var harmonyMarks = []string{harmonyEnd, harmonyCall, harmonyReturn, harmonyStart, harmonyChannel}

func harmonyContent(r *Reader, final bool) bool { return harmonyPass(r, Content, final) }

func harmonyReasoning(r *Reader, final bool) bool { return harmonyPass(r, Reasoning, final) }

func harmonyPass(r *Reader, k Kind, final bool) bool {
	found, ok := r.upTo(k, final, harmonyMarks...)
	if !ok {
		return false
	}
	if found != harmonyStart && found != harmonyChannel {
		r.buf = r.buf[len(found):]
	}
	r.state = harmonyHeader
	return true
}

// harmonyBody reads a call that is not trusted; the buffer has its header still,
// should it turn out to be none.
func harmonyBody(r *Reader, final bool) bool {
	_, rest, _ := strings.Cut(r.buf, harmonyMessage)
	text := strings.TrimLeft(rest, " \n\t\r")
	n := value(text)
	if n == 0 && !final {
		return false
	}
	if n > 0 {
		if args, ok := arguments(text[:n]); ok {
			r.buf = text[n:]
			r.whole(call{r.recipient, "", args})
			r.state = harmonyAfter
			return !r.done
		}
	}
	// Written down as a string, as some templates have it.
	if s, size := leadingString(text); size > 0 {
		if args, ok := arguments(s); ok {
			r.buf = text[size:]
			r.whole(call{r.recipient, "", args})
			r.state = harmonyAfter
			return !r.done
		}
	} else if size == 0 && !final {
		return false
	}
	r.buf = rest // what was said to the tool is text
	r.state = harmonyContent
	return true
}

// harmonyAfter drops what ends a call.
func harmonyAfter(r *Reader, final bool) bool {
	if !r.skip(final, harmonyCall, harmonyEnd, harmonyReturn) {
		return false
	}
	r.state = harmonyHeader
	return r.buf != "" || final
}
