package cpu

import (
	"fmt"

	"weir/internal/backend"
)

// rowTask is an operation on each row by itself. An item is a row.
type rowTask struct {
	arith       arith
	op          rowOp
	dst, x, y   mat
	w           []float32
	eps, factor float32
	table       *weight
	tokens      []int32
	act         backend.Activation
}

type rowOp uint8

const (
	opEmbed rowOp = iota
	opNorm
	opAddNorm
	opAdd
	opGate
)

func (t *rowTask) Do(_, r int) {
	switch t.op {
	case opEmbed:
		t.embed(r)
	case opNorm:
		t.arith.norm(t.dst.row(r), t.x.row(r), nil, t.w, t.eps)
	case opAddNorm:
		t.arith.norm(t.dst.row(r), t.x.row(r), t.y.row(r), t.w, t.eps)
	case opAdd:
		add(t.x.row(r), t.y.row(r))
	case opGate:
		t.arith.gate(t.dst.row(r), t.x.row(r), t.y.row(r), t.act)
	}
}

func (t *rowTask) embed(r int) {
	dst := t.dst.row(r)
	t.table.row(dst, int(t.tokens[r]))
	if t.factor != 1 {
		scale(dst, t.factor)
	}
}

// gate sets dst to act(g) * up.
func gate(dst, g, up []float32, act backend.Activation) {
	dst, up = dst[:len(g)], up[:len(g)]
	if act == backend.SiLU {
		for i, v := range g {
			dst[i] = silu(v) * up[i]
		}
		return
	}
	for i, v := range g {
		dst[i] = geluTanh(v) * up[i]
	}
}

func checkActivation(f backend.Activation, op string) {
	if f != backend.SiLU && f != backend.GELUTanh {
		panic(fmt.Sprintf("cpu: %s: activation %d is not one of SiLU, GELUTanh", op, f))
	}
}

// runRows does the row operation t on n rows.
func (s *stream) runRows(n, work int, t rowTask) {
	s.rows = t
	s.rows.arith = s.arith
	s.run(n, work, &s.rows)
}

// Embed looks up the rows' tokens.
func (s *stream) Embed(dst backend.Act, table backend.Weight, scale float32) {
	d := s.act(dst, "Embed")
	if s.gathered(dst) {
		panic("cpu: Embed: wants a row per row of the batch")
	}
	w := matrix(table, d.cols, "Embed")
	for r, id := range s.batch.token {
		if id < 0 || int(id) >= w.rows {
			panic(fmt.Sprintf("cpu: Embed: row %d has token %d, tensor %q %d rows", r, id, w.name, w.rows))
		}
	}
	s.runRows(d.rows, d.rows*d.cols, rowTask{op: opEmbed, dst: d, table: w, tokens: s.batch.token, factor: scale})
}

// RMSNorm normalises the rows of x.
func (s *stream) RMSNorm(dst, x backend.Act, w backend.Weight, eps float32) {
	d, v := s.act(dst, "RMSNorm"), s.act(x, "RMSNorm")
	same("RMSNorm", d, v)
	s.runRows(d.rows, 2*d.rows*d.cols, rowTask{op: opNorm, dst: d, x: v, w: vector(w, d.cols, "RMSNorm"), eps: eps})
}

// AddRMSNorm adds delta to x and normalises that.
func (s *stream) AddRMSNorm(dst, x, delta backend.Act, w backend.Weight, eps float32) {
	d, v, y := s.act(dst, "AddRMSNorm"), s.act(x, "AddRMSNorm"), s.act(delta, "AddRMSNorm")
	same("AddRMSNorm", d, v, y)
	s.runRows(d.rows, 3*d.rows*d.cols, rowTask{op: opAddNorm, dst: d, x: v, y: y, w: vector(w, d.cols, "AddRMSNorm"), eps: eps})
}

// Add adds delta to x.
func (s *stream) Add(x, delta backend.Act) {
	v, y := s.act(x, "Add"), s.act(delta, "Add")
	same("Add", v, y)
	s.runRows(v.rows, v.rows*v.cols, rowTask{op: opAdd, x: v, y: y})
}

// Gate multiplies the activated gate with up.
func (s *stream) Gate(dst, gate, up backend.Act, f backend.Activation) {
	checkActivation(f, "Gate")
	d, g, u := s.act(dst, "Gate"), s.act(gate, "Gate"), s.act(up, "Gate")
	same("Gate", d, g, u)
	const workPerExp = 16
	s.runRows(d.rows, workPerExp*d.rows*d.cols, rowTask{op: opGate, dst: d, x: g, y: u, act: f})
}
