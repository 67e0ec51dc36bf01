package draft

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/model"
	"weir/internal/spec"
	"weir/internal/weights"
)

// Eagle proposes with a layer that goes on in the model's own hidden states: from
// the state at a position and the token that was drawn there it makes the state at
// the next, and its logits by an output matrix. Heads of EAGLE-1 and -2 (which
// differ in how trees are drafted, not in what is trained) and of EAGLE-3 are read.
//
//	EAGLE-1, -2   x = fc[embedding(token), state]; a Llama layer without its first
//	              norm; the model's output matrix
//	EAGLE-3       x = fc[state after 2, half and all but 3 layers]; a Llama layer whose
//	              queries, keys and values see [norm(embedding(token)), norm(x)]; an own
//	              norm and output matrix over an own, smaller vocabulary (d2t)
//
// The layer attends to the positions whose states it has seen: all of a sequence,
// but for what the prefix cache had; there it begins after that.
type Eagle struct {
	backend backend.Backend
	config  model.Config // of the layer
	ends    model.Ends   // of the model
	three   bool
	layers  int // of the model
	vocab   int // of the model
	toModel []int32
	bytes   int64
	w       eagleWeights
	act     eagleActs
	rope    *backend.Rope
	attend  backend.Attention

	limits Limits
	layout backend.KVSpec
	stream backend.Stream
	host   backend.HostActs
	store  backend.KV
	cache  *kv.Cache
	batch  backend.Batch
	rows   []eagleRow
	jobs   []eagleJob
	wide   []float32 // [vocab] logits by the model's ids
	err    error
}

// eagleState is what is known of a sequence.
type eagleState struct {
	kv      kv.Seq
	base    int         // position of the layer's first row
	done    int         // rows computed from the model's own states
	rows    int         // rows computed in all: guesses come after
	pending [][]float32 // states of the positions base+done on; [taps*width] each
	ahead   []int32     // guesses that the sampler has been told of
}

// eagleRow is a row of a batch: a token, and the state before it.
type eagleRow struct {
	token int32
	state []float32 // of the model, [taps*width], or the layer's own, [width]
}

type eagleJob struct {
	ask      *spec.Ask
	st       *eagleState
	at, spot int
	said     int
	rows     []int     // in the batch, whose logits are wanted
	thoughts *thoughts // of a greedy sequence; nil: it has the shape
	open     []int     // nodes of them that the rows belong to
}

// pendingRows is how many states may wait before the layer sees them.
const pendingRows = 64

// Taps lists the layers of a model whose inputs the heads read; see model.Hidden.
func (e *Eagle) Taps() []int {
	if e.three {
		return []int{2, e.layers / 2, e.layers - 3}
	}
	return []int{e.layers}
}

// LoadEagle binds heads for a model. f must stay open until the backend is closed.
func LoadEagle(f *weights.File, config []byte, b backend.Backend, m model.Model) (*Eagle, error) {
	hidden, ok := m.(model.Hidden)
	if !ok {
		return nil, fmt.Errorf("%s: this family of models does not show its hidden states, which EAGLE heads read", f.Name())
	}
	e := &Eagle{backend: b, ends: hidden.Ends(), layers: m.Config().Layers, vocab: m.Config().Vocab}
	if err := e.load(f, config, m.Config()); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	hidden.Tap(e.Taps())
	return e, nil
}

func (e *Eagle) load(f *weights.File, config []byte, m model.Config) (err error) {
	if config == nil {
		return errors.New("there is no config.json beside the heads, which says what they are: put it there")
	}
	if e.config, err = model.HeadConfig(config); err != nil {
		return err
	}
	var more struct {
		Draft int `json:"draft_vocab_size"`
	}
	if err := json.Unmarshal(config, &more); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	_, e.three = f.Tensor("midlayer.self_attn.q_proj.weight")
	c := e.config
	switch {
	case c.Width != m.Width:
		return fmt.Errorf("the heads are for a model of width %d; this one has %d: get heads that were trained on this model", c.Width, m.Width)
	case c.Vocab != m.Vocab:
		return fmt.Errorf("the heads are for a model of %d tokens; this one has %d: get heads that were trained on this model", c.Vocab, m.Vocab)
	case c.Layers != 1:
		return fmt.Errorf("config.json says %d layers; EAGLE heads have one", c.Layers)
	case e.three && m.Layers < 6:
		return fmt.Errorf("EAGLE-3 heads read three layers of a model; this one has %d in all", m.Layers)
	}
	e.rope = model.NewRope(c, nil)
	e.attend = backend.Attention{Heads: c.Heads, Scale: float32(1 / math.Sqrt(float64(c.HeadDim)))}
	return e.bind(f, more.Draft)
}

