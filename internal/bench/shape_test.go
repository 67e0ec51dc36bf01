package bench

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
	"weir/internal/model"
	"weir/internal/weights"
)

func quant(t *testing.T, name string) Quant {
	t.Helper()
	q, err := ParseQuant(name)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func shape(t *testing.T, name string) Shape {
	t.Helper()
	s, err := ParseShape(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestShapes compares the shapes' parameters with those that the models' pages
// give: a wrong size shows.
func TestShapes(t *testing.T) {
	published := map[string]int64{
		"llama-68m": 68_030_208, "llama-160m": 162_417_408,
		"qwen3-0.6b": 596_049_920, "tinyllama-1.1b": 1_100_048_384, "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824,
		"qwen2.5-7b": 7_615_616_512, "llama-3.1-8b": 8_030_261_248,
	}
	for _, s := range Shapes() {
		var n int64
		for _, tensor := range s.tensors(quant(t, "f32")) {
			n += int64(tensor.Rows()) * int64(tensor.Cols())
		}
		if n != published[s.Name] {
			t.Errorf("%s has %d parameters, want %d", s.Name, n, published[s.Name])
		}
		for _, q := range Quants() {
			if s.Bytes(q) <= 0 { // panics where a width is no multiple of a block
				t.Errorf("%s at %s has no bytes", s.Name, q.Name)
			}
		}
	}
	if _, err := ParseShape("gpt-5"); err == nil || !strings.Contains(err.Error(), "llama-3.1-8b") {
		t.Errorf("an unknown shape: %v", err)
	}
	if _, err := ParseQuant("q9"); err == nil || !strings.Contains(err.Error(), "q4_k_m") {
		t.Errorf("an unknown type: %v", err)
	}
}

// TestMix: in a file Q4_K_M of 22 layers llama.cpp's quantiser gives Q6_K to the
// values and the feed-forward's last of these layers, and to the output.
func TestMix(t *testing.T) {
	better := map[int]bool{0: true, 1: true, 4: true, 7: true, 10: true, 13: true, 16: true, 19: true, 20: true, 21: true}
	q := quant(t, "Q4_K_M")
	for i := range 22 {
		for _, part := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"} {
			want := weights.Q4_K
			if better[i] && (part == "attn_v" || part == "ffn_down") {
				want = weights.Q6_K
			}
			if got := q.inLayer(part, i, 22); got != want {
				t.Errorf("layer %d, %s: %v, want %v", i, part, got, want)
			}
		}
	}
	for name, want := range map[string]weights.Type{"q4_k_m": weights.Q6_K, "q4_0": weights.Q6_K, "q8_0": weights.Q8_0, "bf16": weights.BF16} {
		if got := quant(t, name).output(); got != want {
			t.Errorf("output of %s: %v, want %v", name, got, want)
		}
	}
}

func TestFits(t *testing.T) {
	s := shape(t, "llama-3.1-8b")
	if err := s.Fits(quant(t, "q4_k_m"), 6<<30); err != nil {
		t.Error(err)
	}
	for bytes, want := range map[int64]string{
		10 << 30: "--type q8_0 fits",
		2 << 30:  "--shape llama-3.2-3b --type ",
		1 << 20:  "no shape does",
	} {
		if err := s.Fits(quant(t, "bf16"), bytes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("in %d bytes: %v, want %q", bytes, err, want)
		}
	}
}

// small is a shape that takes no time, of an architecture.
func small(arch string, tied bool) Shape {
	return Shape{Name: "small", Arch: arch, Layers: 2, Width: 256, FFN: 512, Heads: 4, KVHeads: 2, HeadDim: 64,
		Vocab: 300, Context: 512, Theta: 1e4, Eps: 1e-5, Tied: tied}
}

// TestRandomComputes: a model of every type has random numbers of a sane size,
// and gives logits that a token can be drawn from: a NaN would be an error.
func TestRandomComputes(t *testing.T) {
	shapes := []Shape{small("llama", false), small("qwen2", false), small("qwen3", true)}
	for i, q := range Quants() {
		t.Run(q.Name, func(t *testing.T) {
			m, err := Random(shapes[i%len(shapes)], q)
			if err != nil {
				t.Fatal(err)
			}
			for _, tensor := range m.Tensors() {
				checkRandom(t, tensor)
			}
			o := start(t, m.File, kern.Best(), Settings{Generate: 4, Depth: 20, Batches: []int{2}, Repeat: 1})
			t.Cleanup(func() { o.Engine.Close(); m.Close() }) // before the memory goes
			d := driver{engine: o.Engine, pool: o.Pool, random: newGenerator("test", 0)}
			// Whether the two met while they decoded is up to the machine, and no matter here.
			if _, err := d.decode(t.Context(), direct(o.Engine), 2, 20, 4, o.Chunk); err != nil && !errors.Is(err, errApart) {
				t.Error(err)
			}
		})
	}
}

func checkRandom(t *testing.T, tensor weights.Tensor) {
	t.Helper()
	want := 1 / math.Sqrt(float64(tensor.Cols()))
	if len(tensor.Shape) == 1 {
		want = 1
	}
	sum, mean := 0.0, 0.0
	values := tensor.Float32s()
	for _, v := range values {
		sum += float64(v) * float64(v)
		mean += float64(v)
	}
	n := float64(len(values))
	rms := math.Sqrt(sum / n)
	if !(rms > want/2 && rms < want*2) {
		t.Errorf("%s (%v): root mean square %v, want about %v", tensor.Name, tensor.Type, rms, want)
	}
	if len(tensor.Shape) == 2 && math.Abs(mean/n) > want/4 {
		t.Errorf("%s (%v): mean %v for a root mean square of %v", tensor.Name, tensor.Type, mean/n, rms)
	}
	zeros := bytes.Count(tensor.Data, make([]byte, 8))
	if zeros > 0 && len(tensor.Shape) == 2 {
		t.Errorf("%s (%v): %d runs of zeros", tensor.Name, tensor.Type, zeros)
	}
}

// TestRandomRepeats: the same bytes each time, in memory and in a file.
func TestRandomRepeats(t *testing.T) {
	a, err1 := Random(small("llama", true), quant(t, "q4_k_m"))
	b, err2 := Random(small("llama", true), quant(t, "q4_k_m"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	defer a.Close()
	defer b.Close()
	path := filepath.Join(t.TempDir(), "random.gguf")
	if err := a.Save(path); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(a.memory, b.memory) || !bytes.Equal(a.memory, saved) {
		t.Errorf("two models and a file differ: %v", err)
	}
}

// TestCosts: TinyLlama's shape, by hand.
func TestCosts(t *testing.T) {
	const (
		perLayer = 2*2048*2048 + 2*256*2048 + 3*2048*5632 // q and output, k and v, the feed-forward
		layers   = 22 * perLayer                          // 968,884,224
		norms    = (22*2 + 1) * 2048 * 4
		output   = 32000 * 2048
		kv       = 22 * 4 * 64 * 2 * 2 // of a token: layers, heads, width, keys and values, bytes
		attend   = 22 * 4 * 32 * 64    // of a row and a position
	)
	s := shape(t, "tinyllama-1.1b")
	config := model.Config{Layers: s.Layers, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim}
	c := count(s.tensors(quant(t, "q8_0")), tensorBytes, config, backend.KVF16)
	if want := int64((layers+output)/32*34 + norms); c.WeightBytes() != want {
		t.Errorf("a step reads %d bytes of weights, want %d", c.WeightBytes(), want)
	}
	want := Work{Bytes: 2048/32*34 + 10*kv, Flops: 2*(layers+output) + 10*attend}
	if got := c.DecodeRow(9); got != want {
		t.Errorf("a row at 9 costs %+v, want %+v", got, want)
	}
	want = Work{
		Bytes: 2*(layers/32*34+norms) + output/32*34 + 512*(2048/32*34) + (256+512)*kv,
		Flops: 512*2*layers + 2*output + 512*513/2*attend,
	}
	if got := c.Prefill(512, 256); got != want {
		t.Errorf("a prompt of 512 costs %+v, want %+v", got, want)
	}
	w := window{first: []int{1, 3}, n: 2}
	sum := Work{Bytes: 2 * float64(c.WeightBytes())}
	for _, pos := range []int{5, 6, 7, 8} {
		sum = sum.plus(c.DecodeRow(pos))
	}
	if got := w.work(&c, 5); got != sum {
		t.Errorf("a window costs %+v, want %+v", got, sum)
	}
}

// TestCostsOfWindows: a layer with a window of 4 sees no more.
func TestCostsOfWindows(t *testing.T) {
	s := small("llama", true)
	config := model.Config{Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 64, Window: 4, Windowed: []bool{true, false}, TiedEmbeddings: true}
	c := count(s.tensors(quant(t, "f16")), tensorBytes, config, backend.KVF32)
	const params, output = 2 * (2*256*256 + 2*128*256 + 3*256*512), 300 * 256
	want := Work{Bytes: 256*2 + (4+10)*2*64*2*4, Flops: 2*(params+output) + 4*4*64*(4+10)}
	if got := c.DecodeRow(9); got != want {
		t.Errorf("a row at 9 costs %+v, want %+v", got, want)
	}
	if want := int64(2*(params+output) + 5*256*4); c.WeightBytes() != want {
		t.Errorf("a step reads %d bytes of weights, want %d", c.WeightBytes(), want)
	}
}

// TestRandomVectors: the vectors are those of the whole model, and there are no numbers
// of matrices.
func TestRandomVectors(t *testing.T) {
	whole, err1 := Random(small("qwen2", false), quant(t, "bf16"))
	part, err2 := RandomVectors(small("qwen2", false), quant(t, "bf16"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	defer whole.Close()
	defer part.Close()
	for i, want := range whole.Tensors() {
		got := part.Tensors()[i]
		if len(want.Shape) == 1 && !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s differs", want.Name)
		}
		if len(want.Shape) == 2 && (len(got.Data) != len(want.Data) || bytes.ContainsFunc(got.Data, func(r rune) bool { return r != 0 })) {
			t.Errorf("%s has numbers", want.Name)
		}
	}
}
