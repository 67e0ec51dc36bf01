package engine

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/grammar"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/sched"
	"weir/internal/spec"
)

// TestDrawAhead draws the rows of many sequences side by side: each as its sampler
// does alone, and only those that nothing else in the step decides.
func TestDrawAhead(t *testing.T) {
	e := startTiny(t, usual)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	l := &loop{e: e, flight: &flight{}, owner: map[*sched.Seq]*sequence{}}
	l.drawers.init(4, false)
	plan, result := &sched.Plan{}, &backend.Result{}
	add := func(g *grammar.Grammar, pos, node int) int {
		p := llm.DefaultParams()
		p.Seed, p.BestOf, p.TopK, p.Logprobs, p.RepetitionPenalty = ptr(rng.Uint64()), 1, 5, ptr(2), 1.2
		q := newRequest(e, &llm.Request{ID: "x", Prompt: llm.Tokens{1, 2, 3}, Params: p}, []int32{1, 2, 3}, p, g).seqs[0]
		l.own(q)
		l.wanted, l.places = append(l.wanted, want{item: len(plan.Items), pos: pos, node: node}), append(l.places, -1)
		plan.Items = append(plan.Items, sched.Item{Seq: &q.Seq})
		row := make([]float32, tinyVocab)
		for i := range row {
			row[i] = 4 * float32(rng.NormFloat64())
		}
		result.Logits = append(result.Logits, row)
		return len(l.wanted) - 1
	}
	var ahead, later []int
	for range 20 {
		ahead = append(ahead, add(nil, 2, spec.Root))
	}
	g, err := grammar.Compile(t.Context(), grammar.Regex("a+"), e.structures.vocab(), grammar.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	later = append(later, add(nil, 1, spec.Root), add(nil, 2, 0), add(g, 2, spec.Root)) // of a prompt, of a guess, with a structure
	var want []sample.Draw
	for _, i := range ahead {
		q := l.of(plan.Items[i].Seq)
		want = append(want, q.sampler.Draw(slices.Clone(result.Logits[i]), 0))
	}
	l.drawAhead(plan, result)
	for n, i := range ahead {
		if !l.drawers.done[i] || !reflect.DeepEqual(l.drawers.draws[i], want[n]) {
			t.Errorf("row %d: %+v, want %+v", i, l.drawers.draws[i], want[n])
		}
	}
	for _, i := range later {
		if l.drawers.done[i] {
			t.Errorf("row %d was drawn, whose draw depends on others", i)
		}
	}
	for i := range l.places {
		l.places[i] = i
	}
	if l.drawAhead(plan, result); slices.Contains(l.drawers.done, true) {
		t.Error("drawn from logits that are not there")
	}
}

// TestDrawersPanic: what breaks beside the loop breaks the loop, which contains it,
// and not the process.
func TestDrawersPanic(t *testing.T) {
	l := &loop{}
	l.drawers.init(3, false)
	l.drawers.rows = []int{0, 1, 2, 3, 4, 5}
	defer func() {
		if p := recover(); !strings.Contains(fmt.Sprint(p), "row 4") {
			t.Errorf("recovered %v", p)
		}
	}()
	l.share(func(_ *sample.Scratch, i int) {
		if i == 4 {
			panic("row 4 broke")
		}
	})
	t.Error("no panic")
}
