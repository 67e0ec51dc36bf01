package main

import (
	"context"
	"sync"
	"time"

	"weir/internal/backend/cuda"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/weights"
)

// Decode is as fast as memory is read, and some processors read large pages faster than the small ones that many
// files are mapped in. Copying takes longer than a warm start should, so a server does it once it answers.

// settling copies weights behind an engine that runs. Its zero value does nothing.
type settling struct {
	stop context.CancelFunc
	work sync.WaitGroup
}

// begin copies the files' weights into large pages, if --load is large.
func (s *settling) begin(load string, reserve int64, log func(msg string, args ...any), files ...*weights.File) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.work.Go(func() { enlarge(ctx, load, reserve, log, files...) })
}

// end returns when nothing is copied any more.
func (s *settling) end() {
	if s.stop != nil {
		s.stop()
		s.work.Wait()
	}
}

// settle begins to copy an engine's weights where a processor reads them.
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
	o.settling.begin(load, reserve, log, files...)
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
