package model

import "weir/internal/backend"

// Family qwen2: Qwen2 and Qwen2.5. A Llama with biases on queries, keys and
// values, always; upper layers may see a sliding window.

func qwen2HF(r fields, c *Config) {
	c.KVHeads = r.kvHeads(c, 32)
	c.HeadDim = r.headDim(c)
	c.Context = r.integer("max_position_embeddings", 32768)
	c.QKVBias = true
	r.windows(c)
	r.rope(c)
}

func qwen2GGUF(_ keys, c *Config) {
	c.QKVBias = true
}

type qwen2 struct{ decoder }

func bindQwen2(b *binder, c Config) Model {
	return &qwen2{bindDecoder(b, c)}
}

func (m *qwen2) Forward(s backend.Stream) {
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
		s.Linear(m.h, l.qkv...) // with biases
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
