package draft

import (
	"encoding/json"
	"fmt"
	"strings"

	"weir/internal/backend"
	"weir/internal/spec"
	"weir/internal/weights"
)

// Medusa proposes with heads on the model's last hidden state: head d guesses the
// token d+2 places on, all at once, so that a draft costs one small pass. Its
// drafts are trees of the heads' likeliest tokens.
//
// The heads are those of the Medusa project: of each, L residual layers
// x + SiLU(W x + b), named "d.l.linear.weight" and ".bias", then the output matrix
// "d.L.weight", perhaps all after "medusa_head.".
type Medusa struct {
	backend backend.Backend
	width   int
	vocab   int
	heads   []head
	bytes   int64
	opts    MedusaOptions
	allowed spec.Tree

	limits Limits
	lane   *lane
	x, r   backend.Act // [rows, width] the hidden state; what a layer adds to it
	ones   backend.Act
	last   backend.Act // [wanted rows, width]
	err    error
	asking []*spec.Ask
	ids    [spec.MaxRank]int32
}

type head struct {
	layers []backend.Projection
	output backend.Weight // [vocab, width]
}

// MedusaOptions are the choices of LoadMedusa.
type MedusaOptions struct {
	Heads int // how many to use; 0: all
	TopK  int // of a head's tokens, how many to consider; 0: as many as can be
	// Choices are the tree's nodes as the Medusa project writes them: each a path
	// of ranks from the root, [0] being head 0's likeliest token and [0, 1] head 1's
	// second after it. Empty: any, as they prove themselves.
	Choices [][]int32
}

// medusaConfig is config.json of the heads, as far as it matters.
type medusaConfig struct {
	Heads  int `json:"medusa_num_heads"`
	Layers int `json:"medusa_num_layers"`
	Hidden int `json:"hidden_size"`
	Vocab  int `json:"vocab_size"`
}

