package token

import (
	"math/bits"
	"math/rand/v2"
)

// table maps uint64 keys to uint64 values: open addressing with linear probing,
// at most half full, filled once and only read afterwards. The seed makes it
// useless to craft a vocabulary whose keys collide.
//
// A Go map did the same job at about three times the cost of a lookup, and a
// merge is little else than such lookups.
type table struct {
	slots []slot
	shift uint
	seed  uint64
	n     int
}

type slot struct{ key, val uint64 } // key is stored plus one; 0 is an empty slot

func newTable(capacity int) *table {
	size := bits.Len(uint(max(capacity, 8)*2 - 1))
	return &table{slots: make([]slot, 1<<size), shift: uint(64 - size), seed: rand.Uint64()}
}

func (t *table) hash(key uint64) uint64 {
	hi, lo := bits.Mul64(key^t.seed, 0x9E3779B97F4A7C15)
	return ((hi ^ lo) * 0xD6E8FEB86659FD93) >> t.shift
}

// get returns the value of key, if it is there. Keys are below 1<<64 - 1.
func (t *table) get(key uint64) (uint64, bool) {
	mask := uint64(len(t.slots) - 1)
	for i := t.hash(key); ; i++ {
		s := &t.slots[i&mask]
		if s.key == key+1 {
			return s.val, true
		}
		if s.key == 0 {
			return 0, false
		}
	}
}

// put sets key to val and reports whether the key is new.
func (t *table) put(key, val uint64) bool {
	if 2*(t.n+1) > len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	for i := t.hash(key); ; i++ {
		s := &t.slots[i&mask]
		if s.key == key+1 {
			s.val = val
			return false
		}
		if s.key == 0 {
			*s = slot{key + 1, val}
			t.n++
			return true
		}
	}
}

func (t *table) grow() {
	bigger := newTable(len(t.slots))
	for _, s := range t.slots {
		if s.key != 0 {
			bigger.put(s.key-1, s.val)
		}
	}
	*t = *bigger
}

// trie finds which of a set of byte strings begin at a place in a text.
// Node 0 is the root.
type trie struct {
	first [256]uint32 // child of the root by byte; 0 is none
	edges *table      // node<<8 | byte -> child
	value []int32     // what ends at a node; none ends at a node that holds noToken
}

func newTrie(capacity int) *trie {
	return &trie{edges: newTable(capacity), value: []int32{noToken}}
}

// add puts text in the trie; a text added twice keeps its first value.
func (t *trie) add(text string, value int32) {
	node := uint32(0)
	for i := range len(text) {
		child, ok := t.child(node, text[i])
		if !ok {
			child = uint32(len(t.value))
			t.value = append(t.value, noToken)
			if node == 0 {
				t.first[text[i]] = child
			} else {
				t.edges.put(uint64(node)<<8|uint64(text[i]), uint64(child))
			}
		}
		node = child
	}
	if node != 0 && t.value[node] == noToken {
		t.value[node] = value
	}
}

func (t *trie) child(node uint32, b byte) (uint32, bool) {
	if node == 0 {
		return t.first[b], t.first[b] != 0
	}
	child, ok := t.edges.get(uint64(node)<<8 | uint64(b))
	return uint32(child), ok
}
