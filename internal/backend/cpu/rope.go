package cpu

import (
	"fmt"

	"weir/internal/backend"
)

// ropeTask prepares the queries and keys of a layer. An item is a row.
type ropeTask struct {
	arith        arith
	q, k, v      mat
	layer        *kvLayer
	pos, cells   []int32
	rope         *backend.Rope
	qNorm, kNorm []float32 // [headDim], or nil
	eps          float32
	scratch      [][]float32
}

// RopeWrite normalises and rotates the heads of q and k and stores k and v.
func (s *stream) RopeWrite(q, k, v backend.Act, layer backend.Layer, r *backend.Rope, n backend.HeadNorm) {
	const op = "RopeWrite"
	l := s.kv.layers[layer.Group][layer.Index]
	t := &s.rope
	*t = ropeTask{
		arith: s.arith, q: s.act(q, op), k: s.act(k, op), v: s.act(v, op), layer: l,
		pos: s.batch.pos, cells: s.batch.cell[layer.Group], rope: r, eps: n.Eps, scratch: s.scratch,
	}
	if t.q.rows != len(t.pos) || t.q.cols%l.headDim != 0 || t.k.cols != l.heads*l.headDim {
		panic(fmt.Sprintf("cpu: %s: q [%d, %d] and k [%d, %d] for %d KV heads of %d", op, t.q.rows, t.q.cols, t.k.rows, t.k.cols, l.heads, l.headDim))
	}
	same(op, t.k, t.v)
	if r != nil && (r.Dim%2 != 0 || r.Dim > l.headDim || len(r.Freq) != r.Dim/2) {
		panic(fmt.Sprintf("cpu: %s: rope turns %d of %d elements by %d frequencies", op, r.Dim, l.headDim, len(r.Freq)))
	}
	if n.Q != nil {
		t.qNorm = vector(n.Q, l.headDim, op)
	}
	if n.K != nil {
		t.kNorm = vector(n.K, l.headDim, op)
	}
	s.run(t.q.rows, 4*t.q.rows*(t.q.cols+2*t.k.cols), t)
}

func (t *ropeTask) Do(worker, r int) {
	q, k := t.q.row(r), t.k.row(r)
	t.normHeads(q, t.qNorm)
	t.normHeads(k, t.kNorm)
	if t.rope != nil {
		half := t.rope.Dim / 2
		cos, sin := t.scratch[worker][:half], t.scratch[worker][half:2*half]
		turns(cos, sin, int(t.pos[r]), t.rope)
		t.arith.rotate(q, t.layer.headDim, t.rope, cos, sin)
		t.arith.rotate(k, t.layer.headDim, t.rope, cos, sin)
	}
	t.layer.put(t.arith, t.cells[r], k, t.v.row(r))
}

// turns computes the cosines and sines of a position, scaled.
func turns(cos, sin []float32, pos int, r *backend.Rope) {
	for i, f := range r.Freq {
		s, c := sincos(float64(float64(pos) * f))
		cos[i] = float32(c) * r.Scale
		sin[i] = float32(s) * r.Scale
	}
}

func (t *ropeTask) normHeads(x, w []float32) {
	if w == nil {
		return
	}
	for i := 0; i < len(x); i += len(w) {
		head := x[i : i+len(w)]
		t.arith.norm(head, head, nil, w, t.eps)
	}
}

// rotatePairs turns the pairs (2i, 2i+1).
func rotatePairs(x, cos, sin []float32) {
	for i, c := range cos {
		s, p := sin[i], x[2*i:2*i+2]
		a, b := p[0], p[1]
		p[0] = float32(a*c) - float32(b*s)
		p[1] = float32(a*s) + float32(b*c)
	}
}

// rotateHalves turns the pairs (i, i+len(x)/2).
func rotateHalves(x, cos, sin []float32) {
	lo, hi := x[:len(cos)], x[len(cos):2*len(cos)]
	for i, c := range cos {
		s, a, b := sin[i], lo[i], hi[i]
		lo[i] = float32(a*c) - float32(b*s)
		hi[i] = float32(a*s) + float32(b*c)
	}
}
