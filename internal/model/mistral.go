package model

import "weir/internal/backend"

// Family mistral: Mistral 7B, Nemo, Small. A Llama whose layers all see a
// sliding window, or none; a head's dimensions need not divide the width.

func mistralHF(r fields, c *Config) {
	c.KVHeads = r.kvHeads(c, 8)
	c.HeadDim = r.headDim(c)
	c.Context = r.integer("max_position_embeddings", 4096*32)
	c.Window = r.window()
	r.rope(c)
}

// window reads the window of all layers. Transformers takes an absent one for
// 4096, which Mistral 7B v0.1 had, and null for none.
func (r fields) window() int {
	if _, said := r.values["sliding_window"]; !said {
		return 4096
	}
	n := r.integer("sliding_window", 0)
	if r.has("sliding_window") && n < 1 {
		r.fail("\"sliding_window\" is %d: expected 1 or more, or null for none", n)
	}
	return n
}

type mistral struct{ decoder }

func bindMistral(b *binder, c Config) Model {
	return &mistral{bindDecoder(b, c)}
}

// Forward: the window is the KV group's, so that attention itself and the pages
// kept for it cannot disagree.
func (m *mistral) Forward(s backend.Stream) {
	eps := m.config.Eps
	s.Embed(m.x, m.embed, 1)
	for i := range m.layers {
		l := &m.layers[i]
		if i == 0 {
			s.RMSNorm(m.h, m.x, l.attnNorm, eps)
		} else {
			s.AddRMSNorm(m.h, m.x, m.d, l.attnNorm, eps)
		}
		m.keep(s, l)
		s.Linear(m.h, l.qkv...)
		s.RopeWrite(m.q, m.k, m.v, l.at, m.rope, backend.HeadNorm{})
		s.Attend(m.a, m.q, l.at, m.attend)
		s.Linear(m.a, l.out...)
		s.Reduce(m.d)

		s.AddRMSNorm(m.h, m.x, m.d, l.ffnNorm, eps)
		s.Linear(m.h, l.gateUp...)
		s.Gate(m.g, m.g, m.u, backend.SiLU)
		s.Linear(m.g, l.down...)
		s.Reduce(m.d)
	}
	s.Add(m.x, m.d)
	s.Gather(m.last, m.x)
	s.RMSNorm(m.last, m.last, m.norm, eps)
	s.Logits(m.last, m.output, 1, 0)
}
