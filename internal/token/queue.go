package token

import "slices"

// queue holds entries rank<<32 | place, the smallest to come out first. The
// pairs that a word begins with are sorted once; those that merging makes go
// into a heap. One heap for all was half the time of a long word: its every
// step is a cache miss, and most entries are there from the beginning.
type queue struct {
	first []uint64 // sorted
	taken int      // of first
	later heap
	swap  []uint64 // for sorting
}

func (q *queue) reset() {
	q.first, q.taken, q.later = q.first[:0], 0, q.later[:0]
}

// sort orders q.first, whose places already ascend.
func (q *queue) sort() {
	if len(q.first) < 1024 {
		slices.Sort(q.first)
		return
	}
	var seen uint64
	for _, v := range q.first {
		seen |= v
	}
	// Counting sort by 11 bits of the rank at a time, least significant first.
	q.swap = slices.Grow(q.swap[:0], len(q.first))[:len(q.first)]
	for shift := uint(32); shift < 64 && seen>>shift != 0; shift += 11 {
		var counts [1 << 11]int
		for _, v := range q.first {
			counts[v>>shift%(1<<11)]++
		}
		sum := 0
		for i, n := range counts {
			counts[i] = sum
			sum += n
		}
		for _, v := range q.first {
			at := &counts[v>>shift%(1<<11)]
			q.swap[*at] = v
			*at++
		}
		q.first, q.swap = q.swap, q.first
	}
}

// pop takes the smallest entry out; not ok if there is none.
func (q *queue) pop() (v uint64, ok bool) {
	if q.taken < len(q.first) {
		v = q.first[q.taken]
		if len(q.later) == 0 || v < q.later[0] {
			q.taken++
			return v, true
		}
	} else if len(q.later) == 0 {
		return 0, false
	}
	return q.later.pop(), true
}

// heap is a heap of four children a node, the smallest first: half the levels
// of a binary one, and the children share a cache line. container/heap's
// interface calls would cost more than all else here.
type heap []uint64

func (h *heap) push(v uint64) {
	*h = append(*h, v)
	s := *h
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if s[parent] <= v {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = v
}

func (h *heap) pop() uint64 {
	s := *h
	top, v := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	if len(s) == 0 {
		return top
	}
	i := 0
	for {
		child := 4*i + 1
		if child >= len(s) {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, len(s)); c++ {
			if s[c] < s[least] {
				least = c
			}
		}
		if s[least] >= v {
			break
		}
		s[i] = s[least]
		i = least
	}
	s[i] = v
	return top
}
