package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/internal/backend"
	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

// float8Layout is a way in which FP8 checkpoints lie.
type float8Layout struct {
	name   string
	config object // quantization_config
	suffix string // of the scales' tensors
	high   int    // rows and columns that share a scale; 0: all of them
	wide   int
	shape  func(rows, cols int) []int // of the scales
	typ    weights.Type               // of the scales
	beside []string                   // tensors beside each matrix, in place of ".weight"
}

var float8Layouts = []float8Layout{
	{"blocks", object{"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": []int{32, 48}},
		"_scale_inv", 32, 48, func(r, c int) []int { return []int{r, c} }, weights.F32, nil},
	{"one a matrix", object{"quant_method": "fp8", "activation_scheme": "static"},
		"_scale", 0, 0, func(int, int) []int { return []int{} }, weights.F32, []string{".input_scale"}},
	{"one a row", object{"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200},
		"_scale", 1, 0, func(r, _ int) []int { return []int{r, 1} }, weights.F32, []string{".input_scale_ub", ".kv_scale"}},
	{"compressed-tensors", object{"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": []string{"lm_head"},
		"config_groups": object{"group_0": object{"targets": []string{"Linear"}, "weights": object{"num_bits": 8, "type": "float", "strategy": "channel"}}}},
		"_scale", 1, 0, func(r, _ int) []int { return []int{r, 1} }, weights.BF16, []string{".k_scale", ".v_scale"}},
	{"modelopt", object{"quant_method": "modelopt", "quant_algo": "FP8"},
		"_scale", 0, 0, func(int, int) []int { return []int{1} }, weights.F32, []string{".input_scale"}},
}

// e4m3Values are the numbers of E4M3 by the formula of its specification, NaN aside.
func e4m3Values() map[byte]float64 {
	v := map[byte]float64{}
	for b := range 256 {
		sign, exp, man := 1-2*float64(b>>7), b>>3&15, float64(b&7)
		switch {
		case b&0x7f == 0x7f:
		case exp == 0:
			v[byte(b)] = sign * man / 8 * math.Pow(2, -6)
		default:
			v[byte(b)] = sign * (1 + man/8) * math.Pow(2, float64(exp)-7)
		}
	}
	return v
}

// write makes the checkpoint of f with its projections in FP8, and the one of what
// that stands for: each number times its scale, as BF16.
func (l float8Layout) write(t *testing.T, c *modeltest.Checkpoint) (float8, plain *weights.File) {
	t.Helper()
	f := openHF(t, c)
	var in8, in16 []weights.Tensor
	for _, s := range f.Tensors() {
		if len(s.Shape) != 2 || !strings.Contains(s.Name, "_proj.") {
			in8, in16 = append(in8, s), append(in16, s)
			continue
		}
		codes, scales, values := l.encode(s)
		in8 = append(in8, weights.Tensor{Name: s.Name, Type: weights.F8E4M3, Shape: s.Shape, Data: codes}, scales)
		for _, name := range l.beside {
			in8 = append(in8, weights.Tensor{Name: strings.TrimSuffix(s.Name, ".weight") + name, Type: weights.F32, Shape: []int{1}, Data: []byte{0, 0, 0, 64}})
		}
		in16 = append(in16, weights.Tensor{Name: s.Name, Type: weights.BF16, Shape: s.Shape, Data: values})
	}
	config := object{"quantization_config": l.config}
	return writeCheckpoint(t, c, config, in8), writeCheckpoint(t, c, nil, in16)
}

// encode takes for each number the nearest of E4M3 under scales that are no powers
// of two.
func (l float8Layout) encode(s weights.Tensor) (codes []byte, scales weights.Tensor, bf16 []byte) {
	rows, cols, x, values := s.Rows(), s.Cols(), s.Float32s(), e4m3Values()
	high, wide := l.high, l.wide
	if high == 0 {
		high = rows
	}
	if wide == 0 {
		wide = cols
	}
	down, across := (rows+high-1)/high, (cols+wide-1)/wide
	of := make([]float32, down*across)
	for i := range of {
		of[i] = (0.7 + float32(i%5)/9) / 300
	}
	data := modeltest.Plain(l.typ, of)
	of = weights.Tensor{Type: l.typ, Shape: []int{len(of)}, Data: data}.Float32s() // as rounded
	for i, v := range x {
		scale := of[i/cols/high*across+i%cols/wide]
		var code byte
		best := math.Inf(1)
		for b, e := range values {
			if d := math.Abs(e*float64(scale) - float64(v)); d < best || d == best && b < code {
				code, best = b, d
			}
		}
		codes = append(codes, code)
		h := weights.F32ToBF16(float32(values[code]) * scale)
		bf16 = append(bf16, byte(h), byte(h>>8))
	}
	return codes, weights.Tensor{Name: s.Name + l.suffix, Type: l.typ, Shape: l.shape(down, across), Data: data}, bf16
}

func writeCheckpoint(t *testing.T, c *modeltest.Checkpoint, config object, tensors []weights.Tensor) *weights.File {
	t.Helper()
	all := object{}
	for k, v := range c.Config {
		all[k] = v
	}
	for k, v := range config {
		all[k] = v
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, configFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := weights.WriteSafetensors(file, tensors); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(dir, weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestFloat8 runs a checkpoint of each layout: its logits are those of the numbers
// that it stands for.
func TestFloat8(t *testing.T) {
	c := smallCheckpoint(nil)
	ids := c.Prompt(20)
	for _, l := range float8Layouts {
		t.Run(l.name, func(t *testing.T) {
			float8, plain := l.write(t, c)
			got, want := newRunner(t, float8, runOptions{}).chunks(ids, 7), newRunner(t, plain, runOptions{}).chunks(ids, 7)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Fatalf("row %d: logits %.5v, want %.5v", i, got[i][:4], want[i][:4])
				}
			}
			if c, err := Inspect(float8); err != nil || c.Quant != "F8_E4M3" {
				t.Errorf("%v, %v", c.Quant, err)
			}
		})
	}
}

// float8Backend takes matrices of FP8 as they are, as a GPU does.
type float8Backend struct {
	backend.Backend
	taken int
}

func (b *float8Backend) LoadFloat8(t weights.Tensor, scales []float32, p backend.Placement) (backend.Weight, error) {
	b.taken++
	out := weights.Tensor{Name: t.Name, Type: weights.BF16, Shape: t.Shape}
	for i, code := range t.Data {
		h := weights.F32ToBF16(weights.E4M3ToF32(code) * scales[i/t.Cols()])
		out.Data = append(out.Data, byte(h), byte(h>>8))
	}
	return b.Load(out, p)
}

// TestFloat8AsItIs: where a row has one scale, a backend that multiplies with FP8 gets
// the file's numbers; what has blocks comes to it as BF16.
func TestFloat8AsItIs(t *testing.T) {
	c := smallCheckpoint(nil)
	ids := c.Prompt(20)
	for _, l := range float8Layouts {
		t.Run(l.name, func(t *testing.T) {
			float8, plain := l.write(t, c)
			var b *float8Backend
			wrap := func(in backend.Backend) backend.Backend { b = &float8Backend{Backend: in}; return b }
			got, want := newRunner(t, float8, runOptions{wrap: wrap}).chunks(ids, 7), newRunner(t, plain, runOptions{}).chunks(ids, 7)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Fatalf("row %d: logits %.5v, want %.5v", i, got[i][:4], want[i][:4])
				}
			}
			if blocks := l.wide > 0; blocks != (b.taken == 0) {
				t.Errorf("%d matrices were taken as they are", b.taken)
			}
		})
	}
}

