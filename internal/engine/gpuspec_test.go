package engine

import (
	"fmt"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cuda"
	"weir/internal/backend/cuda/cudatest"
	"weir/internal/spec"
)

// What guesses on a GPU guesses as well as on a CPU, and answers are those of plain
// decoding until two tokens are so near to each other that rounding decides.
func TestGPUProposers(t *testing.T) {
	for _, o := range []cuda.Options{{}, {Eager: true}, {Target: "sm_89"}, {Target: "sm_80"}} {
		for _, cells := range []backend.KVType{backend.KVF16, backend.KVF32} {
			t.Run(fmt.Sprintf("kernels %q, eager %v, cells %v", o.Target, o.Eager, cells), func(t *testing.T) {
				plain, _ := sayBuiltinOn(t, cudatest.Open(t, o), cells, Speculation{}, 0)
				for _, v := range []struct {
					kind   string
					always spec.Tree
					least  float64 // tokens a step
				}{
					{SpeculateDraft, chainOf(4), 3},
					{SpeculateMedusa, chainOf(3), 2},
					{SpeculateMedusa, treeDrafts().Always, 1.5},
				} {
					s := Speculation{Kind: v.kind}
					s.Options.Always, s.Options.Width = v.always, 1
					if v.always.Len() > 4 {
						s.Options.Width = treeDrafts().Width
					}
					got, stats := sayBuiltinOn(t, cudatest.Open(t, o), cells, s, 0)
					samePath(t, v.kind, got, plain)
					if a := float64(stats.Held+stats.Drafts) / float64(stats.Drafts); a < v.least {
						t.Errorf("%s: %.2f tokens a step with a draft, want %.1f", v.kind, a, v.least)
					} else {
						t.Logf("%s: %.2f tokens a step with a draft of %d", v.kind, a, v.always.Len())
					}
				}
			})
		}
	}
}

func chainOf(n int) (t spec.Tree) {
	t.SetChain(n)
	return t
}

// samePath compares greedy answers up to a near tie.
func samePath(t *testing.T, what string, got, want reply) {
	t.Helper()
	for i, w := range want.tokens {
		if i >= len(got.tokens) {
			t.Errorf("%s: only %d tokens of %d", what, len(got.tokens), len(want.tokens))
			return
		}
		if got.tokens[i].ID != w.ID {
			if gap := w.Top[0].Logprob - w.Top[1].Logprob; gap > 2*gpuTolerance {
				t.Errorf("%s: token %d is %d; plain decoding says %d, more probable by %.4f", what, i, got.tokens[i].ID, w.ID, gap)
			}
			t.Logf("%s: parts after %d of %d tokens", what, i, len(want.tokens))
			return
		}
	}
}
