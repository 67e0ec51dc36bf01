package grammar

// nodeKind says what a node of the compiled grammar is.
type nodeKind uint8

const (
	nodeTerm   nodeKind = iota // an automaton over bytes
	nodeSeq                    // subs, one after another
	nodeAlt                    // one of subs
	nodeRepeat                 // subs[0], min to max times
	nodeRule                   // what rule stands for
	nodeObject
	nodeArray
	nodeSwitch // an automaton whose tag says which of subs follows
)

// node is a part of a compiled grammar. It is immutable once compiled.
type node struct {
	kind     nodeKind
	term     *term
	subs     []*node
	min, max int32 // max unbounded: none
	rule     *rule
	object   *object
	array    *array
}

// rule is a named part, the only way to recursion.
type rule struct {
	name string
	body *node
	// rank orders rules so that one stands before all that its text can begin
	// with: the closure expands a rule when all its callers are known.
	rank int
}

// term is an automaton with bounds on the characters it takes.
type term struct {
	d        *dfa
	start    int32
	counted  bool
	min, max int32    // characters; max endless: no bound
	lengths  *lengths // exact liveness where near and far are not enough
	filtered bool     // tags may be barred by the continuation
	tagged   bool     // the tag says what follows
}

// lengths tells for each state which numbers of characters may still come.
type lengths struct {
	most int32
	bits [][]uint64 // [state]
}

// any tells whether a number in [lo, hi] may still come from state q.
func (l *lengths) any(q, lo, hi int32) bool {
	for n := max(lo, 0); n <= min(hi, l.most); n++ {
		if l.bits[q][n>>6]>>(n&63)&1 == 1 {
			return true
		}
	}
	return false
}

// alive tells whether a text can end in time from state q with c characters.
func (t *term) alive(q, c int32) bool {
	d := t.d
	if t.lengths != nil {
		return t.lengths.any(q, t.min-c, t.max-c)
	}
	return c+d.near[q] <= t.max && (d.far[q] == endless || c+d.far[q] >= t.min)
}

// step goes on by a byte from state q with c characters.
func (t *term) step(q, c int32, b byte, f *filter) (int32, int32) {
	q = t.d.to(q, b)
	if q == dead {
		return dead, c
	}
	if t.counted {
		if t.d.whole[q] {
			c++
		}
		if !t.alive(q, c) {
			return dead, c
		}
	}
	if t.filtered && !f.alive(t.d, q) {
		return dead, c
	}
	return q, c
}

// accepts gives the tag of what is complete at state q, noTag if nothing is.
func (t *term) accepts(q, c int32, f *filter) int32 {
	tag := t.d.accept[q]
	if tag == noTag || t.counted && (c < t.min || c > t.max) || t.filtered && !f.allows(t.d, tag) {
		return noTag
	}
	return tag
}

// first is the count of characters before the text: the opening quote completes
// none but leads to where characters are counted.
const first = -1

func (t *term) initial() int32 {
	if t.counted {
		return first
	}
	return 0
}

// closeTag ends an object or array; the other tags are properties from 1 on, then
// the kinds of additional properties.
const closeTag = 0

// filter bars tags.
type filter struct {
	lo, hi int32 // tags of properties allowed; lo > hi: none
	extra  bool
	close  bool
}

func (f *filter) allows(d *dfa, tag int32) bool {
	switch {
	case tag == closeTag:
		return f.close
	case tag >= d.extraFrom:
		return f.extra
	}
	return f.lo <= tag && tag <= f.hi
}

func (f *filter) alive(d *dfa, q int32) bool {
	if f.extra && d.extra[q] || f.close && d.close[q] {
		return true
	}
	r := d.reach[q]
	lo, hi := 0, len(r) // the first tag that is at least f.lo
	for lo < hi {
		if mid := (lo + hi) / 2; r[mid] < f.lo {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(r) && r[lo] <= f.hi
}

// object is a JSON object after its opening brace: its properties in order, then
// additional ones.
type object struct {
	keys        *term // reads a separator and a key, or the closing brace
	first, next int32 // start states: before anything, after a value
	values      []*node
	required    []bool
	nextReq     []int32 // [i]: the first required at or after i; len(values) if none
	left        []int32 // [i]: how many are required from i on
	extra       []*node // values of the kinds of additional property
	min, max    int32   // properties; max endless
}

// filter tells what may come after n properties, the last of them before i. i is
// one more than there are once an additional one has been: those may repeat a
// key, so for the minimum only the first of them counts.
func (o *object) filter(i, n int32) *filter {
	size := int32(len(o.values))
	f := &filter{lo: i + 1, hi: min(o.nextReq[i]+1, size)}
	room := o.max - n - o.left[i] // for properties that are not required
	if room <= 0 {
		f.lo = o.nextReq[i] + 1
	}
	extra := len(o.extra) > 0 && room > 0
	if o.left[i] == 0 {
		f.extra = extra && (n+1 >= o.min || i > size)
		f.close = n >= o.min
	}
	if o.min > n { // skipping too many leaves too few
		last := size - (o.min - n) + 1
		if extra {
			last++
		}
		f.hi = min(f.hi, last)
	}
	if f.hi > size || f.lo > size {
		f.hi = f.lo - 1
	}
	return f
}

// counted is how many properties there are after one more with a tag.
func (o *object) counted(i, n, tag int32) int32 {
	size := int32(len(o.values))
	if o.max == endless {
		if tag > size && i > size {
			return n
		}
		return min(n+1, max(o.min, 1))
	}
	return n + 1
}

// array is a JSON array after its opening bracket.
type array struct {
	seps        *term // reads a separator, or the closing bracket
	first, next int32 // start states
	prefix      []*node
	rest        *node // nil: none after the prefix
	min, max    int32 // max endless
	// contains, if any: at least one item is of it; both are those items that
	// are of the prefix or the rest as well.
	contains []*node // as prefix, then the rest's
}

// item is the node of item i, nil if there may be none.
func (a *array) item(i int32) *node {
	switch {
	case i >= a.max:
		return nil
	case int(i) < len(a.prefix):
		return a.prefix[i]
	}
	return a.rest
}

// containing is item i as one that the array must contain.
func (a *array) containing(i int32) *node {
	if a.contains == nil || i >= a.max {
		return nil
	}
	return a.contains[min(int(i), len(a.contains)-1)]
}
