//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"weir/internal/weights"
)

// What no kernel reads becomes what one does, with the same numbers or what bf16 makes of them.
func TestWiden(t *testing.T) {
	rng := newRand(t)
	for typ, to := range map[weights.Type]weights.Type{
		weights.Q4_0: weights.Q8_0, weights.Q5_0: weights.Q8_0, weights.IQ4_NL: weights.Q8_0, weights.Q3_K: weights.Q6_K,
		weights.Q4_1: weights.BF16, weights.Q5_1: weights.BF16, weights.Q5_K: weights.BF16, weights.Q2_K: weights.BF16, weights.IQ4_XS: weights.BF16,
	} {
		m := randomTensor(rng, typ, 37, 512)
		wide := m.As(stored(typ))
		if wide.Type != to {
			t.Errorf("%v becomes %v, want %v", typ, wide.Type, to)
			continue
		}
		want, got := m.Float32s(), wide.Float32s()
		for i, w := range want {
			limit := 0.0
			if to == weights.BF16 {
				limit = math.Abs(float64(w)) / 256
			}
			if d := math.Abs(float64(got[i]) - float64(w)); !(d <= limit) {
				t.Errorf("%v: [%d, %d] becomes %v, was %v", typ, i/512, i%512, got[i], w)
				break
			}
		}
	}
}

func randomTensor(rng *rand.Rand, typ weights.Type, rows, cols int) weights.Tensor {
	numbers := make([]float32, rows*cols)
	for i := range numbers {
		numbers[i] = float32(rng.NormFloat64())
	}
	return weights.Tensor{Name: "m", Type: weights.F32, Shape: []int{rows, cols}, Data: bytesOf(numbers)}.As(typ)
}

// Memory that ran out after types became wider is a reason to compute on the CPU; without, it is not.
func TestTooWide(t *testing.T) {
	full := error(&Error{Code: outOfMemory})
	if err := (&Backend{}).TooWide(full, false); errors.Is(err, ErrUnsupported) {
		t.Errorf("nothing is wider, but: %v", err)
	}
	b := &Backend{widened: 5 << 20}
	if err := b.TooWide(full, false); !errors.Is(err, ErrUnsupported) || strings.Contains(err.Error(), "fp8") {
		t.Errorf("no weights are bf16: %v", err)
	}
	b.halves = true
	err := b.TooWide(full, false)
	if !errors.Is(err, ErrUnsupported) || !errors.Is(err, full) || !strings.Contains(err.Error(), "by 5 MiB") || !strings.Contains(err.Error(), "use --device cpu, or --gpu-weights fp8") {
		t.Errorf("out of memory: %v", err)
	}
	other := errors.New("other")
	if b.TooWide(other, false) != other {
		t.Error("an error that has nothing to do with memory is changed")
	}
	if planned := b.TooWide(other, true); !errors.Is(planned, ErrUnsupported) || !errors.Is(planned, other) {
		t.Errorf("a plan without room: %v", planned)
	} else if b.TooWide(planned, true) != planned {
		t.Error("what has been said is said again")
	}
}