// KVGroups lists the layer, for planning memory.
func (e *Eagle) KVGroups() []backend.KVGroup {
	return []backend.KVGroup{{Layers: []int{0}, Heads: e.config.KVHeads, HeadDim: e.config.HeadDim}}
}

// Bytes is what the heads take.
func (e *Eagle) Bytes() int64 { return e.bytes }

// Allowed are the shapes that they can draft.
func (e *Eagle) Allowed() spec.Tree { return spine(3) }

// Name implements spec.Proposer.
func (e *Eagle) Name() string { return "eagle" }

// Start allocates what they compute with.
func (e *Eagle) Start(l Limits, layout backend.KVSpec) error {
	e.limits, e.layout = l, layout
	return e.start()
}

func (e *Eagle) start() error {
	store, err := e.backend.NewKV(e.layout)
	if err != nil {
		return fmt.Errorf("allocating the heads' KV cache: %w", err)
	}
	stream, err := e.backend.NewStream(e.Plan(e.limits))
	if err != nil {
		store.Close()
		return fmt.Errorf("allocating the heads' scratch memory: %w", err)
	}
	host, ok := stream.(backend.HostActs)
	if !ok {
		stream.Close()
		store.Close()
		return fmt.Errorf("the %s backend does not show hidden states, which EAGLE heads read: use another --speculate", e.backend.Info().Name)
	}
	e.store, e.stream, e.host = store, stream, host
	e.cache = kv.New(e.layout.PageSize, []kv.Group{{Pages: e.layout.Pages[0]}})
	e.wide = make([]float32, e.vocab)
	return nil
}

// Close implements spec.Proposer.
func (e *Eagle) Close() error {
	if e.stream == nil {
		return nil
	}
	err := errors.Join(e.stream.Close(), e.store.Close())
	e.stream = nil
	return err
}

// Reset implements spec.Proposer: books and device memory are made anew.
func (e *Eagle) Reset() error {
	e.err = errReset
	e.jobs = e.jobs[:0]
	if err := e.Close(); err != nil {
		return err
	}
	if err := e.start(); err != nil {
		return err
	}
	e.err = nil
	return nil
}

// Forget implements spec.Proposer.
func (e *Eagle) Forget(a *spec.Ask) {
	if st, ok := a.State.(*eagleState); ok {
		e.cache.Release(&st.kv)
	}
	a.State = nil
}

// Held is the number of pages that sequences hold, for tests.
func (e *Eagle) Held() int { return e.cache.Pages(0) - e.cache.FreePages(0) }

// Observe implements spec.Watcher: it takes the states of positions from on, which
// are final, for rows of the model's batch. A gap to what came before makes the
// layer begin anew.
func (e *Eagle) Observe(a *spec.Ask, from int, rows []int, read func(tap, row int) []float32) {
	st, ok := a.State.(*eagleState)
	if !ok {
		st = &eagleState{base: from}
		a.State = st
	}
	if from != st.base+st.done+len(st.pending) {
		e.cache.Release(&st.kv)
		st.base, st.done, st.rows, st.pending = from, 0, 0, st.pending[:0]
	}
	for _, r := range rows {
		var state []float32
		for tap := range e.Taps() {
			state = append(state, read(tap, r)...)
		}
		st.pending = append(st.pending, state)
		if len(st.pending) > pendingRows && e.err == nil {
			e.begin()
			e.see(a, st, len(st.pending)-1)
			e.forward(true)
		}
		if len(st.pending) > 2*pendingRows { // no room: begin anew
			e.cache.Release(&st.kv)
			st.base += st.done + len(st.pending)
			st.done, st.rows, st.pending = 0, 0, st.pending[:0]
		}
	}
}

// see adds the first n pending states of a sequence to the batch, each with the
// token that follows it, as far as there is room. It returns how many.
func (e *Eagle) see(a *spec.Ask, st *eagleState, n int) int {
	e.cache.Truncate(&st.kv, st.done)
	st.rows = st.done
	n = min(n, e.limits.Rows-len(e.rows), len(a.Tokens)-1-st.base-st.done)
	if n < 1 || st.base+st.done+n+spec.MaxDepth > e.limits.Context || !e.cache.Grow(&st.kv, st.done+n) {
		return 0
	}
	for i, state := range st.pending[:n] {
		e.rows = append(e.rows, eagleRow{a.Tokens[st.base+st.done+i+1], state})
	}
	e.add(st, n)
	st.pending = slices.Delete(st.pending, 0, n)
	st.done += n
	return n
}

