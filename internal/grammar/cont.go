package grammar

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// cont is what is still to come: a node at some point of it, and then next. Conts
// are shared: equal ones are one, so that what is computed of one is kept with
// it. nil is the end of everything.
type cont struct {
	id   uint64
	n    *node
	a, b int32 // where in the node: see follow
	next *cont
	any  []*cont // if n is nil: one of these

	opening *opening        // what it begins with
	filter  *filter         // of an object or array
	tags    map[int32]*cont // what follows a tag
	firsts  *[4]uint64      // bytes that it can begin with
	least   int32           // the fewest bytes that it takes, and one; 0: not known
}

// item is a place in an automaton, and what follows it.
type item struct {
	t    *term
	q, c int32
	k    *cont
}

// opening is where a cont begins.
type opening struct {
	items []item
	done  bool // the text may end here
}

type contKey struct {
	n    *node
	a, b int32
	next *cont
}

// conts makes and keeps conts. It forgets all of them when they are too many:
// those in use stay as they are, and new ones are then not shared with them.
type conts struct {
	made map[contKey]*cont
	sets map[string]*cont
	last uint64
}

const mostConts = 1 << 13

func (c *conts) reset() {
	c.made, c.sets = map[contKey]*cont{}, map[string]*cont{}
}

func (c *conts) of(n *node, a, b int32, next *cont) *cont {
	key := contKey{n, a, b, next}
	k := c.made[key]
	if k == nil {
		if len(c.made)+len(c.sets) > mostConts {
			c.reset()
		}
		c.last++
		k = &cont{id: c.last, n: n, a: a, b: b, next: next}
		c.made[key] = k
	}
	return k
}

// one joins conts of which any may follow.
func (c *conts) one(list []*cont) *cont {
	if len(list) == 1 {
		return list[0]
	}
	slices.SortFunc(list, func(a, b *cont) int { return cmp.Compare(contID(a), contID(b)) })
	list = slices.Compact(list)
	if len(list) == 1 {
		return list[0]
	}
	key := make([]byte, 0, 8*len(list))
	for _, k := range list {
		key = binary.LittleEndian.AppendUint64(key, contID(k))
	}
	k := c.sets[string(key)]
	if k == nil {
		c.last++
		k = &cont{id: c.last, any: slices.Clone(list)}
		c.sets[string(key)] = k
	}
	return k
}

func contID(k *cont) uint64 {
	if k == nil {
		return 0
	}
	return k.id
}

// open returns where k begins.
func (c *conts) open(k *cont) *opening {
	if k == nil {
		return &opening{done: true}
	}
	if k.opening == nil {
		o := opener{c: c, seen: map[*cont]bool{}, calls: map[*rule][]*cont{}, called: map[call]bool{}}
		o.follow(k)
		o.expand()
		k.opening = &opening{items: o.items, done: o.done}
	}
	return k.opening
}

// opener computes an opening.
type opener struct {
	c     *conts
	items []item
	done  bool
	seen  map[*cont]bool
	// calls are the rules that are to be expanded, each with what follows its
	// calls: all calls at one place become one, as in Earley's parser.
	calls  map[*rule][]*cont
	called map[call]bool
}

type call struct {
	r    *rule
	next *cont
}

// expand works the calls off, callers before what they call.
func (o *opener) expand() {
	for len(o.calls) > 0 {
		var r *rule
		for c := range o.calls {
			if r == nil || c.rank < r.rank {
				r = c
			}
		}
		next := o.c.one(o.calls[r])
		delete(o.calls, r)
		o.push(r.body, next)
	}
}

// push begins a node.
func (o *opener) push(n *node, next *cont) {
	switch n.kind {
	case nodeTerm:
		o.term(n.term, n.term.start, next)
	case nodeAlt:
		for _, s := range n.subs {
			o.push(s, next)
		}
	case nodeRule:
		if c := (call{n.rule, next}); !o.called[c] {
			o.called[c] = true
			o.calls[n.rule] = append(o.calls[n.rule], next)
		}
	case nodeSwitch:
		o.term(n.term, n.term.start, o.c.of(n, 0, 0, next))
	default:
		o.follow(o.c.of(n, 0, 0, next))
	}
}

// term adds the beginning of an automaton; k is what follows, or what tells it.
func (o *opener) term(t *term, start int32, k *cont) {
	it := item{t, start, t.initial(), k}
	if !t.d.leaf[start] && (!t.filtered || filterOf(k).alive(t.d, start)) && (!t.counted || t.alive(start, it.c)) {
		o.items = append(o.items, it)
	}
	if tag := t.accepts(start, it.c, filterOf(k)); tag != noTag {
		o.follow(o.c.after(it, tag))
	}
}

