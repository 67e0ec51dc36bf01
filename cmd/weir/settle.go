package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/backend/cuda"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/weights"
)

// Decode is as fast as memory is read: so BF16 weights are kept in fewer bytes, and some processors read large pages
// faster than the small ones that many files are mapped in. Copying takes longer than a warm start should, so a server does it once it answers.

// settling puts weights elsewhere behind an engine that runs. Its zero value does nothing.
type settling struct {
	stop context.CancelFunc
	work sync.WaitGroup
}

// begin does it beside its caller.
func (s *settling) begin(do func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.work.Go(func() { do(ctx) })
}

// end returns when nothing is put anywhere any more.
func (s *settling) end() {
	if s.stop != nil {
		s.stop()
		s.work.Wait()
	}
}

// settle begins to put an engine's weights where a processor reads them, as --load says.
func (o *opened) settle(load string, p *portion, log func(msg string, args ...any)) {
	if _, ok := o.backend.(*cuda.Backend); ok {
		notOnGPU(load, log)
		return
	}
	files := []*weights.File{o.file}
	if o.drafts != nil {
		files = append(files, o.drafts)
	}
	reserve := planned(o.plan)
	if p != nil {
		reserve = int64(p.loaded)*reserve + p.largest - p.weights
	}
	o.settling.begin(func(ctx context.Context) { settle(ctx, load, o.backend, reserve, log, files...) })
}

// settle puts weights where a processor reads them, as --load says. Reserve bytes of memory are left.
func settle(ctx context.Context, load string, b backend.Backend, reserve int64, log func(msg string, args ...any), files ...*weights.File) {
	if c, ok := b.(*cpu.Backend); ok && load == "compact" {
		compact(ctx, c, reserve, log, files)
	}
	enlarge(ctx, load, reserve, log, files...)
}

// compact keeps the backend's BF16 matrices in fewer bytes, lets go of the files' pages, and tells what came of it.
// What is not mapped, such as numbers made of another type, would take memory twice; random weights may.
func compact(ctx context.Context, b *cpu.Backend, reserve int64, log func(msg string, args ...any), files []*weights.File) {
	machine, began, missing := host.New("/"), time.Now(), int64(0)
	fits := func(data []byte, size int64) bool {
		have, err := machine.Memory()
		if err != nil || !slices.ContainsFunc(files, func(f *weights.File) bool { return f.Maps(data) || len(f.Paths()) == 0 }) {
			return false
		}
		missing = max(missing, size+reserve-have.Available())
		return missing == 0
	}
	done := func(data []byte) {
		for _, f := range files {
			f.Rest(data)
		}
	}
	c, err := b.Compact(ctx, fits, done)
	if c.Matrices > 0 {
		log("BF16 weights are compact", "matrices", c.Matrices, "of", c.Matrices+c.Left, "bytes", host.Bytes(c.From), "now", host.Bytes(c.To), "took", time.Since(began).Round(time.Millisecond))
	}
	switch {
	case err != nil:
		log("BF16 weights stay as the file has them", "reason", err)
	case missing > 0:
		log("BF16 weights stay as the file has them: memory has no room to keep them in fewer bytes", "matrices", c.Left, "missing", host.Bytes(missing))
	}
}

// notOnGPU tells who asked for large pages that they would be of no use.
func notOnGPU(load string, log func(msg string, args ...any)) {
	if load == "large" {
		log("weights are not copied into large pages: the GPU computes with a copy in its own memory")
	}
}

// planned is what a plan wants of memory besides the model's weights.
func planned(p engine.MemoryPlan) int64 {
	return p.KV.Bytes() + p.In.Scratch + p.In.Drafting + p.DraftKV.Bytes()
}

// enlarge copies the files' weights into large pages if --load is large and memory has room for
// them and for reserve bytes besides, and tells what came of it.
func enlarge(ctx context.Context, load string, reserve int64, log func(msg string, args ...any), files ...*weights.File) {
	if load != "large" {
		return
	}
	machine := host.New("/")
	if !machine.LargePages() {
		log("weights stay in small pages: the system has no large ones for programs that ask (transparent huge pages)")
		return
	}
	began, missing := time.Now(), int64(0)
	fits := func(left int64) bool {
		have, err := machine.Memory()
		if err == nil {
			missing = left + reserve - have.Available()
		}
		return err == nil && missing <= 0
	}
	copied, failed := int64(0), false
	for _, f := range files {
		n, err := f.Enlarge(ctx, fits)
		copied += n
		if failed = failed || err != nil; err != nil {
			log("weights stay in small pages", "model", f.Name(), "reason", err)
		}
	}
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case missing > 0:
		log("weights stay in the file's small pages: memory has no room for a copy", "copied", host.Bytes(copied), "missing", host.Bytes(missing), "took", took)
	case copied > 0:
		log("weights are in large pages", "copied", host.Bytes(copied), "took", took)
	case !failed && ctx.Err() == nil:
		log("no weights are copied: they are in large pages or too small for one")
	}
}
