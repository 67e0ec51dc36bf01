package cpu

import (
	"fmt"

	"weir/internal/backend"
	"weir/internal/exact"
)

// mixScratch is the memory of a mixture. A slot is a row and one of the experts
// it chose.
type mixScratch struct {
	probs    []float32 // [rows, experts]
	gate, up []float32 // [slots, width]
	weight   []float32 // [slots]
	expert   []int32   // [slots]: the expert chosen; slot = row*topK + i
	order    []int32   // [slots]: slots by expert, rows ascending
	starts   []int32   // [experts+1]: where an expert's slots begin in order
}

func (m *mixScratch) layout(a *arena, p backend.Plan) {
	e := p.Experts
	slots := p.Rows * e.TopK
	m.probs = a.take(p.Rows * e.Count)
	m.gate, m.up = a.take(slots*e.Width), a.take(slots*e.Width)
	m.weight = a.take(slots)
	if a.mem == nil {
		return
	}
	m.expert, m.order = make([]int32, slots), make([]int32, slots)
	m.starts = make([]int32, e.Count+1)
}

// Mixture sends each row through the experts it chooses. Their weighted
// outputs are added in the experts' order, so that a row's sum does not depend
// on its neighbours.
func (s *stream) Mixture(dst, x backend.Act, m *backend.Mixture) {
	const op = "Mixture"
	t := &s.mixing
	*t = mixTask{x: s.act(x, op), dst: s.act(dst, op), m: m, mem: &s.mix, scratch: s.scratch, arith: s.arith}
	distinct(op, dst, x)
	t.check(s.plan.Experts)
	s.route(t)
	t.step = mixHidden
	s.run(len(m.Gate)*t.tiles(), t.x.rows*m.TopK*t.width*2*t.x.cols, t)
	t.step = mixOutput
	s.run((t.dst.cols+tileRows-1)/tileRows, t.x.rows*m.TopK*t.width*t.dst.cols, t)
}

// mixTask is the work of one mixture in its steps.
type mixTask struct {
	x, dst  mat
	m       *backend.Mixture
	mem     *mixScratch
	width   int // of the hidden layer
	step    mixStep
	scratch [][]float32
	arith   arith
}

type mixStep uint8

const (
	// mixHidden: an item is a tile of one expert's gate and up; all its rows
	// pass over it.
	mixHidden mixStep = iota
	// mixOutput: an item is a tile of output columns, over all experts.
	mixOutput
)

func (t *mixTask) check(e backend.ExpertSpec) {
	m := t.m
	checkActivation(m.Act, "Mixture")
	same("Mixture", t.x, t.dst)
	n := len(m.Gate)
	if n == 0 || n != len(m.Up) || n != len(m.Down) || m.TopK < 1 || m.TopK > n {
		panic(fmt.Sprintf("cpu: Mixture: %d, %d, %d experts, %d chosen", n, len(m.Up), len(m.Down), m.TopK))
	}
	t.width = m.Gate[0].Rows()
	if n > e.Count || m.TopK > e.TopK || t.width > e.Width {
		panic(fmt.Sprintf("cpu: Mixture: %d experts of width %d, %d chosen; the plan allows %d, %d, %d", n, t.width, m.TopK, e.Count, e.Width, e.TopK))
	}
	for i := range n {
		g, u, d := matrix(m.Gate[i], t.x.cols, "Mixture"), matrix(m.Up[i], t.x.cols, "Mixture"), matrix(m.Down[i], t.width, "Mixture")
		if g.rows != t.width || u.rows != t.width || d.rows != t.dst.cols {
			panic(fmt.Sprintf("cpu: Mixture: expert %d takes %d to %d, %d, %d", i, t.x.cols, g.rows, u.rows, d.rows))
		}
	}
}

// route chooses every row's experts.
func (s *stream) route(t *mixTask) {
	n := len(t.m.Gate)
	l := &s.linear
	l.reset(s, t.x, &s.batch.byRow)
	l.add(matrix(t.m.Router, t.x.cols, "Mixture"), nil, mat{t.mem.probs[:t.x.rows*n], t.x.rows, n})
	s.runLinear()
	for r := range t.x.rows {
		t.choose(r, t.mem.probs[r*n:(r+1)*n])
	}
	t.sortSlots()
}

