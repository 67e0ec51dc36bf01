package model

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"weir/internal/backend"
	"weir/internal/builtin"
)

// TestKVTypesOnBuiltin measures what a KV cache type costs in accuracy: the mean
// KL divergence of the built-in model's next tokens from those with an f32 cache, over
// texts that it wrote. docs/engine.md has the figures. Bounds are about three
// times what was measured.
func TestKVTypesOnBuiltin(t *testing.T) {
	var raw map[string]json.RawMessage
	readJSON(t, "testdata/llamacpp-builtin.json", &raw)
	var answers []peerAnswer
	if err := json.Unmarshal(raw["weir-mini-f32"], &answers); err != nil {
		t.Fatal(err)
	}
	f := openBytes(t, builtin.Model())
	run := func(typ backend.KVType) (rows [][]float32) {
		for _, a := range answers {
			ids := slices.Clone(a.Prompt)
			for _, step := range a.IDs {
				ids = append(ids, step[0])
			}
			rows = append(rows, newRunner(t, f, runOptions{kvType: typ, threads: 2}).chunks(ids, 64)...)
		}
		return rows
	}
	want := run(backend.KVF32)
	for _, typ := range backend.KVTypes() {
		got := run(typ)
		var sum float64
		same := 0
		for i := range want {
			sum += divergence(want[i], got[i])
			if best(want[i]) == best(got[i]) {
				same++
			}
		}
		mean := sum / float64(len(want))
		t.Logf("%v: mean KL divergence %.2g over %d tokens, the same best token at %.1f%%", typ, mean, len(want), 100*float64(same)/float64(len(want)))
		bound := map[backend.KVType]float64{backend.KVF32: 0, backend.KVF16: 1e-8, backend.KVBF16: 1e-6, backend.KVQ8: 1e-5, backend.KVQ4: 0.002}[typ]
		if !(mean <= bound) {
			t.Errorf("%v: mean KL divergence %g, want at most %g", typ, mean, bound)
		}
	}
}

// divergence is that of softmax(q) from softmax(p).
func divergence(p, q []float32) float64 {
	lp, lq := logSum(p), logSum(q)
	var sum float64
	for i, v := range p {
		log := float64(v) - lp
		sum += math.Exp(log) * (log - (float64(q[i]) - lq))
	}
	return sum
}

func logSum(x []float32) float64 {
	most := slices.Max(x)
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v - most))
	}
	return float64(most) + math.Log(sum)
}

func best(x []float32) int { return slices.Index(x, slices.Max(x)) }
