package bench

import (
	"fmt"
	"strings"

	"weir/internal/host"
	"weir/internal/weights"
)

// Shape is a model's sizes, as its makers published them.
type Shape struct {
	Name string
	Arch string // general.architecture: "llama", "qwen2" (biases on q, k, v) or "qwen3" (head norms)

	Layers, Width, FFN      int
	Heads, KVHeads, HeadDim int
	Vocab, Context          int
	Theta, Eps              float64
	Tied                    bool // the output matrix is the embedding
}

// Shapes lists the named shapes, smallest first.
func Shapes() []Shape {
	return []Shape{
		{Name: "llama-68m", Arch: "llama", Layers: 2, Width: 768, FFN: 3072, Heads: 12, KVHeads: 12, HeadDim: 64,
			Vocab: 32000, Context: 2048, Theta: 1e4, Eps: 1e-6},
		{Name: "llama-160m", Arch: "llama", Layers: 12, Width: 768, FFN: 3072, Heads: 12, KVHeads: 12, HeadDim: 64,
			Vocab: 32000, Context: 2048, Theta: 1e4, Eps: 1e-6},
		{Name: "qwen3-0.6b", Arch: "qwen3", Layers: 28, Width: 1024, FFN: 3072, Heads: 16, KVHeads: 8, HeadDim: 128,
			Vocab: 151936, Context: 40960, Theta: 1e6, Eps: 1e-6, Tied: true},
		{Name: "tinyllama-1.1b", Arch: "llama", Layers: 22, Width: 2048, FFN: 5632, Heads: 32, KVHeads: 4, HeadDim: 64,
			Vocab: 32000, Context: 2048, Theta: 1e4, Eps: 1e-5},
		{Name: "llama-3.2-1b", Arch: "llama", Layers: 16, Width: 2048, FFN: 8192, Heads: 32, KVHeads: 8, HeadDim: 64,
			Vocab: 128256, Context: 131072, Theta: 5e5, Eps: 1e-5, Tied: true},
		{Name: "llama-3.2-3b", Arch: "llama", Layers: 28, Width: 3072, FFN: 8192, Heads: 24, KVHeads: 8, HeadDim: 128,
			Vocab: 128256, Context: 131072, Theta: 5e5, Eps: 1e-5, Tied: true},
		{Name: "qwen2.5-7b", Arch: "qwen2", Layers: 28, Width: 3584, FFN: 18944, Heads: 28, KVHeads: 4, HeadDim: 128,
			Vocab: 152064, Context: 32768, Theta: 1e6, Eps: 1e-6},
		{Name: "llama-3.1-8b", Arch: "llama", Layers: 32, Width: 4096, FFN: 14336, Heads: 32, KVHeads: 8, HeadDim: 128,
			Vocab: 128256, Context: 131072, Theta: 5e5, Eps: 1e-5},
	}
}

