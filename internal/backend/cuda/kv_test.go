//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"strings"
	"testing"

	"weir/internal/backend"
)

// What the GPU does not keep is refused by name, with what to use.
func TestKVRefused(t *testing.T) {
	spec := func(typ backend.KVType, dim int) backend.KVSpec {
		return backend.KVSpec{Type: typ, PageSize: 16, Groups: []backend.KVGroup{{Layers: []int{0}, Heads: 1, HeadDim: dim}}, Pages: []int{4}}
	}
	for typ := range keptAs {
		if err := checkKV(spec(typ, 128)); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
	}
	for _, c := range []struct {
		spec backend.KVSpec
		want string
	}{
		{spec(backend.KVQ4, 128), "KV cache type q4_0 is not supported on the GPU; use f16, bf16, fp8, q8_0 or f32"},
		{spec(backend.KVQ8, 96), "q8_0 on the GPU needs heads of a multiple of 64 elements, the model's have 96"},
		{spec(backend.KVE4M3, 260), "heads of 260 elements are not supported on the GPU"},
	} {
		if err := checkKV(c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.spec.Type, err)
		}
	}
	// Planning counts at least what is allocated.
	for typ := range keptAs {
		k := &kvCache{spec: spec(typ, 128)}
		if got, planned := 2*(k.cellBytes(0)+k.scaleBytes(0)), k.spec.Groups[0].TokenBytes(typ); int64(got) != planned {
			t.Errorf("%v: a token takes %d bytes, planned are %d", typ, got, planned)
		}
	}
}
