package modeltest

import (
	"encoding/binary"
	"fmt"
	"math"

	"weir/internal/weights"
)

// Plain encodes numbers as F32, F16 or BF16.
func Plain(t weights.Type, x []float32) []byte {
	var b []byte
	for _, v := range x {
		switch t {
		case weights.F32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		case weights.F16:
			b = binary.LittleEndian.AppendUint16(b, weights.F32ToF16(v))
		case weights.BF16:
			b = binary.LittleEndian.AppendUint16(b, weights.F32ToBF16(v))
		default:
			panic(fmt.Sprintf("modeltest: %v is not plain", t))
		}
	}
	return b
}

// half is a float16 scale within a block.
type half struct {
	at    int     // byte in the block
	share float32 // of the tensor's scale
}

// halves says where the scales of a quantised block are, and how large to make
// them so that a block of random bits around them holds numbers with mean 0 and
// the spread of a uniform distribution in [-1, 1): the share of the minimum, in
// types that have one, cancels the mean of the rest.
var halves = map[weights.Type][]half{
	weights.Q4_0:   {{0, 1.0 / 8}},
	weights.Q4_1:   {{0, 2.0 / 15}, {2, -1}},
	weights.Q5_0:   {{0, 1.0 / 16}},
	weights.Q5_1:   {{0, 2.0 / 31}, {2, -1}},
	weights.Q8_0:   {{0, 1.0 / 128}},
	weights.Q2_K:   {{80, 1.0 / 20}, {82, 1.5 / 20}},
	weights.Q3_K:   {{108, 1.0 / 73}},
	weights.Q4_K:   {{0, 1.0 / 440}, {2, 7.5 / 440}},
	weights.Q5_K:   {{0, 1.0 / 900}, {2, 15.5 / 900}},
	weights.Q6_K:   {{208, 1.0 / 2370}},
	weights.IQ4_NL: {{0, 1.0 / 115}},
	weights.IQ4_XS: {{0, 1.0 / 2100}},
}

// blocks fills a matrix of a quantised type with random bits between sane
// scales. Every pattern of bits is a number in these types, so this reaches
// more of them than quantising a smooth distribution would, and it does not
// change when a better quantiser is written.
func blocks(t weights.Type, r stream, n int, scale float32) []byte {
	elems, size := t.Block()
	b := make([]byte, 0, n/elems*size+8)
	for range n / elems {
		start := len(b)
		for len(b) < start+size {
			b = binary.LittleEndian.AppendUint64(b, r.next())
		}
		b = b[:start+size]
		vary := float32(0.75) + r.uniform()*0.25 // scales differ, so that a misplaced one shows
		for _, h := range halves[t] {
			binary.LittleEndian.PutUint16(b[start+h.at:], weights.F32ToF16(h.share*scale*vary))
		}
	}
	return b
}

// ScaleAt is where in a block of a quantised type its float16 scale is, for
// tests that plant a wrong one; false for plain types.
func ScaleAt(t weights.Type) (int, bool) {
	if h := halves[t]; h != nil {
		return h[0].at, true
	}
	return 0, false
}