// ParseShape returns the shape of a name, in any case.
func ParseShape(name string) (Shape, error) {
	var names []string
	for _, s := range Shapes() {
		if strings.EqualFold(s.Name, name) {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Shape{}, fmt.Errorf("there is no shape %q; there are %s", name, strings.Join(names, ", "))
}

// Quant says which type each matrix of a model is stored as.
type Quant struct {
	Name string
	base weights.Type
	// better is what the matrices that lose most by rounding get in a mix: the
	// values and the feed-forward's last, in the layers that moreBits picks.
	better weights.Type
	mix    bool
}

// mixes are the files with several types that llama.cpp's quantiser makes under
// these names.
var mixes = []Quant{
	{"q4_k_m", weights.Q4_K, weights.Q6_K, true},
	{"q5_k_m", weights.Q5_K, weights.Q6_K, true},
}

// Quants lists what ParseQuant takes: each type, then the mixes.
func Quants() []Quant {
	var all []Quant
	for _, t := range weights.Types() {
		all = append(all, Quant{Name: strings.ToLower(t.String()), base: t})
	}
	return append(all, mixes...)
}

// ParseQuant returns the types of a name, in any case: a type, which all matrices
// get but for the output, or a mix.
func ParseQuant(name string) (Quant, error) {
	var names []string
	for _, q := range Quants() {
		if strings.EqualFold(q.Name, name) {
			return q, nil
		}
		names = append(names, q.Name)
	}
	return Quant{}, fmt.Errorf("there is no weight type %q; there are %s", name, strings.Join(names, ", "))
}

// output is the type of the matrix that makes logits. llama.cpp's quantiser gives
// it Q6_K in every file of fewer bits than Q8_0, so that files by these names
// have it; their sizes, and so their speeds, would not compare otherwise.
func (q Quant) output() weights.Type {
	switch q.base {
	case weights.F32, weights.F16, weights.BF16, weights.Q8_0:
		return q.base
	}
	return weights.Q6_K
}

// inLayer is the type of a layer's matrix, by the name of its part.
func (q Quant) inLayer(part string, layer, layers int) weights.Type {
	if q.mix && (part == "attn_v" || part == "ffn_down") && moreBits(layer, layers) {
		return q.better
	}
	return q.base
}

// moreBits picks the layers of a mix: the first and the last eighth, and every
// third between. The rule is that of the files called Q4_K_M and Q5_K_M.
func moreBits(layer, layers int) bool {
	return layer < layers/8 || layer >= 7*layers/8 || (layer-layers/8)%3 == 2
}

// tensors lists the model's tensors without data, in the order of a GGUF.
func (s Shape) tensors(q Quant) []weights.Tensor {
	var list []weights.Tensor
	matrix := func(name string, t weights.Type, rows, cols int) {
		list = append(list, weights.Tensor{Name: name + ".weight", Type: t, Shape: []int{rows, cols}})
	}
	vector := func(name string, n int) {
		list = append(list, weights.Tensor{Name: name, Type: weights.F32, Shape: []int{n}})
	}
	embedding := q.base
	if s.Tied {
		embedding = q.output()
	}
	matrix("token_embd", embedding, s.Vocab, s.Width)
	for i := range s.Layers {
		at := func(part string) string { return fmt.Sprintf("blk.%d.%s", i, part) }
		linear := func(part string, rows, cols int) { matrix(at(part), q.inLayer(part, i, s.Layers), rows, cols) }
		vector(at("attn_norm.weight"), s.Width)
		for _, p := range []struct {
			part  string
			heads int
		}{{"attn_q", s.Heads}, {"attn_k", s.KVHeads}, {"attn_v", s.KVHeads}} {
			linear(p.part, p.heads*s.HeadDim, s.Width)
			if s.Arch == "qwen2" {
				vector(at(p.part+".bias"), p.heads*s.HeadDim)
			}
		}
		if s.Arch == "qwen3" {
			vector(at("attn_q_norm.weight"), s.HeadDim)
			vector(at("attn_k_norm.weight"), s.HeadDim)
		}
		linear("attn_output", s.Width, s.Heads*s.HeadDim)
		vector(at("ffn_norm.weight"), s.Width)
		linear("ffn_gate", s.FFN, s.Width)
		linear("ffn_up", s.FFN, s.Width)
		linear("ffn_down", s.Width, s.FFN)
	}
	vector("output_norm.weight", s.Width)
	if !s.Tied {
		matrix("output", q.output(), s.Vocab, s.Width)
	}
	return list
}

// Bytes is what the tensors take.
func (s Shape) Bytes(q Quant) int64 {
	var n int64
	for _, t := range s.tensors(q) {
		n += tensorBytes(t)
	}
	return n
}

// tensorBytes is the size of a listed tensor's data.
func tensorBytes(t weights.Tensor) int64 {
	row, err := t.Type.RowBytes(t.Cols())
	if err != nil {
		panic("bench: internal error: tensor " + t.Name + ": " + err.Error()) // the shapes' widths are multiples of every block
	}
	return int64(row) * int64(t.Rows())
}

// Fits tells whether the weights fit into a number of bytes; if not, the error
// says what would.
func (s Shape) Fits(q Quant, bytes int64) error {
	if s.Bytes(q) <= bytes {
		return nil
	}
	return fmt.Errorf("%s at %s takes %s, but there is room for %s of weights: %s", s.Name, q.Name, host.Bytes(s.Bytes(q)), host.Bytes(max(0, bytes)), s.instead(bytes))
}

// instead names the largest types of the shape that fit, or else the largest
// shape that does in some type.
func (s Shape) instead(bytes int64) string {
	if q, ok := s.largest(bytes); ok {
		return fmt.Sprintf("--type %s fits (%s), and so does what is smaller; or raise --memory", q.Name, host.Bytes(s.Bytes(q)))
	}
	shapes := Shapes()
	for i := len(shapes) - 1; i >= 0; i-- {
		if q, ok := shapes[i].largest(bytes); ok {
			return fmt.Sprintf("--shape %s --type %s fits (%s); or raise --memory", shapes[i].Name, q.Name, host.Bytes(shapes[i].Bytes(q)))
		}
	}
	return "no shape does in any type; raise --memory or free some"
}

// largest is the type that takes most of what fits.
func (s Shape) largest(bytes int64) (best Quant, ok bool) {
	most := int64(0)
	for _, q := range Quants() {
		if n := s.Bytes(q); n <= bytes && n > most {
			best, most, ok = q, n, true
		}
	}
	return best, ok
}

// meta are the GGUF's key-values.
func (s Shape) meta(q Quant) []weights.KV {
	kv := []weights.KV{{Key: "general.architecture", Value: s.Arch}, {Key: "general.name", Value: s.Name + " " + q.Name + ", random weights"}}
	add := func(key string, value any) { kv = append(kv, weights.KV{Key: s.Arch + "." + key, Value: value}) }
	add("block_count", uint32(s.Layers))
	add("context_length", uint32(s.Context))
	add("embedding_length", uint32(s.Width))
	add("feed_forward_length", uint32(s.FFN))
	add("attention.head_count", uint32(s.Heads))
	add("attention.head_count_kv", uint32(s.KVHeads))
	add("attention.key_length", uint32(s.HeadDim))
	add("attention.value_length", uint32(s.HeadDim))
	add("attention.layer_norm_rms_epsilon", float32(s.Eps))
	add("rope.dimension_count", uint32(s.HeadDim))
	add("rope.freq_base", float32(s.Theta))
	add("vocab_size", uint32(s.Vocab))
	return append(kv, s.vocabulary()...)
}

// vocabulary is numbered words: the engine wants text for each token.
func (s Shape) vocabulary() []weights.KV {
	const normal, unknown, control, bytePiece = 1, 2, 3, 6
	// Bytes spell what a structure asks for; other engines want one for the end of a line.
	tokens, kinds := []string{"<unk>", "<s>", "</s>"}, []int32{unknown, control, control}
	for b := range 256 {
		tokens, kinds = append(tokens, fmt.Sprintf("<0x%02X>", b)), append(kinds, bytePiece)
	}
	for i := len(tokens); i < s.Vocab; i++ {
		tokens, kinds = append(tokens, fmt.Sprintf("▁w%d", i)), append(kinds, normal)
	}
	return []weights.KV{
		{Key: "tokenizer.ggml.model", Value: "llama"},
		{Key: "tokenizer.ggml.tokens", Value: tokens},
		{Key: "tokenizer.ggml.scores", Value: make([]float32, len(tokens))},
		{Key: "tokenizer.ggml.token_type", Value: kinds},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
		{Key: "tokenizer.ggml.unknown_token_id", Value: uint32(0)},
	}
}
