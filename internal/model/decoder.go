package model

import (
	"math"

	"weir/internal/backend"
)

// decoder is what the families have in common: a stack of layers on a residual
// stream, each an attention and a gated MLP. The families' own files say how
// they compute.
type decoder struct {
	config Config
	groups []backend.KVGroup

	embed  backend.Weight // [vocab, width]
	norm   backend.Weight // [width]
	output backend.Weight // [vocab, width]
	layers []layer
	rope   *backend.Rope
	attend backend.Attention

	// Activations, a row per row of the batch.
	x    backend.Act // [rows, width] the residual stream
	h    backend.Act // [rows, width] x, normalised
	d    backend.Act // [rows, width] what a block adds to x
	q, a backend.Act // [rows, heads*headDim] queries; what attention read
	k, v backend.Act // [rows, kvHeads*headDim]
	g, u backend.Act // [rows, ffn] gate and up
	last backend.Act // [wanted rows, width]

	tapped []int // layers whose inputs are kept; Layers is the output of the last
	taps   []backend.Act
}

// layer is one block of the stack. The groups of projections are kept as slices
// so that a forward pass makes none.
type layer struct {
	at       backend.Layer
	attnNorm backend.Weight // [width]
	qkv      []backend.Projection
	headNorm backend.HeadNorm // zero: none
	out      []backend.Projection
	ffnNorm  backend.Weight // [width]
	gateUp   []backend.Projection
	down     []backend.Projection
	tap      backend.Act // [rows, width] keeps x as it enters the layer; zero: nobody asks
}

// bindDecoder binds what every family has. Head norms are the family's own.
func bindDecoder(b *binder, c Config) decoder {
	d := decoder{
		config: c,
		rope:   NewRope(c, b.divisors(c)),
		attend: backend.Attention{Heads: c.Heads, Scale: float32(1 / math.Sqrt(float64(c.HeadDim)))},
		embed:  b.matrix("token_embd", c.Vocab, c.Width, backend.Replicated),
		norm:   b.vector("output_norm", c.Width),
	}
	d.output = d.embed
	if !c.TiedEmbeddings {
		d.output = b.matrix("output", c.Vocab, c.Width, backend.Replicated)
	}
	var at []backend.Layer
	d.groups, at = groupLayers(c)
	for i := range c.Layers {
		l := bindLayer(b, c, i)
		l.at = at[i]
		d.layers = append(d.layers, l)
	}
	return d
}

func bindLayer(b *binder, c Config, i int) layer {
	name := func(part string) string { return layerName(i, part) }
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	keys := b.linear(name("attn_k"), kv, c.Width, c.QKVBias, backend.ByRow)
	keys.Keys = true
	return layer{
		attnNorm: b.vector(name("attn_norm"), c.Width),
		qkv: []backend.Projection{
			b.linear(name("attn_q"), q, c.Width, c.QKVBias, backend.ByRow),
			keys,
			b.linear(name("attn_v"), kv, c.Width, c.QKVBias, backend.ByRow),
		},
		out:     []backend.Projection{b.linear(name("attn_output"), c.Width, q, c.OutputBias, backend.ByCol)},
		ffnNorm: b.vector(name("ffn_norm"), c.Width),
		gateUp: []backend.Projection{
			b.linear(name("ffn_gate"), c.FFN, c.Width, c.MLPBias, backend.ByRow),
			b.linear(name("ffn_up"), c.FFN, c.Width, c.MLPBias, backend.ByRow),
		},
		down: []backend.Projection{b.linear(name("ffn_down"), c.Width, c.FFN, c.MLPBias, backend.ByCol)},
	}
}

// Tap keeps what enters those layers, for heads; the number of layers names what
// leaves the last.
func (m *decoder) Tap(layers []int) { m.tapped = layers }

// Taps are the activations that Tap asked for, once Plan has been called.
func (m *decoder) Taps() []backend.Act { return m.taps }

// Ends are the matrices at the model's ends, and its last norm.
func (m *decoder) Ends() Ends {
	return Ends{Embedding: m.embed, Norm: m.norm, Output: m.output, Eps: m.config.Eps}
}

// keep copies the residual stream as it enters a layer, where somebody asks.
func (m *decoder) keep(s backend.Stream, l *layer) {
	if l.tap.Present() {
		s.(backend.HostActs).CopyAct(l.tap, m.x)
	}
}

// groupLayers puts layers with the same window into one KV group, and says
// where each layer is.
func groupLayers(c Config) ([]backend.KVGroup, []backend.Layer) {
	var groups []backend.KVGroup
	at := make([]backend.Layer, c.Layers)
	index := map[int]int{} // window -> group
	for i := range at {
		window := 0
		if c.windowed(i) {
			window = c.Window
		}
		g, ok := index[window]
		if !ok {
			g = len(groups)
			index[window] = g
			groups = append(groups, backend.KVGroup{Heads: c.KVHeads, HeadDim: c.HeadDim, Window: window})
		}
		at[i] = backend.Layer{Group: g, Index: len(groups[g].Layers)}
		groups[g].Layers = append(groups[g].Layers, i)
	}
	return groups, at
}

func (m *decoder) Config() Config              { return m.config }
func (m *decoder) Last() backend.Act           { return m.last }
func (m *decoder) KVGroups() []backend.KVGroup { return m.groups }

// Plan adds the activations and points the projections at them.
func (m *decoder) Plan(p *backend.Plan) {
	c := &m.config
	p.Vocab = c.Vocab
	m.x, m.h, m.d = p.Act("x", c.Width), p.OnceAct("h", c.Width), p.Act("d", c.Width)
	m.q, m.a = p.Act("q", c.Heads*c.HeadDim), p.Act("a", c.Heads*c.HeadDim)
	m.k, m.v = p.Act("k", c.KVHeads*c.HeadDim), p.Act("v", c.KVHeads*c.HeadDim)
	m.g, m.u = p.OnceAct("g", c.FFN), p.Act("u", c.FFN)
	m.last = p.GatheredAct("last", c.Width)
	m.taps = m.taps[:0]
	for _, i := range m.tapped {
		if i == c.Layers {
			m.taps = append(m.taps, m.x) // nothing changes it after the last layer
			continue
		}
		m.layers[i].tap = p.Act("tap", c.Width)
		m.taps = append(m.taps, m.layers[i].tap)
	}
	for i := range m.layers {
		l := &m.layers[i]
		l.qkv[0].Dst, l.qkv[1].Dst, l.qkv[2].Dst = m.q, m.k, m.v
		l.gateUp[0].Dst, l.gateUp[1].Dst = m.g, m.u
		l.out[0].Dst, l.down[0].Dst = m.d, m.d
	}
}