// choose turns a row's router outputs into probabilities and takes the TopK
// greatest; of equals, the first.
func (t *mixTask) choose(r int, p []float32) {
	softmax(p)
	k := t.m.TopK
	expert, weight := t.mem.expert[r*k:(r+1)*k], t.mem.weight[r*k:(r+1)*k]
	var sum float32
	for i := range k {
		best := 0
		for e, v := range p {
			if v > p[best] {
				best = e
			}
		}
		expert[i], weight[i] = int32(best), p[best]
		sum += p[best]
		p[best] = -1 // taken
	}
	if t.m.Renormalise {
		for i := range weight {
			weight[i] /= sum
		}
	}
}

// softmax turns x into probabilities.
func softmax(x []float32) {
	m := x[0]
	for _, v := range x {
		m = max(m, v)
	}
	var sum float64
	for i, v := range x {
		x[i] = float32(exact.Exp(float64(v) - float64(m)))
		sum += float64(x[i])
	}
	for i := range x {
		x[i] = float32(float64(x[i]) / sum)
	}
}

// sortSlots orders the slots by expert; a counting sort, so rows stay ascending.
func (t *mixTask) sortSlots() {
	starts := t.mem.starts[:len(t.m.Gate)+1]
	clear(starts)
	expert := t.mem.expert[:t.x.rows*t.m.TopK]
	for _, e := range expert {
		starts[e+1]++
	}
	for e := 1; e < len(starts); e++ {
		starts[e] += starts[e-1]
	}
	for slot, e := range expert {
		t.mem.order[starts[e]] = int32(slot)
		starts[e]++ // ends where the next began: shifted back below
	}
	copy(starts[1:], starts)
	starts[0] = 0
}

// tiles is the number of tiles of an expert's hidden layer.
func (t *mixTask) tiles() int { return (t.width + tileRows - 1) / tileRows }

func (t *mixTask) Do(worker, item int) {
	if t.step == mixHidden {
		t.hidden(item/t.tiles(), item%t.tiles(), t.scratch[worker])
	} else {
		t.output(item, t.scratch[worker])
	}
}

// slots returns the slots that chose an expert.
func (t *mixTask) slots(e int) []int32 {
	return t.mem.order[t.mem.starts[e]:t.mem.starts[e+1]]
}

// hidden computes a tile of act(gate_e x) * up_e x for the rows of an expert.
func (t *mixTask) hidden(e, tile int, scratch []float32) {
	slots := t.slots(e)
	if len(slots) == 0 {
		return
	}
	lo := tile * tileRows
	hi := min(lo+tileRows, t.width)
	t.project(t.m.Gate[e].(*weight), t.mem.gate, slots, lo, hi, scratch)
	t.project(t.m.Up[e].(*weight), t.mem.up, slots, lo, hi, scratch)
	for _, s := range slots {
		at := int(s) * t.width
		g := t.mem.gate[at+lo : at+hi]
		t.arith.gate(g, g, t.mem.up[at+lo:at+hi], t.m.Act)
	}
}

// project sets columns [lo, hi) of out [slots, width] to w times the slots' rows.
func (t *mixTask) project(w *weight, out []float32, slots []int32, lo, hi int, scratch []float32) {
	tile := w.tile(t.arith, scratch, lo, hi)
	for _, s := range slots {
		x := t.x.row(int(s) / t.m.TopK)
		t.arith.dots(out[int(s)*t.width+lo:int(s)*t.width+hi], x, tile)
	}
}

// output computes a tile of columns of the result: the weighted sum of down_e over
// a row's experts, in their order.
func (t *mixTask) output(tile int, scratch []float32) {
	lo := tile * tileRows
	hi := min(lo+tileRows, t.dst.cols)
	for r := range t.dst.rows {
		clear(t.dst.row(r)[lo:hi])
	}
	for e := range t.m.Down {
		slots := t.slots(e)
		if len(slots) == 0 {
			continue
		}
		w := t.m.Down[e].(*weight).tile(t.arith, scratch, lo, hi)
		for _, s := range slots {
			h := t.mem.gate[int(s)*t.width : (int(s)+1)*t.width]
			out := t.dst.row(int(s) / t.m.TopK)[lo:hi]
			var d [tileRows]float32
			t.arith.dots(d[:len(out)], h, w)
			for i := range out {
				out[i] += float32(t.mem.weight[s] * d[i])
			}
		}
	}
}
