package engine

import (
	"errors"
	"fmt"
	"strings"

	"weir/internal/backend"
)

// PlanInput is what memory planning decides from. It is told a budget; it never
// asks the machine, so that several models can share one.
type PlanInput struct {
	Budget     int64  // bytes that this model may use in all
	BudgetFrom string // where the budget comes from, for people
	ModelBytes int64
	Scratch    int64 // activations, logits
	Groups     []backend.KVGroup
	Drafting   int64             // weights and scratch of what drafts
	DraftKV    []backend.KVGroup // the layers of a draft model, which keeps up with each sequence
	KVType     backend.KVType
	PageSize   int
	Chunk      int // most positions of one sequence in a step
	Running    int // sequences that should fit at full length, if memory allows
	ModelCtx   int // the longest context that the model was made for
	Context    int // asked for by the user; 0: as much of ModelCtx as fits
}

// MemoryPlan is what came of it.
type MemoryPlan struct {
	In      PlanInput
	Context int
	KV      backend.KVSpec
	DraftKV backend.KVSpec
	// Sequences is how many sequences of full length fit at once.
	Sequences float64
}

// minContext is the shortest context worth serving.
const minContext = 256

// ErrNoRoom is what errors of PlanMemory are.
var ErrNoRoom = errors.New("no room")

// roomError says in words of its own that there is no room.
type roomError struct{ text string }

func (e *roomError) Error() string        { return e.text }
func (e *roomError) Is(target error) bool { return target == ErrNoRoom }

func noRoom(format string, args ...any) (MemoryPlan, error) {
	return MemoryPlan{}, &roomError{fmt.Sprintf(format, args...)}
}

// PlanMemory fits the context and the KV cache into the budget, or says what
// would fit.
func PlanMemory(in PlanInput) (MemoryPlan, error) {
	left := in.Budget - in.ModelBytes - in.Scratch - in.Drafting
	least := min(minContext, in.ModelCtx)
	if left <= 0 {
		return noRoom("the model does not fit: it needs %s (weights %s, scratch %s, KV cache for a context of %d), but the budget is %s, %s; use a smaller or more strongly quantised model, free memory, or raise --memory",
			size(in.Needs(least)), size(in.ModelBytes), size(in.Scratch), least, size(in.Budget), in.BudgetFrom)
	}
	most := in.longest(left)
	ctx := in.Context
	if ctx == 0 {
		ctx = min(in.ModelCtx, most)
	}
	if most < least && (in.Context == 0 || in.Context > most) {
		return noRoom("no useful context fits: the budget is %s, %s, which leaves %s for the KV cache, room for %d tokens%s; a context of %d needs %s in all: use a smaller model, free memory, or raise --memory",
			size(in.Budget), in.BudgetFrom, size(left), most, in.cheaper(), least, size(in.Needs(least)))
	}
	if ctx > most {
		return noRoom("a context of %d tokens needs %s in all, %s of it for the KV cache, but the budget is %s, %s; a context of %d fits%s, or raise --memory",
			ctx, size(in.Needs(ctx)), size(in.bytesFor(ctx)), size(in.Budget), in.BudgetFrom, most, in.cheaper())
	}
	return in.fill(ctx, left), nil
}

// Needs is what serving takes in all with a context of n: room for one sequence
// of that length.
func (in PlanInput) Needs(n int) int64 {
	return in.ModelBytes + in.Scratch + in.Drafting + in.bytesFor(n)
}

func (in PlanInput) cheaper() string {
	switch in.KVType {
	case backend.KVF32:
		return " (--kv-type f16 halves what a token takes)"
	case backend.KVF16, backend.KVBF16:
		for _, g := range in.Groups { // blocks of narrow heads are mostly filling
			if 10*g.TokenBytes(backend.KVQ8) > 6*g.TokenBytes(in.KVType) {
				return ""
			}
		}
		return " (--kv-type q8_0 takes about half as much for a token)"
	}
	return ""
}

// pagesFor is the pages of group g that one sequence of n positions needs.
func (in PlanInput) pagesFor(g backend.KVGroup, n int) int64 {
	if g.Window > 0 {
		n = min(n, g.Window+in.Chunk+in.PageSize)
	}
	return int64((n+in.PageSize-1)/in.PageSize) + 1 // one for a fork's copy
}

