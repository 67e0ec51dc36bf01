package engine

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/kv"
)

var eightB = []backend.KVGroup{{Layers: make([]int, 32), Heads: 8, HeadDim: 128}}

func planned() PlanInput {
	return PlanInput{
		Budget: 16 << 30, BudgetFrom: "85% of 18.8 GiB", ModelBytes: 5 << 30, Scratch: 100 << 20,
		Groups: eightB, KVType: backend.KVF16, PageSize: 16, Chunk: 256, Running: 64, ModelCtx: 131072,
	}
}

func TestPlanFitsTheContext(t *testing.T) {
	p, err := PlanMemory(planned())
	if err != nil {
		t.Fatal(err)
	}
	// 10.9 GiB at 128 KiB a token.
	if p.Context < 88000 || p.Context > 90000 || p.Sequences < 1 {
		t.Errorf("context %d, %.2f sequences", p.Context, p.Sequences)
	}
	for _, want := range []string{"85% of 18.8 GiB", "the model allows 131072; memory does not", "128.0 KiB a token"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("the block does not say %q:\n%s", want, p)
		}
	}
}

func TestPlanRefusesWithWhatWouldFit(t *testing.T) {
	in := planned()
	in.Context, in.KVType = 100000, backend.KVF32
	_, err := PlanMemory(in)
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "a context of 44") || !strings.Contains(err.Error(), "--kv-type f16") {
		t.Errorf("got %v", err)
	}
	in.Context = 44000
	if p, err := PlanMemory(in); err != nil || p.Context != 44000 {
		t.Errorf("what it said would fit: %v", err)
	}
	in.Budget = 4 << 30
	if _, err := PlanMemory(in); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "the model does not fit") {
		t.Errorf("got %v", err)
	}
	in = planned()
	in.Budget = 5<<30 + 120<<20
	if _, err := PlanMemory(in); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "no useful context fits") {
		t.Errorf("got %v", err)
	}
}

// TestPlanHolds: whatever is planned stays within the budget, and the pools hold
// at least one sequence of the planned length: without that the scheduler could
// not promise to advance.
func TestPlanHolds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	for range 2000 {
		in := planned()
		in.Budget = rng.Int64N(40 << 30)
		in.PageSize, in.Chunk, in.Running = 1+rng.IntN(64), 1+rng.IntN(512), 1+rng.IntN(64)
		in.Context = rng.IntN(2) * (1 + rng.IntN(200000))
		in.Groups = []backend.KVGroup{{Layers: make([]int, 1+rng.IntN(40)), Heads: 1 + rng.IntN(8), HeadDim: 64}}
		if rng.IntN(2) == 0 {
			in.Groups = append(in.Groups, backend.KVGroup{Layers: make([]int, 1+rng.IntN(40)), Heads: 4, HeadDim: 64, Window: 1 + rng.IntN(8192)})
		}
		p, err := PlanMemory(in)
		if err != nil {
			continue
		}
		if used := in.ModelBytes + in.Scratch + p.KV.Bytes(); used > in.Budget {
			t.Fatalf("%+v: %d used of %d", in, used, in.Budget)
		}
		if got := kv.New(in.PageSize, kvGroups(p.KV)).Capacity(in.Chunk); got < p.Context {
			t.Fatalf("%+v: context %d but the pools hold %d", in, p.Context, got)
		}
	}
}
