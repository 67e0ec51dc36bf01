package engine

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"weir/internal/llm"
)

// Sampled speculation keeps the model's distribution: over many seeds, the second
// and third tokens, which are drawn at nodes of drafts, occur as often as their
// probabilities say. The seeds are fixed, so the outcome is, too.
func TestSampledSpeculationKeepsTheDistribution(t *testing.T) {
	const n, topK = 1200, 6
	prompt := llm.Tokens{10, 200, 30, 77, 5}
	params := func(seed uint64, tokens int) llm.Params {
		p := llm.DefaultParams()
		p.MaxTokens, p.Seed, p.TopK, p.IgnoreEOS = ptr(tokens), &seed, topK, true
		return p
	}
	for _, c := range []struct {
		name  string
		spec  func(testing.TB) Speculation
		draft DraftOptions
	}{{"draft model, chains", tinyDraft(0), DraftOptions{}}, {"draft model, trees", tinyDraft(0), treeDrafts()}, {"medusa, trees", tinyMedusa, treeDrafts()}} {
		t.Run(c.name, func(t *testing.T) {
			o := usual
			o.speculation, o.draft, o.queue = c.spec, c.draft, 2*n
			if c.draft.Width == 0 {
				o.draft.Always.SetChain(3)
			}
			e := startTiny(t, o)
			answers := make([][]int32, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					r := &llm.Request{ID: fmt.Sprint(i), Prompt: prompt, Params: params(uint64(i), 3)}
					answers[i] = mustCollect(t, e, r).choices[0].ids()
				})
			}
			wg.Wait()
			first := mostFrequent(answers, nil)
			second := mostFrequent(answers, []int32{first})
			for _, begin := range [][]int32{{first}, {first, second}} {
				r := &llm.Request{ID: "exact", Prompt: append(append(llm.Tokens{}, prompt...), begin...), Params: params(0, 1)}
				r.Params.Logprobs = ptr(topK)
				chiSquare(t, e, r, answers, begin)
			}
			if s := counted(t, e); s.Held == 0 || s.Held == s.Guessed {
				t.Errorf("%d of %d guesses held: the test does not test it", s.Held, s.Guessed)
			}
		})
	}
}

// following counts what follows answers that begin so.
func following(answers [][]int32, begin []int32) (counts map[int32]int, all int) {
	counts = map[int32]int{}
	for _, a := range answers {
		if len(a) > len(begin) && fmt.Sprint(a[:len(begin)]) == fmt.Sprint(begin) {
			counts[a[len(begin)]]++
			all++
		}
	}
	return counts, all
}

func mostFrequent(answers [][]int32, begin []int32) int32 {
	best, most := int32(-1), 0
	counts, _ := following(answers, begin)
	for id, n := range counts {
		if n > most || n == most && id < best {
			best, most = id, n
		}
	}
	return best
}

// chiSquare compares what follows answers that begin so with the probabilities that
// r gives: those of the tokens that top_k keeps, which are all that may occur.
func chiSquare(t *testing.T, e *Engine, r *llm.Request, answers [][]int32, begin []int32) {
	t.Helper()
	top := mustCollect(t, e, r).choices[0].tokens[0].Top
	total := 0.0
	for _, a := range top {
		total += math.Exp(a.Logprob)
	}
	counts, n := following(answers, begin)
	if n < 60 {
		t.Fatalf("%d answers begin with %v: too few to tell", n, begin)
	}
	sum, freedom, seen := 0.0, -1, 0
	for _, a := range top {
		want := float64(n) * math.Exp(a.Logprob) / total
		seen += counts[a.ID]
		if want < 1 {
			continue
		}
		d := float64(counts[a.ID]) - want
		sum, freedom = sum+d*d/want, freedom+1
	}
	if seen != n {
		t.Errorf("after %v: %d of %d tokens are none of the %d that may be drawn: %v", begin, n-seen, n, len(top), counts)
	}
	// The 99.9th percentiles of chi-square for 1 to 5 degrees of freedom.
	limit := []float64{0, 10.83, 13.82, 16.27, 18.47, 20.52}[max(freedom, 0)]
	t.Logf("after %v: chi-square %.2f of %d degrees of freedom, %d answers", begin, sum, freedom, n)
	if freedom < 1 || sum > limit {
		t.Errorf("after %v: chi-square is %.2f, over %.2f for %d degrees of freedom: %v", begin, sum, limit, freedom, counts)
	}
}
