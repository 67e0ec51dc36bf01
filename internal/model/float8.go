package model

import (
	"fmt"
	"strings"

	"weir/internal/backend"
	"weir/internal/weights"
)

// FP8 checkpoints have matrices of 8-bit floats (E4M3) and, beside each, a tensor of
// scales: DeepSeek's and Qwen's in blocks of 128 x 128 ("weight_scale_inv", which all
// the same multiplies), llm-compressor's, FBGEMM's and ModelOpt's one a row or one a
// matrix ("weight_scale"). A GPU multiplies with those of the latter kind as they are;
// all others become BF16. What checkpoints say of activations is how other engines
// round these to 8 bits; weir does not heed it.

// readsFloat8 is what error messages say of quantised checkpoints.
const readsFloat8 = "weir reads FP8 (quant_method fp8, fbgemm_fp8, modelopt with FP8, or compressed-tensors with 8-bit floats): " +
	"use one of those, the unquantised checkpoint, or a GGUF"

// quantised reads how a checkpoint is quantised, and refuses what is not FP8.
func (r fields) quantised(c *Config) {
	for _, key := range []string{"quantization_config", "compression_config"} {
		if !r.has(key) {
			continue
		}
		q := r.object(key)
		switch method := q.text("quant_method"); {
		case method == "fp8" || method == "fbgemm_fp8":
			c.Float8Block = q.block("weight_block_size")
		case method == "modelopt" && strings.EqualFold(q.text("quant_algo"), "fp8"): // one scale a matrix
		case method == "compressed-tensors":
			q.compressed(c)
		default:
			q.notFloat8("quant_method", method)
		}
	}
}

func (r fields) notFloat8(what, is string) {
	r.fail("the checkpoint is quantised (%s %.100q) in a way that weir does not read: %s", what, is, readsFloat8)
}

// block reads how many rows and columns share a scale.
func (r fields) block(key string) [2]int {
	var b []int
	if r.read(key, "two whole numbers", &b); len(b) == 0 {
		return [2]int{}
	}
	if len(b) != 2 || b[0] < 1 || b[1] < 1 {
		r.fail("%q is %v: expected the rows and columns that share a scale", key, b)
		return [2]int{}
	}
	return [2]int{b[0], b[1]}
}

// compressed reads the configuration of compressed-tensors.
func (r fields) compressed(c *Config) {
	if format := r.text("format"); format != "float-quantized" && format != "naive-quantized" {
		r.notFloat8("compressed-tensors, format", format)
	}
	for _, key := range []string{"sparsity_config", "transform_config"} {
		if v := string(r.values[key]); r.has(key) && v != "{}" && !strings.Contains(v, `"dense"`) {
			r.notFloat8("compressed-tensors, "+key, v)
		}
	}
	groups := r.object("config_groups")
	first := true
	for name := range groups.values {
		w := groups.object(name).object("weights")
		if bits, typ := w.integer("num_bits", 8), w.text("type"); bits != 8 || typ != "float" {
			w.notFloat8("compressed-tensors, weights of", fmt.Sprintf("%d bits, %s", bits, typ))
		}
		block := w.block("block_structure")
		if !first && block != c.Float8Block {
			r.fail("groups of tensors have scales for blocks of different sizes, %v and %v, which weir does not read", c.Float8Block, block)
		}
		c.Float8Block, first = block, false
	}
}

// float8Scale finds the scales of a matrix of FP8.
func (b *binder) float8Scale(t weights.Tensor) (weights.Tensor, bool) {
	for _, suffix := range []string{"_scale", "_scale_inv"} {
		if scale, ok := b.f.Tensor(t.Name + suffix); ok {
			b.used[scale.Name], b.float8 = true, true
			return scale, true
		}
	}
	b.err = fmt.Errorf("tensor %q is %s, but there are no scales (%s_scale, or %s_scale_inv): the checkpoint is incomplete, or has them in a way that weir does not know; %s",
		t.Name, t.TypeName(), t.Name, t.Name, readsFloat8)
	return weights.Tensor{}, false
}

// loadFloat8 binds a matrix of FP8: as it is where the backend multiplies with such and
// a row has one scale, else as BF16.
func (b *binder) loadFloat8(t weights.Tensor, p backend.Placement) (w backend.Weight, err error) {
	scale, ok := b.float8Scale(t)
	if !ok {
		return nil, b.err
	}
	if as, able := b.b.(backend.Float8Loader); able {
		rows, ok, err := t.RowScales(scale, b.float8Block)
		if err != nil {
			return nil, err
		}
		if ok {
			return as.LoadFloat8(t, rows, p)
		}
	}
	plain, err := t.Unscale(scale, b.float8Block)
	if err != nil {
		return nil, err
	}
	return b.b.Load(plain, p)
}

// scalesActivations tells the tensors of FP8 checkpoints that say how to round
// activations, keys and values, which weir doesn't.
func scalesActivations(name string) bool {
	for _, suffix := range []string{".input_scale", ".output_scale", ".activation_scale", ".input_scale_ub", ".q_scale", ".k_scale", ".v_scale", ".kv_scale"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
