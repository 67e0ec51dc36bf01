package model

import (
	"testing"

	"weir/internal/backend/cuda"
	"weir/internal/backend/cuda/cudatest"
	"weir/internal/weights"
)

// gpuTolerance is tolerance for what a GPU multiplies in bf16, with keys and values
// in f16: about twice what the worst of the goldens comes to (0.06 on an H200). The
// planted errors of TestGPUPlantedErrors come to 0.9 and more.
const gpuTolerance = 0.12

// Each family's logits on a GPU are the reference's, in one step, token by token and
// in pieces, by the card's own kernels and by those that every card runs.
func TestGPULogitsAgreeWithReference(t *testing.T) {
	for _, target := range []string{"", "sm_80"} {
		b := openGPU(t, target)
		for _, g := range readGoldens(t) {
			f, _ := g.open(t, weights.HF)
			for _, n := range []int{len(g.IDs), 1, 7} {
				d := g.difference(newRunner(t, f, runOptions{on: b}).chunks(g.IDs, n))
				t.Logf("%s %s, %d at once: %.1e", target, g.name, n, d)
				if !(d <= gpuTolerance) {
					t.Errorf("%s, %d tokens at once, kernels %q: logits differ from the reference by %.2g of their size, more than %g", g.name, n, target, d, gpuTolerance)
				}
			}
		}
	}
}

// TestGPUPlantedErrors shows that the tolerance finds mistakes.
func TestGPUPlantedErrors(t *testing.T) {
	b := openGPU(t, "")
	errors := map[string]func(d *decoder){
		"two rope pairs swapped": func(d *decoder) { f := d.rope.Freq; f[1], f[2] = f[2], f[1] },
		"other rope layout":      func(d *decoder) { d.rope.Interleaved = !d.rope.Interleaved },
		"two layers swapped":     func(d *decoder) { d.layers[0].down, d.layers[1].down = d.layers[1].down, d.layers[0].down },
		"one layer's norms": func(d *decoder) {
			d.layers[0].attnNorm, d.layers[0].ffnNorm = d.layers[0].ffnNorm, d.layers[0].attnNorm
		},
	}
	for _, g := range readGoldens(t) {
		f, _ := g.open(t, weights.HF)
		for what, plant := range errors {
			r := newRunner(t, f, runOptions{on: b, change: func(m Model) { plant(parts(m)) }})
			d := g.difference(r.step(g.IDs))
			t.Logf("%s with %s: %.1e", g.name, what, d)
			if d <= 2*gpuTolerance {
				t.Errorf("%s with %s: logits differ by only %.2g, too close to the tolerance %g", g.name, what, d, gpuTolerance)
			}
		}
	}
}

// openGPU opens the machine's GPU with a target's kernels until the test ends, or skips.
func openGPU(t *testing.T, target string) *cuda.Backend {
	t.Helper()
	b := cudatest.Open(t, cuda.Options{Target: target})
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
