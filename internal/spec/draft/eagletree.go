package draft

import (
	"math"
	"slices"

	"weir/internal/spec"
)

// The tree of EAGLE-2. How sure the heads are of a token tells how likely it is to come
// true, and a node is worth the product of that along its path. Layer by layer, the heads
// go on from the nodes that are worth most, each with its likeliest tokens; in the end the
// draft has those of all that were thought of that are worth most. No node is worth more
// than its parent, so they are a tree.
//
// The shape that is asked for says how many nodes there may be, and how deep. A sampled
// sequence has the shape itself: what is drawn with its random number comes true more
// often than how likely it is would tell.

const (
	// eagleBreadth is how many nodes of a layer the heads go on from, and how many
	// tokens they think of after each.
	eagleBreadth = 4
	// unlikely is how far below the highest logit there is no chance.
	unlikely = 20
)

// thoughts are what a draft is chosen from: layers one after the other.
type thoughts struct {
	size, depth int // of the draft
	nodes       []thought
}

type thought struct {
	parent int // or spec.Root
	token  int32
	depth  int
	worth  float64   // logarithm of the chance that the walk comes by
	state  []float32 // of the layer, at the parent
}

// think adds the likeliest tokens after a node, whose state is the layer's; logits are
// overwritten.
func (t *thoughts) think(at int, logits, state []float32) {
	next := thought{parent: at, depth: 1, state: state}
	if at >= 0 {
		next.depth, next.worth = t.nodes[at].depth+1, t.nodes[at].worth
	}
	all, before := logSum(logits), next.worth
	for range eagleBreadth {
		next.token = best(logits)
		if next.token < 0 {
			return
		}
		if next.worth = before + float64(logits[next.token]) - all; !(next.worth <= before) { // not a number
			return
		}
		t.nodes = append(t.nodes, next)
		logits[next.token] = lowest
	}
}

// logSum is the logarithm of the sum of the logits' exponentials.
func logSum(logits []float32) float64 {
	top, sum := lowest, 0.0
	for _, v := range logits {
		top = max(top, v)
	}
	for _, v := range logits {
		if v > top-unlikely {
			sum += math.Exp(float64(v - top))
		}
	}
	return float64(top) + max(0, math.Log(sum))
}

// most lists the nodes that are worth most, as many as the draft has.
func (t *thoughts) most() []int {
	order := make([]int, len(t.nodes))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := t.nodes[a].worth, t.nodes[b].worth; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return order[:min(t.size, len(order))]
}

// onward lists the nodes of a depth that the heads go on from. What would not be in the
// draft already has no descendant that will.
func (t *thoughts) onward(depth int) (list []int) {
	if depth >= t.depth {
		return nil
	}
	for _, n := range t.most() {
		if t.nodes[n].depth == depth && len(list) < eagleBreadth {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// with lists nodes and their ancestors, parents first.
func (t *thoughts) with(nodes []int) (list []int) {
	for _, n := range nodes {
		for ; n >= 0; n = t.nodes[n].parent {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// path lists the tokens that lead to a node, it among them, last first.
func (t *thoughts) path(n int) (tokens []int32) {
	for ; n >= 0; n = t.nodes[n].parent {
		tokens = append(tokens, t.nodes[n].token)
	}
	return tokens
}

// write makes the draft.
func (t *thoughts) write(to *spec.Tree) {
	chosen := t.most()
	slices.Sort(chosen)
	at := map[int]int{spec.Root: spec.Root}
	for _, n := range chosen {
		at[n] = to.Add(at[t.nodes[n].parent], t.nodes[n].token)
	}
}

// ponder adds what the heads think after the job's open nodes, and opens the next. It
// reports false if the draft is written.
func (e *Eagle) ponder(j *eagleJob, logits [][]float32) bool {
	a, t := j.ask, j.thoughts
	for i, n := range j.open {
		state := slices.Clone(e.host.ReadAct(e.act.x, j.rows[i]))
		wide, path := e.spread(logits[i]), t.path(n)
		for _, id := range path {
			a.Sampler.Accept(id)
		}
		_, ok := a.Sampler.Guess(wide, a.Said()+len(path))
		for _, id := range path {
			a.Sampler.Retract(id)
		}
		if ok {
			t.think(n, wide, state)
		}
	}
	j.said++
	a.Passes = j.said
	if j.open = t.onward(j.said); len(j.open) == 0 {
		t.write(&a.Draft)
		return false
	}
	return true
}

// branch puts the job's open nodes into the batch, with their ancestors, whose keys and
// values they see there. If there is no room the draft is written.
func (e *Eagle) branch(j *eagleJob) bool {
	t, st := j.thoughts, j.st
	nodes := t.with(j.open)
	st.rows = st.done
	if len(e.rows)+len(nodes) > e.limits.Rows || len(e.batch.Want)+len(j.open) > e.logitRows() || !e.cache.Grow(&st.kv, st.done+len(nodes)) {
		t.write(&j.ask.Draft)
		return false
	}
	first, row := len(e.rows), map[int]int{}
	for i, n := range nodes {
		e.rows = append(e.rows, eagleRow{t.nodes[n].token, t.nodes[n].state})
		row[n] = first + i
	}
	e.add(st, len(nodes))
	for i, n := range nodes {
		above := []int32{}
		for p := t.nodes[n].parent; p >= 0; p = t.nodes[p].parent {
			above = append(above, int32(row[p]))
		}
		slices.Reverse(above)
		e.batch.Tree[first+i] = above
		e.batch.Pos[first+i] = int32(st.done + len(above))
	}
	j.rows = j.rows[:0]
	for _, n := range j.open {
		e.want(j, row[n])
	}
	return true
}

// logitRows is how many rows' logits there is room for.
func (e *Eagle) logitRows() int { return min(e.limits.Rows, eagleBreadth*e.limits.Seqs) }
