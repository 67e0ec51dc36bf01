package grammar

import "slices"

// The shortest ways through an automaton that counts characters: for a string that
// has thousands of characters yet to come, a search place by place would visit each
// state with each count. What is shortest with n characters to come follows from what
// is with n-1, so it is a table, made once for an automaton as far as it is asked for.

// mostCells bounds a table: 256 KiB.
const mostCells = 1 << 17

// countdown is such a table.
type countdown struct {
	d     *dfa
	bytes []byte
	order []int32   // states, after those that they lead to within a character
	rows  [][]int16 // [characters to come][state]: the fewest bytes, or beyond
}

// beyond is more bytes than a table tells of.
const beyond = 1 << 14

func newCountdown(d *dfa) *countdown {
	t := &countdown{d: d, bytes: d.bytes()}
	done := make([]bool, len(d.accept))
	var visit func(q int32)
	visit = func(q int32) {
		done[q] = true
		for _, b := range t.bytes {
			if to := d.to(q, b); to != dead && !d.whole[to] && !done[to] {
				visit(to)
			}
		}
		t.order = append(t.order, q)
	}
	for q := range d.accept {
		if !done[q] {
			visit(int32(q))
		}
	}
	return t
}

// reach makes the rows up to n characters; false: there is no room for them.
func (t *countdown) reach(n int) bool {
	if (n+1)*len(t.d.accept) > mostCells {
		return false
	}
	for len(t.rows) <= n {
		row := slices.Repeat([]int16{beyond}, len(t.d.accept))
		t.rows = append(t.rows, row)
		for changed := true; changed; {
			changed = false
			for _, q := range t.order {
				if v := t.best(len(t.rows)-1, q); v < row[q] {
					row[q], changed = v, true
				}
			}
			// With characters to come the order settles it in one sweep.
			changed = changed && len(t.rows) == 1
		}
	}
	return true
}

// best is the fewest bytes from state q with n characters to come.
func (t *countdown) best(n int, q int32) int16 {
	if n == 0 && t.d.accept[q] != noTag {
		return 0
	}
	least := int16(beyond)
	for _, b := range t.bytes {
		least = min(least, t.by(n, q, b))
	}
	return least
}

// by is the same of ways that begin with a byte.
func (t *countdown) by(n int, q int32, b byte) int16 {
	to := t.d.to(q, b)
	if to == dead {
		return beyond
	}
	return min(t.rows[t.after(n, to)][to]+1, beyond)
}

// after is how many characters are to come once state to is reached.
func (t *countdown) after(n int, to int32) int {
	if t.d.whole[to] {
		return max(0, n-1)
	}
	return n
}

// text is a shortest text from state q with n characters to come, nil if there is none.
func (t *countdown) text(n int, q int32) []byte {
	left := t.rows[n][q]
	if left >= beyond {
		return nil
	}
	text := make([]byte, 0, left)
	for ; left > 0; left-- {
		i := slices.IndexFunc(t.bytes, func(b byte) bool { return t.by(n, q, b) == left })
		text = append(text, t.bytes[i])
		q = t.d.to(q, t.bytes[i])
		n = t.after(n, q)
	}
	return text
}

// remote tells of a place of a counting automaton that no end of it is near enough to
// be looked for: each character takes a byte at least.
func (t *term) remote(c int32) bool { return t.counted && t.min-c > mostShortest }

// counts is the shortest way from (q, c) by the table; ok is false where only a search
// tells.
func (l *leasts) counts(t *term, q, c int32) (w []way, ok bool) {
	if !t.counted || t.filtered || t.tagged || t.min-c < 8 {
		return nil, false
	}
	table := l.tables[t.d]
	if table == nil {
		table = newCountdown(t.d)
		l.tables[t.d] = table
	}
	n, was := int(t.min-c), len(table.rows)
	if !table.reach(n) {
		return nil, true
	}
	l.held += 2 * (len(table.rows) - was) * len(t.d.accept)
	text := table.text(n, q)
	for _, b := range text { // the table knows nothing of a greatest length
		if q, c = t.step(q, c, b, nil); q == dead {
			return nil, false
		}
	}
	if tag := t.accepts(q, c, nil); len(text) > 0 && tag != noTag {
		return []way{{tag, text}}, true
	}
	return nil, false
}
