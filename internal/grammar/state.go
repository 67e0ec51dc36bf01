package grammar

import (
	"slices"
	"sync"
)

// Grammar is compiled for a vocabulary. It is safe for concurrent use: what it
// learns as it is used is behind a lock.
type Grammar struct {
	vocab *Vocab
	root  *node
	size  int // bytes that it takes, roughly, at the time when it was compiled

	mu    sync.Mutex
	conts conts
	masks masks
	least leasts
	w     walker
}

// mostItems bounds the places that a state may be in at once. Only grammars that
// are ambiguous without end come near it.
const mostItems = 500

// State is what a text so far allows to follow. States are immutable: a state
// may be kept, and gone on from, in several ways.
type State struct {
	g     *Grammar
	items []item
	done  bool
	style style
}

// Start is the state before any text.
func (g *Grammar) Start() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.conts.open(g.conts.of(g.root, 0, 0, nil))
	return State{g: g, items: o.items, done: o.done}
}

// Accepting tells whether the text may end here.
func (s State) Accepting() bool { return s.done }

// Ended tells whether the text must end here: nothing may follow.
func (s State) Ended() bool { return len(s.items) == 0 }

// Accept goes on by a token, unless the grammar has no such text. Tokens that end
// an output are accepted where the text may end, and change nothing.
func (s State) Accept(id int32) (State, bool) {
	v := s.g.vocab
	if slices.Contains(v.eog, id) {
		return s, s.done
	}
	if uint(id) >= uint(len(v.text)) || v.text[id] == nil {
		return s, false
	}
	return s.AcceptBytes(v.text[id])
}

// AcceptBytes goes on by bytes, unless the grammar has no such text.
func (s State) AcceptBytes(text []byte) (State, bool) {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	var bufs [2][]item
	items, done, style := s.items, s.done, s.style
	for i, c := range text {
		style.see(c)
		bufs[i&1], done = g.advance(bufs[i&1][:0], items, c)
		items = bufs[i&1]
		if len(items) == 0 && !done {
			return s, false
		}
	}
	return State{g: g, items: items, done: done, style: style}, true
}

// advance appends to dst where items are after a byte, and tells whether the
// text may end there. dst must not be a part of items.
func (g *Grammar) advance(dst, items []item, b byte) ([]item, bool) {
	var buf [8]*cont
	ends := buf[:0]
	for i := range items {
		it := &items[i]
		f := it.k.barring()
		q, c := it.t.step(it.q, it.c, b, f)
		if q == dead {
			continue
		}
		to := item{it.t, q, c, it.k}
		if !it.t.d.leaf[q] {
			dst = appendItem(dst, to)
		}
		if tag := it.t.accepts(q, c, f); tag != noTag {
			ends = append(ends, g.conts.after(to, tag))
		}
	}
	if len(ends) == 0 {
		return dst, false
	}
	o := g.conts.open(g.conts.one(ends))
	for _, it := range o.items {
		dst = appendItem(dst, it)
	}
	return dst, o.done
}

// barring is the filter of an item that k follows, nil for most.
func (k *cont) barring() *filter {
	if k == nil {
		return nil
	}
	if k.filter == nil {
		return filterOf(k)
	}
	return k.filter
}

// appendItem adds an item that is not there yet.
func appendItem(list []item, it item) []item {
	if len(list) < mostItems && !slices.Contains(list, it) {
		list = append(list, it)
	}
	return list
}

// Forced returns the bytes that must follow whatever is chosen, at most limit.
// Where nothing but white space is to choose, it is taken to be as it was at the
// last such place: so this is a guess, though a good one.
func (s State) Forced(limit int) []byte {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []byte
	items, done, style := s.items, s.done, s.style
	for len(out) < limit && !done {
		b, ok := g.next(items, style)
		if !ok {
			break
		}
		if items, done = g.advance(nil, items, b); len(items) == 0 && !done {
			break
		}
		style.see(b)
		out = append(out, b)
	}
	return out
}

// style is how a text writes what a grammar of JSON leaves open.
type style struct {
	last         byte
	comma, colon byte // what stood after the last one; 0: there was none
}

func (s *style) see(b byte) {
	switch s.last {
	case ',':
		s.comma = b
	case ':':
		s.colon = b
	}
	s.last = b
}

// blank tells which of a blank and the one byte that is no white space comes
// next, if that can be told.
func (s *style) blank(other byte) (byte, bool) {
	was := s.comma
	if s.last == ':' {
		was = s.colon
	} else if s.last != ',' {
		return 0, false
	}
	if was == '\n' || was == '\t' || was == 0 {
		return 0, false // the indentation is not known, or nothing is
	}
	return choose(was == ' ', ' ', other), true
}

// next returns the byte that must come next, or, where white space may, probably
// does.
func (g *Grammar) next(items []item, style style) (byte, bool) {
	var found [2]byte // white space or not: one that may come
	var have, many [2]bool
	for i := range items {
		it := &items[i]
		f := it.k.barring()
		for c := range 256 {
			if q, _ := it.t.step(it.q, it.c, byte(c), f); q == dead {
				continue
			}
			kind := 0
			if c == ' ' || c == '\n' || c == '\t' {
				kind = 1
			}
			many[kind] = many[kind] || have[kind] && found[kind] != byte(c)
			found[kind], have[kind] = byte(c), true
		}
	}
	switch {
	case have[0] && have[1]:
		b, ok := style.blank(found[0])
		return b, ok && (b == ' ' || !many[0])
	case have[0]:
		return found[0], !many[0] && found[0] != specialByte
	}
	return found[1], have[1] && !many[1]
}