// LoadMedusa binds heads for a model of that width and vocabulary. f must stay
// open until the backend is closed. config may be nil: then the tensors tell.
func LoadMedusa(f *weights.File, config []byte, b backend.Backend, width, vocab int, o MedusaOptions) (*Medusa, error) {
	m := &Medusa{backend: b, width: width, vocab: vocab, opts: o}
	if err := m.load(f, config); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

func (m *Medusa) load(f *weights.File, config []byte) error {
	var c medusaConfig
	if config != nil {
		if err := json.Unmarshal(config, &c); err != nil {
			return fmt.Errorf("the heads' config.json: %w", err)
		}
	}
	if c.Hidden != 0 && c.Hidden != m.width || c.Vocab != 0 && c.Vocab != m.vocab {
		return fmt.Errorf("the heads are for a model of width %d and %d tokens; this one has width %d and %d tokens: get heads that were trained on this model", c.Hidden, c.Vocab, m.width, m.vocab)
	}
	prefix := ""
	if _, ok := f.Tensor("0.0.linear.weight"); !ok {
		prefix = "medusa_head."
	}
	for d := 0; ; d++ {
		name := fmt.Sprintf("%s%d.", prefix, d)
		if !has(f, name) {
			break
		}
		h, err := m.loadHead(f, name)
		if err != nil {
			return err
		}
		m.heads = append(m.heads, h)
	}
	switch n := len(m.heads); {
	case n == 0:
		return fmt.Errorf("holds no Medusa heads (\"0.0.linear.weight\" or \"medusa_head.0.0.linear.weight\" would be the first tensor)")
	case c.Heads > n:
		return fmt.Errorf("config.json says %d heads but the file has %d: get a complete copy", c.Heads, n)
	case c.Layers != 0 && c.Layers != len(m.heads[0].layers):
		return fmt.Errorf("config.json says %d layers a head but the file has %d: get both from one place", c.Layers, len(m.heads[0].layers))
	case m.opts.Heads < 0 || m.opts.Heads > n:
		return fmt.Errorf("%d heads are asked for and the file has %d", m.opts.Heads, n)
	case m.opts.Heads > 0:
		m.heads = m.heads[:m.opts.Heads]
	}
	m.heads = m.heads[:min(len(m.heads), spec.MaxDepth)]
	return m.choose()
}

func has(f *weights.File, prefix string) bool {
	for _, t := range f.Tensors() {
		if strings.HasPrefix(t.Name, prefix) {
			return true
		}
	}
	return false
}

func (m *Medusa) loadHead(f *weights.File, name string) (h head, err error) {
	layers := 0
	for ; ; layers++ {
		layer := fmt.Sprintf("%s%d.linear", name, layers)
		if _, ok := f.Tensor(layer + ".weight"); !ok {
			break
		}
		var p backend.Projection
		if p.W, err = m.bind(f, layer+".weight", m.width, m.width); err == nil {
			p.Bias, err = m.bind(f, layer+".bias", m.width)
		}
		if err != nil {
			return h, err
		}
		h.layers = append(h.layers, p)
	}
	h.output, err = m.bind(f, fmt.Sprintf("%s%d.weight", name, layers), m.vocab, m.width)
	return h, err
}

// bind loads a tensor that must have this shape.
func (m *Medusa) bind(f *weights.File, name string, shape ...int) (backend.Weight, error) {
	t, err := lookup(f, name, shape...)
	if err != nil {
		return nil, err
	}
	m.bytes += int64(len(t.Data))
	return m.backend.Load(t, backend.Placement{})
}

// lookup finds a tensor of heads and checks that it fits the model.
func lookup(f *weights.File, name string, shape ...int) (weights.Tensor, error) {
	t, err := f.Lookup(name)
	if err != nil {
		return t, err
	}
	if fmt.Sprint(t.Shape) != fmt.Sprint(shape) {
		return t, fmt.Errorf("tensor %q has the shape %v; with this model (its width and vocabulary) it would be %v: get heads that were trained on this model", name, t.Shape, shape)
	}
	return t, nil
}

// choose makes the tree of what may be drafted.
func (m *Medusa) choose() error {
	topK := m.opts.TopK
	if topK < 0 || topK > spec.MaxRank {
		return fmt.Errorf("the %d likeliest tokens of a head are asked for; from 1 to %d can be considered", topK, spec.MaxRank)
	}
	if topK == 0 {
		topK = spec.MaxRank
	}
	for _, c := range m.opts.Choices {
		at := spec.Root
		for i, rank := range c {
			switch {
			case i >= len(m.heads):
				return fmt.Errorf("the choice %v is deeper than the %d heads", c, len(m.heads))
			case rank < 0 || int(rank) >= topK:
				return fmt.Errorf("the choice %v has the rank %d; ranks go from 0 to %d", c, rank, topK-1)
			case i == len(c)-1:
				m.allowed.Add(at, rank)
				continue
			}
			if at = m.allowed.Child(at, rank); at < 0 {
				return fmt.Errorf("the choice %v stands before its beginning %v", c, c[:i+1])
			}
		}
	}
	m.opts.TopK = topK
	return nil
}

// Allowed are the shapes that the choices allow; empty: any of Depth and Width.
func (m *Medusa) Allowed() spec.Tree { return m.allowed }

// Depth is the number of heads.
func (m *Medusa) Depth() int { return len(m.heads) }

// Width is how many tokens of a head are considered.
func (m *Medusa) Width() int { return m.opts.TopK }

// Bytes is what the heads take.
func (m *Medusa) Bytes() int64 { return m.bytes }

// Plan is the scratch that they need.
func (m *Medusa) Plan(l Limits) backend.Plan {
	p := backend.Plan{Rows: l.Seqs, Seqs: l.Seqs, LogitRows: l.Seqs, Context: 1, Vocab: m.vocab, Varied: true}
	m.x, m.r, m.ones = p.Act("hidden", m.width), p.Act("residual", m.width), p.Act("ones", m.width)
	m.last = p.GatheredAct("last", m.width)
	for d := range m.heads {
		for l := range m.heads[d].layers {
			m.heads[d].layers[l].Dst = m.r
		}
	}
	return p
}

// Start allocates what they compute with.
func (m *Medusa) Start(l Limits) (err error) {
	m.limits = l
	m.lane, err = newLane(m.backend, m.Plan(l))
	return err
}

// Reset implements spec.Proposer.
func (m *Medusa) Reset() error {
	old := m.lane
	m.lane, m.err = nil, errReset
	err := old.close()
	if err == nil {
		err = m.Start(m.limits)
	}
	if err == nil {
		m.err = nil
	}
	return err
}

// Name implements spec.Proposer.
func (m *Medusa) Name() string { return "medusa" }

// Forget implements spec.Proposer.
func (m *Medusa) Forget(a *spec.Ask) { a.State = nil }

// NeedsHidden implements spec.HiddenReader.
func (m *Medusa) NeedsHidden() bool { return true }

// Close implements spec.Proposer.
func (m *Medusa) Close() error { return m.lane.close() }

// Propose implements spec.Proposer: head by head, for all that still want one.
func (m *Medusa) Propose(asks []*spec.Ask) {
	for d := range m.heads {
		m.asking = m.asking[:0]
		for _, a := range asks {
			if len(a.Hidden) == m.width && a.Shape.MaxDepth() > d {
				m.asking = append(m.asking, a)
			}
		}
		if len(m.asking) == 0 || m.err != nil {
			return
		}
		logits := m.run(&m.heads[d])
		for i, a := range m.asking {
			if m.err == nil {
				m.guess(a, d, logits[i])
			}
		}
	}
}

// run computes a head for those that ask.
func (m *Medusa) run(h *head) [][]float32 {
	s := m.lane.begin(len(m.asking))
	for i, a := range m.asking {
		m.lane.host.SetAct(m.x, i, a.Hidden)
		m.lane.host.SetAct(m.ones, i, m.lane.ones(m.width))
	}
	for i := range h.layers {
		s.Linear(m.x, h.layers[i:i+1]...)
		s.Gate(m.r, m.r, m.ones, backend.SiLU)
		s.Add(m.x, m.r)
	}
	s.Gather(m.last, m.x)
	s.Logits(m.last, h.output, 1, 0)
	r, err := s.Wait()
	if err != nil {
		m.err = err
		return nil
	}
	return r.Logits
}

// places are the nodes of an ask's draft by those of its shape; spec.None where it
// has none.
type places []int

func (p places) of(n int) int {
	if n < 0 {
		return spec.Root
	}
	return p[n]
}

// guess adds the nodes at depth d+1 that the shape has. The first rank is what the
// sampler would draw, the others are the next likeliest.
func (m *Medusa) guess(a *spec.Ask, d int, logits []float32) {
	p, _ := a.State.(places)
	if d == 0 {
		p = p[:0]
		for range a.Shape.Len() {
			p = append(p, spec.None)
		}
		a.State = p
	}
	ranks := 0
	for n, rank := range a.Shape.Token {
		if int(a.Shape.Depth[n]) == d+1 {
			ranks = max(ranks, int(rank)+1)
		}
	}
	ids := m.ids[:0]
	id, ok := a.Sampler.Guess(logits, a.Said()+d)
	for len(ids) < min(ranks, m.opts.TopK) && ok {
		ids = append(ids, id)
		logits[id] = lowest
		id = best(logits)
		ok = id >= 0
	}
	for n, rank := range a.Shape.Token {
		if int(a.Shape.Depth[n]) != d+1 || int(rank) >= len(ids) {
			continue
		}
		if at := p.of(int(a.Shape.Parent[n])); at != spec.None {
			p[n] = a.Draft.Add(at, ids[rank])
		}
	}
}