// follow goes on with a cont. Where it stands in its node:
//
//	seq      a: the next of subs
//	repeat   a: how many are done
//	object   a: properties before it are done or skipped; b: how many there are
//	array    a: items done; b: 1 if one of them is what it must contain
func (o *opener) follow(k *cont) {
	if k == nil {
		o.done = true
		return
	}
	if o.seen[k] {
		return
	}
	o.seen[k] = true
	if k.n == nil {
		for _, x := range k.any {
			o.follow(x)
		}
		return
	}
	switch k.n.kind {
	case nodeSeq:
		o.seq(k)
	case nodeRepeat:
		o.repeat(k)
	case nodeObject:
		obj := k.n.object
		o.term(obj.keys, choose(k.b == 0, obj.first, obj.next), k)
	case nodeArray:
		o.array(k)
	default:
		o.push(k.n, k.next)
	}
}

func choose[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}

func (o *opener) seq(k *cont) {
	subs := k.n.subs
	if int(k.a) == len(subs) {
		o.follow(k.next)
		return
	}
	next := k.next
	if int(k.a)+1 < len(subs) {
		next = o.c.of(k.n, k.a+1, 0, k.next)
	}
	o.push(subs[k.a], next)
}

func (o *opener) repeat(k *cont) {
	n := k.n
	if k.a >= n.min {
		o.follow(k.next)
	}
	if n.max == unbounded {
		o.push(n.subs[0], o.c.of(n, min(k.a+1, n.min), 0, k.next))
	} else if k.a < n.max {
		o.push(n.subs[0], o.c.of(n, k.a+1, 0, k.next))
	}
}

// array begins the next item of an array, its first without a separator.
func (o *opener) array(k *cont) {
	a := k.n.array
	o.term(a.seps, choose(k.a == 0, a.first, a.next), k)
	if k.a == 0 && filterOf(k).lo <= filterOf(k).hi {
		o.follow(o.c.item(k))
	}
}

// item is the cont of the next item of the array at k.
func (c *conts) item(k *cont) *cont {
	var list []*cont
	for _, x := range k.n.array.following(k.a, k.b) {
		list = append(list, c.of(x.n, 0, 0, c.of(k.n, x.a, x.b, k.next)))
	}
	return c.one(list)
}

// following are the nodes that the next item may be, after a of them, each with the
// place in the array after it.
func (a *array) following(i, contained int32) []spot {
	// Beyond every bound all numbers are alike.
	n := i + 1
	if a.max == endless {
		n = min(n, max(int32(len(a.prefix)), a.min, 1))
	}
	var list []spot
	if x := a.item(i); x != nil && (a.contains == nil || contained == 1 || a.canContain(i+1)) {
		list = append(list, spot{x, n, contained})
	}
	if x := a.containing(i); x != nil && contained == 0 {
		list = append(list, spot{x, n, 1})
	}
	return list
}

// canContain tells whether an item from i on may be what the array must contain.
func (a *array) canContain(i int32) bool {
	for ; i < a.max && int(i) < len(a.contains); i++ {
		if a.contains[i] != nil {
			return true
		}
	}
	return i < a.max && a.contains[len(a.contains)-1] != nil
}

// filterOf computes what may follow in an object or array.
func filterOf(k *cont) *filter {
	if k == nil || k.n == nil || k.n.kind != nodeObject && k.n.kind != nodeArray {
		return nil
	}
	if k.filter == nil {
		if k.n.kind == nodeObject {
			k.filter = k.n.object.filter(k.a, k.b)
		} else {
			k.filter = k.n.array.filter(k.a, k.b == 1)
		}
	}
	return k.filter
}

// filter tells what may come after n items.
func (a *array) filter(n int32, contained bool) *filter {
	f := &filter{lo: 1, hi: 0, close: n >= a.min && (a.contains == nil || contained)}
	more := a.item(n) != nil && (a.contains == nil || contained || a.canContain(n+1))
	if more || !contained && a.containing(n) != nil {
		f.hi = 1
	}
	return f
}

// after tells what follows when an item is complete with a tag.
func (c *conts) after(it item, tag int32) *cont {
	if !it.t.filtered && !it.t.tagged {
		return it.k
	}
	k := it.k
	next, ok := k.tags[tag]
	if !ok {
		next = c.tagged(k, tag)
		if k.tags == nil {
			k.tags = map[int32]*cont{}
		}
		k.tags[tag] = next
	}
	return next
}

func (c *conts) tagged(k *cont, tag int32) *cont {
	switch k.n.kind {
	case nodeObject:
		o := k.n.object
		n := o.counted(k.a, k.b, tag)
		switch size := int32(len(o.values)); {
		case tag == closeTag:
			return k.next
		case tag <= size:
			return c.of(o.values[tag-1], 0, 0, c.of(k.n, tag, n, k.next))
		default:
			return c.of(o.extra[tag-1-size], 0, 0, c.of(k.n, size+1, n, k.next))
		}
	case nodeArray:
		if tag == closeTag {
			return k.next
		}
		return c.item(k)
	}
	if sub := k.n.subs[tag]; sub != nil {
		return c.of(sub, 0, 0, k.next)
	}
	return k.next
}