func (in PlanInput) pageBytes(g backend.KVGroup) int64 {
	return int64(in.PageSize) * g.TokenBytes(in.KVType)
}

// bytesFor is what one sequence of n positions takes.
func (in PlanInput) bytesFor(n int) int64 {
	var sum int64
	for _, g := range in.Groups {
		sum += in.pagesFor(g, n) * in.pageBytes(g)
	}
	for _, g := range in.DraftKV {
		sum += in.pagesFor(g, n) * in.pageBytes(g)
	}
	return sum
}

// longest is the longest sequence that fits into left bytes, at most ModelCtx
// or what the user asked for.
func (in PlanInput) longest(left int64) int {
	lo, hi := 0, max(in.ModelCtx, in.Context)
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if in.bytesFor(mid) <= left {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// fill sizes the pools: room for Running sequences of full length if the budget
// has it, else for as much as it has. Groups grow in proportion.
func (in PlanInput) fill(ctx int, left int64) MemoryPlan {
	one := in.bytesFor(ctx)
	share := min(float64(in.Running), float64(left)/float64(one))
	pools := func(groups []backend.KVGroup) backend.KVSpec {
		spec := backend.KVSpec{Type: in.KVType, PageSize: in.PageSize, Groups: groups}
		for _, g := range groups {
			spec.Pages = append(spec.Pages, int(share*float64(in.pagesFor(g, ctx))))
		}
		return spec
	}
	return MemoryPlan{In: in, Context: ctx, KV: pools(in.Groups), DraftKV: pools(in.DraftKV), Sequences: share}
}

// String is the block that weir prints at start.
func (p MemoryPlan) String() string {
	var b strings.Builder
	kv := p.KV.Bytes()
	line := func(what, bytes, note string) {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-10s %10s   %s", what, bytes, note), " "))
	}
	fmt.Fprintf(&b, "memory\n")
	line("budget", size(p.In.Budget), p.In.BudgetFrom)
	line("model", size(p.In.ModelBytes), "weights")
	line("KV cache", size(kv), fmt.Sprintf("%s, %s a token, pages of %d tokens", p.In.KVType, size(p.tokenBytes()), p.In.PageSize))
	line("scratch", size(p.In.Scratch), "activations and logits")
	drafting := p.In.Drafting + p.DraftKV.Bytes()
	if drafting > 0 {
		line("drafting", size(drafting), "weights, KV cache and scratch of what guesses ahead")
	}
	line("left", size(p.In.Budget-p.In.ModelBytes-kv-p.In.Scratch-drafting), "")
	fmt.Fprintf(&b, "  context    %10d   tokens a sequence%s\n", p.Context, p.contextNote())
	fmt.Fprintf(&b, "  capacity   %s\n", p.capacity())
	return b.String()
}

func (p MemoryPlan) capacity() string {
	if p.Sequences >= float64(p.In.Running) {
		return fmt.Sprintf("%10d   sequences at once, each of that length (--max-running)", p.In.Running)
	}
	return fmt.Sprintf("%10.1f   sequences of that length at once; of shorter ones, up to %d", p.Sequences, p.In.Running)
}

func (p MemoryPlan) contextNote() string {
	switch {
	case p.Context < p.In.ModelCtx && p.In.Context == 0:
		return fmt.Sprintf(" (the model allows %d; memory does not)", p.In.ModelCtx)
	case p.Context < p.In.ModelCtx:
		return fmt.Sprintf(" (as asked; the model allows %d)", p.In.ModelCtx)
	case p.Context > p.In.ModelCtx:
		return fmt.Sprintf(" (as asked; beyond the %d that the model was made for, quality will suffer)", p.In.ModelCtx)
	}
	return " (all that the model allows)"
}

func (p MemoryPlan) tokenBytes() int64 {
	var n int64
	for _, g := range p.In.Groups {
		n += g.TokenBytes(p.In.KVType)
	}
	return n
}

// size writes bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, u := float64(n), 0
	for (f >= 1024 || f <= -1024) && u < len(units)-1 {
		f /= 1024
		u++
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[u])
}