// TestFloat8Refuses: what contradicts itself is an error that says so.
func TestFloat8Refuses(t *testing.T) {
	c := smallCheckpoint(nil)
	blocks, whole := float8Layouts[0], float8Layouts[1]
	drop := func(part string) func([]weights.Tensor) []weights.Tensor {
		return func(ts []weights.Tensor) []weights.Tensor {
			return slices.DeleteFunc(ts, func(s weights.Tensor) bool { return strings.HasSuffix(s.Name, part) })
		}
	}
	with := func(name string, change func(*weights.Tensor)) func([]weights.Tensor) []weights.Tensor {
		return func(ts []weights.Tensor) []weights.Tensor {
			for i := range ts {
				if ts[i].Name == name {
					change(&ts[i])
				}
			}
			return ts
		}
	}
	const up = "model.layers.1.mlp.up_proj.weight" // [96, 64]
	for _, test := range []struct {
		layout float8Layout
		change func([]weights.Tensor) []weights.Tensor
		want   []string
	}{
		{blocks, drop("up_proj.weight_scale_inv"), []string{"up_proj.weight", "there are no scales"}},
		{blocks, with(up+"_scale_inv", func(s *weights.Tensor) { s.Shape = []int{2, 3} }), []string{up + "_scale_inv", "[2 3]", "[3 2]", "32 x 48"}},
		{whole, with(up+"_scale", func(s *weights.Tensor) {
			*s = weights.Tensor{Name: s.Name, Type: weights.F32, Shape: []int{2}, Data: make([]byte, 8)}
		}),
			[]string{up + "_scale", "[2]", "[96, 1]"}},
		{whole, with(up+"_scale", func(s *weights.Tensor) { s.Data = []byte{0, 0, 192, 127} }), []string{up + "_scale", "NaN", "damaged"}},
		{whole, with(up+"_scale", func(s *weights.Tensor) { s.Type = weights.I32 }), []string{up + "_scale", "I32"}},
	} {
		float8, _ := test.layout.write(t, c)
		f := writeCheckpoint(t, c, object{"quantization_config": test.layout.config}, test.change(slices.Clone(float8.Tensors())))
		_, err := load(f, Options{})
		wantError(t, test.layout.name, err, test.want...)
	}
}

// TestFloat8Configurations: other ways to quantise are refused by name.
func TestFloat8Configurations(t *testing.T) {
	group := func(weights object) object {
		return object{"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": object{"group_0": object{"weights": weights}}}
	}
	for _, test := range []struct {
		config object
		want   []string
	}{
		{object{"quant_method": "gptq"}, []string{`"gptq"`, "fbgemm_fp8"}},
		{object{"quant_method": "modelopt", "quant_algo": "NVFP4"}, []string{`"modelopt"`}},
		{object{"quant_method": "compressed-tensors", "format": "pack-quantized"}, []string{`"pack-quantized"`}},
		{group(object{"num_bits": 4, "type": "float"}), []string{"4 bits, float"}},
		{group(object{"num_bits": 8, "type": "int"}), []string{"8 bits, int"}},
		{group(object{"num_bits": 8, "type": "float", "block_structure": []int{128}}), []string{"block_structure", "[128]"}},
		{object{"quant_method": "fp8", "weight_block_size": []int{0, 128}}, []string{"weight_block_size", "[0 128]"}},
		{object{"quant_method": "fp8", "weight_block_size": "128"}, []string{"weight_block_size", "whole numbers"}},
	} {
		_, err := checkedHF(smallConfig(object{"quantization_config": test.config}))
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: error %v does not say %s", test.config, err, want)
			}
		}
	}
}
