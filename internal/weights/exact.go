package weights

import "encoding/binary"

// Exact returns the type of eight or six bits that can hold every row of t to the last bit, for
// backends that have fast code for few types: its scales are t's and its whole numbers
// wide enough. There is none for types with minima, and for IQ4_XS, whose products of two scales
// half precision can't hold.
func Exact(t Type) (Type, bool) {
	switch t {
	case Q4_0, Q5_0, IQ4_NL:
		return Q8_0, true
	case Q3_K:
		return Q6_K, true
	}
	return t, false
}

// As is t with its rows written anew as another type: to the last bit if that is Exact's, else as
// [QuantizeRow] rounds. It panics where to's blocks don't divide a row.
func (t Tensor) As(to Type) Tensor {
	size, err := to.RowBytes(t.Cols())
	if err != nil {
		panic("weights: As: " + err.Error())
	}
	exact, ok := Exact(t.Type)
	out := t
	out.Type, out.Data = to, make([]byte, t.Rows()*size)
	shareRows(t.Rows(), func(first, end int) {
		numbers := make([]float32, t.Cols())
		for i := first; i < end; i++ {
			if ok && to == exact {
				rewriteRow(t.Type, out.Row(i), t.Row(i))
				continue
			}
			DequantizeRow(t.Type, numbers, t.Row(i))
			QuantizeRow(to, out.Row(i), numbers)
		}
	})
	return out
}

// rewriteRow writes src, whole blocks of t, as blocks of Exact's type: [DequantizeRow] gives the
// same bits of both. It panics where Exact has none, or dst and src are not of as many blocks.
func rewriteRow(t Type, dst, src []byte) {
	to, ok := Exact(t)
	elems, from := t.Block()
	_, size := to.Block()
	if n := len(src) / from; !ok || n*from != len(src) || n*size != len(dst) {
		panic("weights: rewriteRow: " + t.String() + " can't be rewritten, or its rows are not of as many blocks")
	}
	var whole [256]float32
	block := make([]byte, from)
	for ; len(src) > 0; dst, src = dst[size:], src[from:] {
		copy(block, src)
		if t == Q3_K {
			rewrite3K(dst[:size], src, block, whole[:elems])
			continue
		}
		copy(dst, src[:2]) // the scale
		binary.LittleEndian.PutUint16(block, f16One)
		DequantizeRow(t, whole[:elems], block)
		for i, v := range whole[:elems] {
			dst[2+i] = byte(int8(v))
		}
	}
}

const f16One = 0x3c00

// rewrite3K has the decoder give q-4, with scales of 1, and packs it as Q6_K does.
func rewrite3K(dst, src, block []byte, whole []float32) {
	clear(dst)
	for i, sc := range scales3K(src[96:108]) {
		dst[192+i] = byte(int8(sc) - 32)
	}
	copy(dst[208:], src[108:110])
	for i := range 8 { // sixteen scales of 33
		block[96+i] = 0x11
	}
	for i := range 4 {
		block[104+i] = 0xaa
	}
	binary.LittleEndian.PutUint16(block[108:], f16One)
	DequantizeRow(Q3_K, whole, block)
	for e, v := range whole {
		put6K(dst, e, uint8(int(v)+32))
	}
}

// put6K puts the six bits of element e into a block of Q6_K that has zeros there.
func put6K(b []byte, e int, q uint8) {
	k := e >> 5 & 3
	b[e>>7*64+k&1*32+e&31] |= q & 15 << (k >> 1 * 4)
	b[128+e>>7*32+e&31] |= q >> 4 << (k * 2)
}
