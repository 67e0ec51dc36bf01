package token

import (
	"strings"
	"unicode/utf8"
)

// model encodes one word, appending its tokens to out.
type model interface {
	encode(w *work, word string, out []int32) []int32
}

// normalizer rewrites a stretch of text between added tokens.
type normalizer func(s string) string

// step cuts a piece of text into smaller ones, in order; it may rewrite them.
// first says that the piece begins the text: some tokenisers put a space only
// there.
type step func(s string, first bool, emit func(s string, first bool))

// encoder is the state of one Encode. Those at rest wait in the tokeniser's
// pool for the sake of their scratch memory.
type encoder struct {
	t            *Tokenizer
	work         work
	out          []int32
	parseSpecial bool
	emit         []func(s string, first bool) // emit[i] passes a piece to step i; the last encodes it
	rest         func(s string, first bool)   // what comes after looking a word up
}

func (t *Tokenizer) encoder() *encoder {
	if e, ok := t.encoders.Get().(*encoder); ok {
		return e
	}
	n := len(t.steps)
	e := &encoder{t: t, emit: make([]func(string, bool), n+1)}
	e.emit[n] = func(word string, _ bool) { e.out = t.model.encode(&e.work, word, e.out) }
	for i := n; i >= 0; i-- {
		if i < n {
			s, next := t.steps[i], e.emit[i+1]
			e.emit[i] = func(piece string, first bool) { s(piece, first, next) }
		}
		e.emit[i] = notEmpty(e.emit[i])
		if i == t.words {
			e.rest = e.emit[i]
			e.emit[i] = e.word
		}
	}
	return e
}

func notEmpty(f func(string, bool)) func(string, bool) {
	return func(s string, first bool) {
		if s != "" {
			f(s, first)
		}
	}
}

// run appends the tokens of text to e.out.
func (e *encoder) run(text string, o EncodeOptions) {
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	e.parseSpecial = o.ParseSpecial
	e.t.raw.split(text, true, e.parseSpecial, e.normalize, e.token)
}

// keepScratch is the most scratch memory, in elements of each kind, that an
// encoder takes back into the pool.
const keepScratch = 1 << 16

// release returns an encoder to the pool, without memory that an unusual text
// made large.
func (t *Tokenizer) release(e *encoder) {
	if cap(e.work.symbols) > keepScratch || cap(e.work.cells) > keepScratch {
		e.work = work{}
	}
	if cap(e.out) > 4*keepScratch {
		e.out = nil
	}
	t.encoders.Put(e)
}

func (e *encoder) token(id int32) { e.out = append(e.out, id) }

// normalize takes a stretch of text without tokens that are found in raw text.
func (e *encoder) normalize(s string, first bool) {
	for _, n := range e.t.normalizers {
		s = n(s)
	}
	e.t.normalized.split(s, first, e.parseSpecial, e.emit[0], e.token)
}

// word encodes what the steps made a word, by the rest of the pipeline or from
// memory. What the rest makes of it does not depend on where the word stands.
func (e *encoder) word(s string, first bool) {
	if len(s) > cacheWord {
		e.rest(s, first)
		return
	}
	place, hit := e.t.cache.get(s)
	if hit != nil {
		e.out = append(e.out, hit.ids...)
		return
	}
	from := len(e.out)
	e.rest(s, first)
	e.t.cache.put(place, s, e.out[from:])
}

// addedTokens finds tokens that are cut out of a text before anything else is
// done with it. A nil one finds nothing.
type addedTokens struct {
	trie    *trie
	tokens  map[int32]addedToken
	classes *classes
}

// addedToken is one such token and what it takes along.
type addedToken struct {
	text           string
	special        bool // found only where special tokens are parsed
	lstrip, rstrip bool // takes white space on that side
	singleWord     bool // found only between non-word characters
}

// newAddedTokens returns the finder of those among tokens that match raw (or
// normalised) text, nil if there are none.
func newAddedTokens(tokens map[int32]addedToken) *addedTokens {
	a := &addedTokens{trie: newTrie(len(tokens) * 8), tokens: map[int32]addedToken{}, classes: classTable()}
	for id, token := range tokens {
		if token.text != "" && utf8.ValidString(token.text) {
			a.trie.add(token.text, id)
			a.tokens[id] = token
		}
	}
	if len(a.tokens) == 0 {
		return nil
	}
	return a
}

// split calls text and token for the parts of s in order. Of tokens that begin
// at the same place the longest wins, of others the first.
func (a *addedTokens) split(s string, first, parseSpecial bool, text func(string, bool), token func(int32)) {
	from := 0
	if a != nil {
		for i := 0; i < len(s); {
			if a.trie.first[s[i]] == 0 {
				i++
				continue
			}
			id, end := a.longest(s, i, parseSpecial)
			if id == noToken {
				i++
				continue
			}
			start, stop, ok := a.extent(s, from, i, end, a.tokens[id])
			if i = end; !ok {
				continue
			}
			if start > from {
				text(s[from:start], first && from == 0)
			}
			token(id)
			from, i = stop, stop
		}
	}
	if from < len(s) {
		text(s[from:], first && from == 0)
	}
}

// longest returns the longest token at s[i] and where it ends.
func (a *addedTokens) longest(s string, i int, parseSpecial bool) (id int32, end int) {
	id = noToken
	node, ok := uint32(0), true
	for j := i; j < len(s); j++ {
		if node, ok = a.trie.child(node, s[j]); !ok {
			break
		}
		if v := a.trie.value[node]; v != noToken && (parseSpecial || !a.tokens[v].special) {
			id, end = v, j+1
		}
	}
	return id, end
}

// extent applies a token's flags to a match at s[start:end], with text before
// from already taken.
func (a *addedTokens) extent(s string, from, start, end int, t addedToken) (int, int, bool) {
	if t.singleWord {
		before, _ := utf8.DecodeLastRuneInString(s[:start])
		after, _ := utf8.DecodeRuneInString(s[end:])
		if start > 0 && a.classes.of(before)&word != 0 || end < len(s) && a.classes.of(after)&word != 0 {
			return 0, 0, false
		}
	}
	if t.lstrip {
		for start > from {
			r, n := utf8.DecodeLastRuneInString(s[from:start])
			if a.classes.of(r)&space == 0 {
				break
			}
			start -= n
		}
	}
	if t.rstrip {
		end = a.classes.run(s, end, space)
	}
	return start, end, true
}

// meta is SentencePiece's stand-in for a space.
const meta = "▁"

// escapeSpaces replaces spaces by meta and puts prefix before the text.
func escapeSpaces(prefix, s string) string {
	n := strings.Count(s, " ")
	if n == 0 && prefix == "" {
		return s
	}
	var b strings.Builder
	b.Grow(len(prefix) + len(s) + n*(len(meta)-1))
	b.WriteString(prefix)
	from := 0
	for i := range len(s) {
		if s[i] == ' ' {
			b.WriteString(s[from:i])
			b.WriteString(meta)
			from = i + 1
		}
	}
	b.WriteString(s[from:])
	return b.String()
}
