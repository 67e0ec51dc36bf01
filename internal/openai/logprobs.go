package openai

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"weir/internal/llm"
)

// tokenText gives a token as logprobs show it. A token may be part of a
// character; U+FFFD for it would make different tokens look the same, so its
// bytes are written out, after prefix ("" in chat, "bytes:" in completions, as
// OpenAI has them).
func tokenText(id int32, b []byte, prefix string, asID bool) string {
	switch {
	case asID:
		return "token_id:" + strconv.Itoa(int(id))
	case utf8.Valid(b):
		return string(b)
	}
	var s strings.Builder
	s.WriteString(prefix)
	for _, c := range b {
		s.WriteString(`\x`)
		s.WriteByte(hexDigits[c>>4])
		s.WriteByte(hexDigits[c&15])
	}
	return s.String()
}

// appendChatLogprobs appends the logprobs of a chat choice.
func appendChatLogprobs(dst []byte, tokens []llm.Token, asID bool) []byte {
	dst = append(dst, `{"content":[`...)
	for i, t := range tokens {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = appendChatLogprob(dst, t.ID, logprob(t), t.Bytes, asID)
		dst = append(dst, `,"top_logprobs":[`...)
		for j, a := range t.Top {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
			dst = append(appendChatLogprob(dst, a.ID, a.Logprob, a.Bytes, asID), '}')
		}
		dst = append(dst, `]}`...)
	}
	return append(dst, `],"refusal":null}`...)
}

func appendChatLogprob(dst []byte, id int32, lp float64, b []byte, asID bool) []byte {
	dst = appendString(appendKey(dst, "token"), tokenText(id, b, "", asID))
	dst = appendLogprob(appendKey(dst, "logprob"), lp)
	return appendInts(appendKey(dst, "bytes"), b)
}

// logprob gives a token's log probability. One that a generator left out, though
// asked for, shows as impossible.
func logprob(t llm.Token) float64 {
	if t.Logprob == nil {
		return -9999
	}
	return *t.Logprob
}

// unscored tells the first token of a prompt, which nothing predicted.
func unscored(t llm.Token) bool { return t.Logprob == nil && t.Top == nil }

// appendTextLogprobs appends the logprobs of a text completion: parallel lists.
// top is how many alternatives were asked for, which may be fewer than the
// tokens have. offsets advances over the tokens.
func appendTextLogprobs(dst []byte, tokens []llm.Token, top int, asID bool, o *offsets) []byte {
	dst = append(dst, `{"tokens":[`...)
	for i, t := range tokens {
		dst = appendString(comma(dst, i), tokenText(t.ID, t.Bytes, "bytes:", asID))
	}
	dst = append(dst, `],"token_logprobs":[`...)
	for i, t := range tokens {
		if dst = comma(dst, i); unscored(t) {
			dst = append(dst, "null"...)
			continue
		}
		dst = appendLogprob(dst, logprob(t))
	}
	dst = append(dst, `],"top_logprobs":[`...)
	for i, t := range tokens {
		dst = appendTopMap(comma(dst, i), t, top, asID)
	}
	dst = append(dst, `],"text_offset":[`...)
	for i, t := range tokens {
		dst = strconv.AppendInt(comma(dst, i), int64(o.next(t.Bytes)), 10)
	}
	return append(dst, `]}`...)
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return dst
}

// appendTopMap appends the alternatives of a token, most probable first, and the
// token itself if it is not one of them. Where two tokens have the same text,
// the more probable one stands.
func appendTopMap(dst []byte, t llm.Token, top int, asID bool) []byte {
	if unscored(t) {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	seen := make(map[string]bool, top+1)
	add := func(id int32, lp float64, b []byte) {
		s := tokenText(id, b, "bytes:", asID)
		if seen[s] {
			return
		}
		seen[s] = true
		if len(seen) > 1 {
			dst = append(dst, ',')
		}
		dst = appendLogprob(append(appendString(dst, s), ':'), lp)
	}
	for _, a := range t.Top[:min(top, len(t.Top))] {
		add(a.ID, a.Logprob, a.Bytes)
	}
	add(t.ID, logprob(t), t.Bytes)
	return append(dst, '}')
}

// appendPromptLogprobs appends vLLM's prompt_logprobs: for each token of the
// prompt an object of ids to {logprob, rank, decoded_token}, null for the first.
// The rank of a token that is not among the alternatives is not known: null.
func appendPromptLogprobs(dst []byte, tokens []llm.Token, top int) []byte {
	dst = append(dst, '[')
	for i, t := range tokens {
		if dst = comma(dst, i); unscored(t) {
			dst = append(dst, "null"...)
			continue
		}
		dst = append(dst, '{')
		own := false
		for rank, a := range t.Top[:min(top, len(t.Top))] {
			own = own || a.ID == t.ID
			dst = appendRanked(comma(dst, rank), a.ID, a.Logprob, a.Bytes, rank+1)
		}
		if !own {
			dst = appendRanked(comma(dst, min(top, len(t.Top))), t.ID, logprob(t), t.Bytes, rankOf(t))
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// rankOf finds a token among its alternatives; 0 if it is not there.
func rankOf(t llm.Token) int {
	for i, a := range t.Top {
		if a.ID == t.ID {
			return i + 1
		}
	}
	return 0
}

func appendRanked(dst []byte, id int32, lp float64, b []byte, rank int) []byte {
	dst = append(strconv.AppendInt(append(dst, '"'), int64(id), 10), `":{`...)
	dst = appendLogprob(appendKey(dst, "logprob"), lp)
	dst = appendKey(dst, "rank")
	if rank > 0 {
		dst = strconv.AppendInt(dst, int64(rank), 10)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendString(appendKey(dst, "decoded_token"), tokenText(id, b, "", false))
	return append(dst, '}')
}

// offsets tells where tokens begin in a text, in characters, given the tokens'
// bytes in order. The zero value is for a text that tokens alone make up. With
// an echoed prompt before it, the prompt's tokens are looked for in its text:
// those that do not show there (BOS, say) take no place.
type offsets struct {
	prompt int    // tokens of the prompt to come
	text   string // the rest of its text
	end    int    // where it ends, in characters

	chars int    // where the next token begins
	part  []byte // the start of a character whose rest is in the next token
}

// echoed is the offsets of a text that begins with prompt p.
func echoed(p *llm.PromptInfo) offsets {
	return offsets{prompt: len(p.Logprobs), text: p.Text, end: utf8.RuneCountInString(p.Text)}
}

// next returns where the token begins and advances past it.
func (o *offsets) next(b []byte) int {
	if o.prompt > 0 {
		return o.nextOfPrompt(string(b))
	}
	at := o.chars
	o.advance(b)
	return at
}

func (o *offsets) nextOfPrompt(s string) int {
	at := o.chars
	switch {
	case strings.HasPrefix(o.text, s):
	case len(s) > 1 && s[0] == ' ' && strings.HasPrefix(o.text, s[1:]):
		s = s[1:] // SentencePiece puts a space before a text
	default:
		s = ""
	}
	o.text = o.text[len(s):]
	o.advance([]byte(s))
	if o.prompt--; o.prompt == 0 { // whatever was not found, the output begins here
		o.chars, o.part = o.end, nil
	}
	return at
}

func (o *offsets) advance(b []byte) {
	for o.part = append(o.part, b...); utf8.FullRune(o.part); o.chars++ {
		_, n := utf8.DecodeRune(o.part)
		o.part = o.part[n:]
	}
}
