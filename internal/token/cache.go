package token

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// cache remembers the tokens of words. It is a direct-mapped array of pointers
// to immutable entries: a lookup is a hash, an atomic load and a comparison, a
// newcomer replaces whatever had its place, and nothing locks. So its memory
// is bounded (about 8 MB) and text made to defeat it costs one merge a word,
// no more.
type cache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[cached]
}

type cached struct {
	word string
	ids  []int32
}

const (
	cacheSlots = 1 << 16
	cacheWord  = 48 // bytes; longer words are rare and go past the cache
)

func newCache() *cache {
	return &cache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[cached], cacheSlots)}
}

// get returns the place of word and, if the word is there, its entry.
func (c *cache) get(word string) (place *atomic.Pointer[cached], hit *cached) {
	place = &c.slots[maphash.String(c.seed, word)%cacheSlots]
	if e := place.Load(); e != nil && e.word == word {
		return place, e
	}
	return place, nil
}

// put remembers a copy of word and ids at place.
func (c *cache) put(place *atomic.Pointer[cached], word string, ids []int32) {
	place.Store(&cached{word: strings.Clone(word), ids: append([]int32(nil), ids...)})
}
