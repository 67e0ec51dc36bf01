//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"bytes"
	"unsafe"
)

// graphs replays steps that were seen before. A step whose sequences have one row
// each is the same list of kernels for every step of its bucket (1, 2, 4, 8, ... rows):
// what changes is in the metadata.
//
// The first step of a bucket runs kernel by kernel and is recorded. Its list is
// then captured as a graph and run again on the same batch: a step may be computed
// twice, since it writes what it wrote. Only if both gave the same bits, in rows from all
// over the batch, the graph is
// used from then on; else never again in this process.
type graphs struct {
	eager  bool
	mode   mode
	bucket int
	made   map[graphKey]*graph
	record []started
	calls  int // in this step

	// Refused counts graphs that gave other bits than their steps.
	Refused int
}

// graphKey is what steps have in common that one graph serves: their bucket of rows, and how deep
// they are, since attention of long sequences is divided into other parts.
type graphKey struct{ bucket, depth int }

type mode uint8

const (
	direct    mode = iota // launch
	recording             // launch, and note for a graph
	replaying             // the graph does it
)

// graph is a recorded step.
type graph struct {
	exec  uintptr
	calls int
}

// started is a recorded launch.
type started struct {
	k          *kernel
	gx, gy, gz int
	threads    int
	shared     int
	args       []uint64 // 8-byte words, so that they are aligned
}

// bucketOf is the number of rows that a step of n rows is computed for.
func bucketOf(n, most int) int {
	b := 1
	for b < n {
		switch {
		case b < 16:
			b *= 2
		case b < 64:
			b += 16
		default:
			b += 64
		}
	}
	return min(b, most)
}

// begin decides what becomes of the step that begins.
func (g *graphs) begin(s *stream) {
	g.calls, g.record, g.mode = 0, g.record[:0], direct
	if g.eager || s.plan.Varied || !s.batch.decode || s.batch.wants != s.batch.rows || s.batch.rows > s.plan.LogitRows {
		return
	}
	g.bucket = bucketOf(s.batch.rows, min(s.plan.Rows, s.plan.LogitRows, s.plan.Seqs))
	if g.made[g.key(s)] != nil {
		g.mode = replaying
	} else {
		g.mode = recording
	}
}

func (g *graphs) key(s *stream) graphKey { return graphKey{g.bucket, s.batch.depth} }

// restart drops all graphs and lets the current step go on without: an address in
// them has changed.
func (g *graphs) restart(s *stream) {
	g.drop(s.device)
	g.mode = direct
}

// rows is how many rows kernels are started for.
func (g *graphs) rows(s *stream, n int) int {
	if g.mode == direct || n == 0 {
		return n
	}
	return g.bucket
}

// launch starts a kernel, notes it, or leaves it to the graph.
func (g *graphs) launch(s *stream, k *kernel, gx, gy, gz, threads, shared int, a unsafe.Pointer, size uintptr) error {
	g.calls++
	switch g.mode {
	case replaying:
		return nil
	case recording:
		words := make([]uint64, (size+7)/8)
		copy(bytesOf(words), unsafe.Slice((*byte)(a), size))
		g.record = append(g.record, started{k, gx, gy, gz, threads, shared, words})
	}
	return s.launch.launch(k, gx, gy, gz, threads, shared, a)
}

// finish runs the graph, or makes one of what was recorded.
func (g *graphs) finish(s *stream) {
	if s.err != nil {
		return
	}
	switch g.mode {
	case replaying:
		made := g.made[g.key(s)]
		if made.calls != g.calls {
			panic("cuda: a step of a recorded bucket made other calls than the recorded one")
		}
		s.fail(s.device.call(cuGraphLaunch, made.exec, s.launch.queue))
	case recording:
		s.fail(g.make(s))
	}
}

// make captures the recorded step and tries it out.
func (g *graphs) make(s *stream) error {
	want, err := g.logits(s)
	if err != nil {
		return err
	}
	exec, err := g.capture(s)
	if err != nil {
		// The step itself is done. Without graphs it is slower, not wrong.
		g.eager = true
		return s.launch.wait()
	}
	if err := s.clear(s.logits, int64(s.batch.wants*s.plan.Vocab*4)); err != nil {
		return err
	}
	if err := s.device.call(cuGraphLaunch, exec, s.launch.queue); err != nil {
		return err
	}
	got, err := g.logits(s)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		g.Refused++
		g.eager = true
		return g.again(s)
	}
	if g.made == nil {
		g.made = map[graphKey]*graph{}
	}
	g.made[g.key(s)] = &graph{exec: exec, calls: g.calls}
	return nil
}

// tried is how many rows of logits are compared when a graph is tried out, the first and the
// last among them: of a thousand rows all would be half a gigabyte, twice, while
// everybody waits.
const tried = 16

// logits waits for the step's logits and brings some rows here.
func (g *graphs) logits(s *stream) ([]byte, error) {
	if err := s.launch.wait(); err != nil {
		return nil, err
	}
	n, last := s.plan.Vocab*4, s.batch.wants-1
	rows := min(s.batch.wants, tried)
	some := make([]byte, rows*n)
	for i := range rows {
		if err := s.device.download(some[i*n:(i+1)*n], s.logits+pointer(i*last/max(rows-1, 1)*n)); err != nil {
			return nil, err
		}
	}
	return some, nil
}

// again runs the recorded launches one by one.
func (g *graphs) again(s *stream) (err error) {
	for i := range g.record {
		r := &g.record[i]
		if err == nil {
			err = s.launch.launch(r.k, r.gx, r.gy, r.gz, r.threads, r.shared, unsafe.Pointer(&r.args[0]))
		}
	}
	return err
}

// capture makes a graph of the recorded launches.
func (g *graphs) capture(s *stream) (exec uintptr, err error) {
	const relaxed = 2
	if err := s.device.call(cuStreamBeginCapture, s.launch.queue, relaxed); err != nil {
		return 0, err
	}
	err = g.again(s)
	var made uintptr
	if end := s.device.call(cuStreamEndCapture, s.launch.queue, uintptr(unsafe.Pointer(&made))); err == nil {
		err = end
	}
	if err == nil {
		err = s.device.call(cuGraphInstantiate, uintptr(unsafe.Pointer(&exec)), made, 0)
	}
	if made != 0 {
		s.device.call(cuGraphDestroy, made)
	}
	return exec, err
}

// drop forgets all graphs.
func (g *graphs) drop(v *device) {
	for _, m := range g.made {
		v.call(cuGraphExecDestroy, m.exec)
	}
	g.made = nil
}