// Behind implements spec.Reader.
func (e *Eagle) Behind(a *spec.Ask) int {
	if st, ok := a.State.(*eagleState); ok {
		return len(st.pending)
	}
	return 0
}

// Propose implements spec.Proposer.
func (e *Eagle) Propose(asks []*spec.Ask) {
	if e.err != nil {
		return
	}
	e.begin()
	e.jobs = e.jobs[:0]
	for _, a := range asks {
		st, ok := a.State.(*eagleState)
		if !ok || len(st.pending) == 0 {
			continue
		}
		all := len(st.pending)
		if n := e.see(a, st, all); n > 0 && n == all && st.base+st.done == len(a.Tokens)-1 {
			j := eagleJob{ask: a, st: st, at: spec.Root, spot: spec.Root, open: []int{spec.Root}}
			if a.Sampler.Greedy() {
				j.thoughts = &thoughts{size: a.Shape.Len(), depth: a.Shape.MaxDepth()}
			}
			e.want(&j, len(e.rows)-1)
			e.jobs = append(e.jobs, j)
		}
	}
	logits := e.forward(true)
	for len(e.jobs) > 0 && e.err == nil {
		logits = e.extend(logits)
	}
	for _, a := range asks {
		if st, ok := a.State.(*eagleState); ok {
			for n := len(st.ahead); n > 0; n-- {
				a.Sampler.Retract(st.ahead[n-1])
			}
			st.ahead = st.ahead[:0]
		}
	}
}

// extend adds to each draft what its logits say, and computes the rows that follow,
// each from the layer's own state.
func (e *Eagle) extend(logits [][]float32) [][]float32 {
	var going []eagleJob
	var rows []eagleRow // of those that go on in a chain
	for _, j := range e.jobs {
		mine := logits[:len(j.rows)]
		logits = logits[len(j.rows):]
		var row eagleRow
		switch {
		case j.thoughts != nil && e.ponder(&j, mine):
		case j.thoughts == nil && e.guess(&j, mine[0]):
			row = eagleRow{j.ask.Draft.Token[j.at], slices.Clone(e.host.ReadAct(e.act.x, j.rows[0]))}
		default:
			continue
		}
		rows, going = append(rows, row), append(going, j)
	}
	e.jobs = e.jobs[:0]
	e.begin()
	for i, j := range going {
		if j.thoughts != nil && e.branch(&j) || j.thoughts == nil && e.follow(&j, rows[i]) {
			e.jobs = append(e.jobs, j)
		}
	}
	return e.forward(false)
}

// follow puts the row after a job's last into the batch, if there is room.
func (e *Eagle) follow(j *eagleJob, row eagleRow) bool {
	if !e.cache.Grow(&j.st.kv, j.st.rows+1) {
		return false
	}
	e.rows = append(e.rows, row)
	e.add(j.st, 1)
	j.rows = j.rows[:0]
	e.want(j, len(e.rows)-1)
	return true
}

// want has the batch give the logits of a job's row.
func (e *Eagle) want(j *eagleJob, row int) {
	j.rows = append(j.rows, row)
	e.batch.Want = append(e.batch.Want, int32(row))
}

// guess is Model's, over the heads' own vocabulary.
func (e *Eagle) guess(j *eagleJob, logits []float32) bool {
	a := j.ask
	spot := a.Shape.Child(j.spot, 0)
	if spot < 0 {
		return false
	}
	logits = e.spread(logits)
	id, ok := a.Sampler.Guess(logits, a.Said()+j.said)
	if !ok {
		return false
	}
	at := a.Draft.Add(j.at, id)
	for rank := int32(1); a.Shape.Child(j.spot, rank) >= 0; rank++ {
		logits[id] = lowest
		if id = best(logits); id < 0 {
			break
		}
		a.Draft.Add(j.at, id)
	}
	j.at, j.spot, j.said = at, spot, j.said+1
	if a.Shape.Child(spot, 0) < 0 {
		return false
	}
	a.Sampler.Accept(a.Draft.Token[at])
	j.st.ahead = append(j.st.ahead, a.Draft.Token[at])
	return true
}

// spread gives logits their places in the model's vocabulary.
func (e *Eagle) spread(logits []float32) []float32 {
	if e.toModel == nil {
		return logits
	}
	for i := range e.wide {
		e.wide[i] = lowest
	}
	for i, id := range e.toModel {
		e.wide[id] = logits[i]
	}
	return e.wide
}
