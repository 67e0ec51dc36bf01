package jinja

import "unicode/utf8"

// iterator steps through a value. next returns false at the end.
type iterator interface {
	next(st *state) (Value, bool, error)
}

// indexed iterates what has elements by number.
type indexed struct {
	i, n int
	at   func(i int) Value
}

func (it *indexed) next(*state) (Value, bool, error) {
	if it.i >= it.n {
		return nil, false, nil
	}
	it.i++
	return it.at(it.i - 1), true, nil
}

// items iterates a slice.
type items struct {
	rest []Value
}

func (it *items) next(*state) (Value, bool, error) {
	if len(it.rest) == 0 {
		return nil, false, nil
	}
	v := it.rest[0]
	it.rest = it.rest[1:]
	return v, true, nil
}

// letters iterates the code points of a string.
type letters struct{ rest string }

func (it *letters) next(*state) (Value, bool, error) {
	if it.rest == "" {
		return nil, false, nil
	}
	_, n := utf8.DecodeRuneInString(it.rest)
	v := it.rest[:n]
	it.rest = it.rest[n:]
	return v, true, nil
}

// lazyIter steps through a generator. Generators that feed on generators
// nest, so each step counts as a level.
type lazyIter struct{ *lazy }

func (it lazyIter) next(st *state) (Value, bool, error) {
	if err := st.enter(); err != nil {
		return nil, false, err
	}
	defer st.leave()
	if err := st.tick(1); err != nil {
		return nil, false, err
	}
	return it.lazy.next(st)
}

// iterate is Python's iter(v).
func (st *state) iterate(v Value) (iterator, error) {
	if s, ok := asString(v); ok {
		return &letters{s}, nil
	}
	switch v := v.(type) {
	case *List:
		return &items{v.items}, nil
	case *Tuple:
		return &items{v.items}, nil
	case *Dict:
		return &items{v.keys}, nil
	case *dictView:
		return &indexed{n: len(v.dict.keys), at: v.at}, nil
	case *Range:
		return &indexed{n: v.len(), at: v.at}, nil
	case *lazy:
		return lazyIter{v}, nil
	case *Undefined:
		return &items{}, nil
	case *loopContext:
		return loopItems{v}, nil
	}
	return nil, typeError("'%s' object is not iterable", typeName(v))
}

// loopItems is what iterating over the loop variable gives: the pairs Jinja's
// own loop takes from it.
type loopItems struct{ loop *loopContext }

func (it loopItems) next(st *state) (Value, bool, error) {
	if err := st.tick(1); err != nil {
		return nil, false, err
	}
	v, ok, err := it.loop.next(st)
	if !ok || err != nil {
		return nil, false, err
	}
	return &Tuple{items: []Value{v, it.loop}}, true, nil
}

// list is Python's list(v), without the copy where v has a slice of its own:
// the result must not be changed.
func (st *state) list(v Value) ([]Value, error) {
	switch v := v.(type) {
	case *List:
		return v.items, nil
	case *Tuple:
		return v.items, nil
	case *Dict:
		return v.keys, nil
	}
	it, err := st.iterate(v)
	if err != nil {
		return nil, err
	}
	var out []Value
	for {
		item, ok, err := it.next(st)
		if err != nil {
			return nil, err
		}
		if !ok {
			return out, nil
		}
		if err := st.alloc(2 * bytesPerValue); err != nil {
			return nil, err
		}
		out = append(out, item)
	}
}

// newList returns a copy of vs as a list value.
func (st *state) newList(vs []Value) (*List, error) {
	if err := st.alloc(product(len(vs), bytesPerValue)); err != nil {
		return nil, err
	}
	return &List{append([]Value(nil), vs...)}, nil
}

// unpack takes exactly n values from v.
func (st *state) unpack(v Value, n int) ([]Value, error) {
	it, err := st.iterate(v)
	if err != nil {
		if isFault(err, "TypeError") {
			return nil, typeError("cannot unpack non-iterable %s object", typeName(v))
		}
		return nil, err
	}
	out := make([]Value, 0, n)
	for {
		item, ok, err := it.next(st)
		switch {
		case err != nil:
			return nil, err
		case !ok && len(out) == n:
			return out, nil
		case !ok:
			return nil, valueError("not enough values to unpack (expected %d, got %d)", n, len(out))
		case len(out) == n:
			return nil, valueError("too many values to unpack (expected %d)", n)
		}
		out = append(out, item)
	}
}
