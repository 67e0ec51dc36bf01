package model

import "weir/internal/backend"

// Family llama: Llama 1 to 3.3, and everything built alike. RMSNorm before each
// block, rotary positions, grouped-query attention, SwiGLU; biases where the
// configuration says so. As a GGUF it also covers Mistral.

func llamaHF(r fields, c *Config) {
	c.KVHeads = r.kvHeads(c, c.Heads)
	c.HeadDim = r.headDim(c)
	c.Context = r.integer("max_position_embeddings", 2048)
	c.QKVBias = r.boolean("attention_bias", false)
	c.OutputBias = c.QKVBias
	c.MLPBias = r.boolean("mlp_bias", false)
	r.rope(c)
}

// llamaGGUF: the usual converters permute the rows of queries and keys of this
// architecture so that rotated pairs are neighbours.
func llamaGGUF(_ keys, c *Config) {
	c.Interleaved = true
}

type llama struct{ decoder }

func bindLlama(b *binder, c Config) Model {
	return &llama{bindDecoder(b, c)}
}

func (m *llama) Forward(s backend.Stream) {
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
