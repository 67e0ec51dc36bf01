package model

import "weir/internal/backend"

// Family qwen3: the dense models of Qwen3. A Llama that normalises each head of
// queries and keys before it rotates them, which made Qwen2's biases needless.

func qwen3HF(r fields, c *Config) {
	c.KVHeads = r.kvHeads(c, 32)
	c.HeadDim = r.integer("head_dim", 128) // not by the width, as elsewhere
	c.Context = r.integer("max_position_embeddings", 32768)
	c.QKVBias = r.boolean("attention_bias", false)
	c.OutputBias = c.QKVBias
	r.windows(c)
	r.rope(c)
}

func qwen3GGUF(keys, *Config) {}

type qwen3 struct{ decoder }

func bindQwen3(b *binder, c Config) Model {
	m := &qwen3{bindDecoder(b, c)}
	for i := range m.layers {
		m.layers[i].headNorm = backend.HeadNorm{
			Q:   b.vector(layerName(i, "attn_q_norm"), c.HeadDim),
			K:   b.vector(layerName(i, "attn_k_norm"), c.HeadDim),
			Eps: c.Eps,
		}
	}
	return m
}

func (m *qwen3) Forward(s backend.Stream) {
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
		s.RopeWrite(m.q, m.k, m.v, l.at, m.rope, l.headNorm)
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
