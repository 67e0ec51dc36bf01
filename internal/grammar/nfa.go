package grammar

import (
	"encoding/binary"
	"slices"
	"strings"
)

// nfa is Thompson's automaton of a tree, over characters.
type nfa struct {
	states []nfaState
	sets   []runes // distinct
	setIDs map[string]int32
	m      *meter
}

// nfaState goes on to one state by a character of a set, or to two by nothing.
type nfaState struct {
	kind nfaKind
	set  int32 // of a char
	a, b int32 // -1: none
}

type nfaKind uint8

const (
	nfaSplit nfaKind = iota
	nfaChar
	nfaBegin // passes only before the first character
	nfaEnd   // passes only after the last
	nfaMatch
)

func (n *nfa) add(s nfaState) (int32, error) {
	n.states = append(n.states, s)
	return int32(len(n.states) - 1), n.m.state(1)
}

func (n *nfa) setID(s runes) int32 {
	key := make([]byte, 0, 8*len(s))
	for _, x := range s {
		key = binary.LittleEndian.AppendUint32(key, uint32(x.lo))
		key = binary.LittleEndian.AppendUint32(key, uint32(x.hi))
	}
	id, ok := n.setIDs[string(key)]
	if !ok {
		id = int32(len(n.sets))
		n.setIDs[string(key)] = id
		n.sets = append(n.sets, s)
	}
	return id
}

// build makes the states that match t and then go on to next. It builds from
// the end, so that no edge has to be patched.
func (n *nfa) build(t *tree, next int32) (int32, error) {
	switch t.op {
	case opClass:
		return n.add(nfaState{kind: nfaChar, set: n.setID(t.set), a: next, b: -1})
	case opBegin:
		return n.add(nfaState{kind: nfaBegin, a: next, b: -1})
	case opEnd:
		return n.add(nfaState{kind: nfaEnd, a: next, b: -1})
	case opSeq:
		var err error
		for _, s := range slices.Backward(t.subs) {
			if next, err = n.build(s, next); err != nil {
				return 0, err
			}
		}
		return next, nil
	case opAlt:
		return n.buildAlt(t, next)
	case opRepeat:
		return n.buildRepeat(t, next)
	}
	panic("grammar: internal error: a tree that is not regular")
}

func (n *nfa) buildAlt(t *tree, next int32) (int32, error) {
	from := int32(-1)
	for _, s := range slices.Backward(t.subs) {
		a, err := n.build(s, next)
		if err != nil {
			return 0, err
		}
		if from, err = n.add(nfaState{a: a, b: from}); err != nil {
			return 0, err
		}
	}
	if from < 0 {
		return n.add(nfaState{a: -1, b: -1}) // nothing matches
	}
	return from, nil
}

func (n *nfa) buildRepeat(t *tree, next int32) (int32, error) {
	var err error
	if t.max == unbounded {
		loop, err := n.add(nfaState{b: next})
		if err != nil {
			return 0, err
		}
		body, err := n.build(t.subs[0], loop)
		if err != nil {
			return 0, err
		}
		n.states[loop].a = body
		next = loop
	} else {
		end := next
		for range t.max - t.min {
			if next, err = n.build(t.subs[0], next); err != nil {
				return 0, err
			}
			if next, err = n.add(nfaState{a: next, b: end}); err != nil {
				return 0, err
			}
		}
	}
	for range t.min {
		if next, err = n.build(t.subs[0], next); err != nil {
			return 0, err
		}
		if err := n.m.step(1); err != nil {
			return 0, err
		}
	}
	return next, nil
}

// searching tells how a tree is matched: all of a text, or anywhere in it.
type searching bool

const (
	whole    searching = false
	anywhere searching = true
)

// charsOf makes the automaton of the texts that t matches.
func charsOf(t *tree, how searching, m *meter) (*chars, error) {
	n := &nfa{setIDs: map[string]int32{}, m: m}
	match, err := n.add(nfaState{kind: nfaMatch, a: -1, b: -1})
	if err != nil {
		return nil, err
	}
	if how == anywhere {
		star := repeatOf(classOf(anyRune()), 0, unbounded)
		t = seqOf(star, t, star)
	}
	start, err := n.build(t, match)
	if err != nil {
		return nil, err
	}
	return n.determinize(start)
}

// closing computes which states can be reached without a character.
type closing struct {
	n    *nfa
	mark []uint32
	turn uint32
	out  []int32
}

func (c *closing) begin() {
	c.turn++
	c.out = c.out[:0]
}

// add follows edges from s; begin and end say whether those assertions hold.
func (c *closing) add(s int32, begin, end bool) {
	todo := []int32{s}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s < 0 || c.mark[s] == c.turn {
			continue
		}
		c.mark[s] = c.turn
		st := &c.n.states[s]
		switch {
		case st.kind == nfaSplit:
			todo = append(todo, st.b, st.a)
		case st.kind == nfaBegin && begin, st.kind == nfaEnd && end:
			todo = append(todo, st.a)
		case st.kind != nfaBegin:
			c.out = append(c.out, s)
		}
	}
}

// determinize is the subset construction.
func (n *nfa) determinize(start int32) (*chars, error) {
	d := &chars{alphabet: alphabetOf(n.sets)}
	members := n.members(d.alphabet)
	c := &closing{n: n, mark: make([]uint32, len(n.states))}
	ids := map[string]int32{}
	var sets [][]int32
	intern := func() (int32, error) {
		set := slices.Clone(c.out)
		slices.Sort(set)
		var key strings.Builder
		for _, s := range set {
			key.Write([]byte{byte(s), byte(s >> 8), byte(s >> 16)})
		}
		if id, ok := ids[key.String()]; ok {
			return id, nil
		}
		id := int32(len(sets))
		ids[key.String()] = id
		sets = append(sets, set)
		return id, n.m.state(1)
	}
	c.begin()
	c.add(start, true, false)
	if _, err := intern(); err != nil {
		return nil, err
	}
	for at := 0; at < len(sets); at++ {
		d.accept = append(d.accept, n.matches(c, sets[at], at == 0))
		for cls := range d.alphabet.count {
			if err := n.m.step(1 + len(sets[at])/8); err != nil {
				return nil, err
			}
			to, err := n.move(c, sets[at], members, cls, intern)
			if err != nil {
				return nil, err
			}
			d.trans = append(d.trans, to)
		}
	}
	return d.trimmed(), nil
}

// members tells for each class of the alphabet which sets have it.
func (n *nfa) members(a *alphabet) [][]bool {
	all := make([][]bool, a.count)
	for cls := range all {
		all[cls] = make([]bool, len(n.sets))
		for i, s := range n.sets {
			all[cls][i] = s.has(a.sample(cls))
		}
	}
	return all
}

func (n *nfa) move(c *closing, set []int32, members [][]bool, cls int, intern func() (int32, error)) (int32, error) {
	c.begin()
	for _, s := range set {
		if st := &n.states[s]; st.kind == nfaChar && members[cls][st.set] {
			c.add(st.a, false, false)
		}
	}
	if len(c.out) == 0 {
		return dead, nil
	}
	return intern()
}

// matches tells whether the text may end in a set of states; first: before any
// character.
func (n *nfa) matches(c *closing, set []int32, first bool) bool {
	c.begin()
	for _, s := range set {
		c.add(s, first, true)
	}
	return slices.ContainsFunc(c.out, func(s int32) bool { return n.states[s].kind == nfaMatch })
}
