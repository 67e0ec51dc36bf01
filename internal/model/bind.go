package model

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/internal/backend"
	"weir/internal/weights"
)

// binder finds a family's tensors in a file and loads them into a backend.
// Families name tensors as GGUF does. After the first error it loads nothing
// more, so that a family's binding reads as a list.
type binder struct {
	f    *weights.File
	b    backend.Backend
	used map[string]bool // names in the file
	err  error

	float8      bool // there are matrices of FP8
	float8Block [2]int
}

func newBinder(f *weights.File, b backend.Backend) *binder {
	return &binder{f: f, b: b, used: map[string]bool{}}
}

// hfNames are Hugging Face's words for GGUF's.
var hfNames = map[string]string{
	"token_embd":  "model.embed_tokens",
	"output_norm": "model.norm",
	"output":      "lm_head",

	"attn_norm":   "input_layernorm",
	"attn_q":      "self_attn.q_proj",
	"attn_k":      "self_attn.k_proj",
	"attn_v":      "self_attn.v_proj",
	"attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm",
	"attn_k_norm": "self_attn.k_norm",
	"ffn_norm":    "post_attention_layernorm",
	"ffn_gate":    "mlp.gate_proj",
	"ffn_up":      "mlp.up_proj",
	"ffn_down":    "mlp.down_proj",
}

// name translates "blk.0.attn_q.weight" to what the file's format calls it.
func (b *binder) name(gguf string) string {
	if b.f.Format() == weights.GGUF {
		return gguf
	}
	parts := strings.Split(gguf, ".")
	prefix := ""
	if parts[0] == "blk" {
		prefix, parts = "model.layers."+parts[1]+".", parts[2:]
	}
	return prefix + hfNames[parts[0]] + "." + parts[1]
}

// layerName is the name of a layer's tensor, without ".weight" or ".bias".
func layerName(i int, part string) string { return "blk." + strconv.Itoa(i) + "." + part }

// matrix binds a [rows, cols] tensor "<name>.weight".
func (b *binder) matrix(name string, rows, cols int, shard backend.Shard) backend.Weight {
	return b.load(name+".weight", shard, rows, cols)
}

// vector binds an [n] tensor "<name>.weight".
func (b *binder) vector(name string, n int) backend.Weight {
	return b.load(name+".weight", backend.Replicated, n)
}

// linear binds a projection: "<name>.weight" [rows, cols] and, if biased,
// "<name>.bias" [rows]. Plan sets its Dst.
func (b *binder) linear(name string, rows, cols int, biased bool, shard backend.Shard) backend.Projection {
	p := backend.Projection{W: b.matrix(name, rows, cols, shard)}
	if biased {
		along := shard
		if shard == backend.ByCol {
			along = backend.Replicated // added once, after the ranks' sum
		}
		p.Bias = b.load(name+".bias", along, rows)
	}
	return p
}

// load binds the tensor of that GGUF name, which must have this shape.
func (b *binder) load(gguf string, shard backend.Shard, shape ...int) backend.Weight {
	if b.err != nil {
		return nil
	}
	t := b.lookup(gguf, shape...)
	if b.err != nil {
		return nil
	}
	bind := b.b.Load
	if t.Type == weights.F8E4M3 {
		bind = b.loadFloat8
	}
	w, err := bind(t, backend.Placement{Shard: shard})
	if err != nil {
		b.err = err
		return nil
	}
	return w
}

// lookup finds a tensor and checks its shape.
func (b *binder) lookup(gguf string, shape ...int) weights.Tensor {
	name := b.name(gguf)
	b.used[name] = true
	t, ok := b.f.Tensor(name)
	switch {
	case !ok:
		b.err = fmt.Errorf("tensor %q %v is missing: the model is incomplete, or not of the family it says; get a complete copy", name, shape)
	case !slices.Equal(t.Shape, shape):
		b.err = fmt.Errorf("tensor %q has the shape %v, but the configuration says %v: "+
			"the tensors and the configuration are not of the same model; get both from one place", name, t.Shape, shape)
	case t.Type != weights.F8E4M3 && !t.Type.Supported():
		b.err = fmt.Errorf("tensor %q is %s, which weir does not compute with: get a file with one of the types %v", name, t.TypeName(), weights.Types())
	}
	return t
}

// divisors reads the tensor of rope divisors, [n], if the configuration has one.
func (b *binder) divisors(c Config) []float32 {
	if !c.Scaling.Divisors || b.err != nil {
		return nil
	}
	t := b.lookup("rope_freqs.weight", c.HeadDim/2)
	if b.err != nil {
		return nil
	}
	d := t.Float32s()
	for i, v := range d {
		if b.err == nil && !(v > 0 && v <= math.MaxFloat32) {
			b.err = fmt.Errorf("tensor %q holds %v at %d: rope divisors are above 0; get another copy", t.Name, v, i)
		}
	}
	return d
}

// leftovers makes an error of a tensor that the family has no use for: leaving
// out what was trained would change what the model says, in silence.
func (b *binder) leftovers() {
	for _, t := range b.f.Tensors() {
		if b.err == nil && !b.used[t.Name] && !harmless(t.Name) && !(b.float8 && scalesActivations(t.Name)) {
			b.err = fmt.Errorf("tensor %.100q %v has no place in a model of this family and configuration: "+
				"without it the model would say something else; use a file made for one of %s",
				t.Name, t.Shape, strings.Join(Families(), ", "))
		}
	}
}

// harmless tells tensors that repeat what the configuration says: frequencies
// that old checkpoints carry, and an output matrix beside tied embeddings.
func harmless(name string) bool {
	return strings.HasSuffix(name, ".rotary_emb.inv_freq") || name == "lm_head.weight"
}
