package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/backend"
	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

// golden is what tools/reference/make_goldens.py writes: a float64 reference's
// logits.
type golden struct {
	Config map[string]any
	IDs    []int32
	Rows   []int
	Logits [][]float64 // of Rows
	name   string
}

func readGoldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/reference/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	for _, p := range paths {
		g := golden{name: strings.TrimSuffix(filepath.Base(p), ".json")}
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		all = append(all, g)
	}
	if len(all) < 18 {
		t.Fatalf("%d goldens in testdata: expected the 18 of make_goldens.py", len(all))
	}
	return all
}

func readGolden(t *testing.T, name string) golden {
	t.Helper()
	for _, g := range readGoldens(t) {
		if g.name == name {
			return g
		}
	}
	t.Fatalf("there is no golden %s", name)
	return golden{}
}

// tolerance is the largest difference allowed, as a share of the logits' root
// mean square. Sound runs come to at most 3e-6 (-v shows each); the planted
// errors of TestPlantedErrors, down to a window off by one, to 1e-3 and more.
const tolerance = 1e-5

// difference is the largest difference as a share of the logits' root mean
// square.
func (g golden) difference(logits [][]float32) float64 {
	var worst, sum float64
	n := 0
	for i, row := range g.Rows {
		for j, want := range g.Logits[i] {
			d := math.Abs(float64(logits[row][j]) - want)
			if d > worst || math.IsNaN(d) {
				worst = d
			}
			sum += want * want
			n++
		}
	}
	return worst / math.Sqrt(sum/float64(n))
}

func (g golden) checkpoint() *modeltest.Checkpoint { return modeltest.New(g.name, g.Config) }

// open opens the golden's checkpoint in a format; false: GGUF cannot say it.
func (g golden) open(t *testing.T, format weights.Format) (*weights.File, bool) {
	if format == weights.HF {
		return openHF(t, g.checkpoint()), true
	}
	if g.name == "llama-yarn-mscale" { // whole pairs only
		return nil, false
	}
	return openGGUF(t, g.checkpoint(), weights.F32), true
}

func TestLogitsAgreeWithReference(t *testing.T) {
	for _, g := range readGoldens(t) {
		for _, format := range []weights.Format{weights.HF, weights.GGUF} {
			f, ok := g.open(t, format)
			if !ok {
				continue
			}
			r := newRunner(t, f, runOptions{kvType: backend.KVF32})
			d := g.difference(r.step(g.IDs))
			t.Logf("%s %v: %.1e", g.name, format, d)
			if !(d <= tolerance) {
				t.Errorf("%s from %v: logits differ from the reference by %.2g of their size, more than %g", g.name, format, d, tolerance)
			}
		}
	}
}

// parts returns the parts that all families share, for tests that spoil them.
func parts(m Model) *decoder {
	switch m := m.(type) {
	case *llama:
		return &m.decoder
	case *mistral:
		return &m.decoder
	case *qwen2:
		return &m.decoder
	case *qwen3:
		return &m.decoder
	}
	panic("unknown family")
}

// TestPlantedErrors shows that the tolerance finds small mistakes: each must
// take the logits out of it.
func TestPlantedErrors(t *testing.T) {
	errors := map[string]func(d *decoder){
		"epsilon off by a tenth":                func(d *decoder) { d.config.Eps *= 1.1 },
		"two rope pairs swapped":                func(d *decoder) { f := d.rope.Freq; f[1], f[2] = f[2], f[1] },
		"one rope frequency off by a hundredth": func(d *decoder) { d.rope.Freq[1] *= 1.01 },
		"other rope layout":                     func(d *decoder) { d.rope.Interleaved = !d.rope.Interleaved },
		"attention scale off by a thousandth":   func(d *decoder) { d.attend.Scale *= 1.001 },
		"two layers swapped":                    func(d *decoder) { d.layers[0].down, d.layers[1].down = d.layers[1].down, d.layers[0].down },
	}
	for _, g := range readGoldens(t) {
		f, _ := g.open(t, weights.HF)
		for what, plant := range errors {
			r := newRunner(t, f, runOptions{kvType: backend.KVF32, change: func(m Model) { plant(parts(m)) }})
			if d := g.difference(r.step(g.IDs)); d <= 2*tolerance {
				t.Errorf("%s with %s: logits differ by only %.2g, too close to the tolerance %g", g.name, what, d, tolerance)
			}
		}
	}
}

func TestPlantedWindow(t *testing.T) {
	for _, g := range readGoldens(t) {
		if g.name != "mistral" && g.name != "qwen2-window" {
			continue
		}
		f, _ := g.open(t, weights.HF)
		for _, off := range []int{-1, 1} {
			r := newRunner(t, f, runOptions{kvType: backend.KVF32, change: func(m Model) {
				gs := parts(m).groups
				gs[len(gs)-1].Window += off
			}})
			if d := g.difference(r.step(g.IDs)); d <= 2*tolerance {
				t.Errorf("%s with a window off by %d: logits differ by only %.2g", g.name, off, d)
			}
		}
	}
}

// TestPlantedWeight scales one number of each tensor of a checkpoint.
func TestPlantedWeight(t *testing.T) {
	for _, g := range readGoldens(t) {
		switch g.name {
		case "llama-bias", "qwen2", "qwen3-tied-bias":
		default:
			continue
		}
		f := openHF(t, g.checkpoint())
		for i, tensor := range f.Tensors() {
			spoilt := spoil(t, f, i, int(g.IDs[0]))
			r := newRunner(t, spoilt, runOptions{kvType: backend.KVF32})
			if d := g.difference(r.step(g.IDs)); d <= tolerance {
				t.Errorf("%s with one number of %s off by half its tensor's size: logits differ by only %.2g", g.name, tensor.Name, d)
			}
		}
	}
}

// spoil copies a checkpoint with one number of tensor i changed by half the
// largest of that tensor; of the embedding, one of token's.
func spoil(t *testing.T, f *weights.File, i, token int) *weights.File {
	t.Helper()
	var tensors []weights.Tensor
	for j, s := range f.Tensors() {
		if j == i {
			x := s.Float32s()
			var largest float32
			for _, v := range x {
				largest = max(largest, v, -v)
			}
			at := len(x) / 2
			if s.Name == "model.embed_tokens.weight" {
				at = token * s.Cols()
			}
			x[at] += largest / 2
			s.Data = floatBytes(x)
		}
		tensors = append(tensors, s)
	}
	return rewriteHF(t, f, tensors)
}

func TestNewRopeKeepsWholeTurns(t *testing.T) {
	c := Config{HeadDim: 4, RopeTheta: 100}
	got := NewRope(c, nil)
	if got.Freq[0] != 1 || math.Abs(got.Freq[1]-0.1) > 1e-15 || got.Scale != 1 || got.Dim != 4 {
		t.Errorf("rope %+v: expected the frequencies 1 and 0.1", got)
	}
}

func TestForwardAllocatesNothing(t *testing.T) {
	g := readGolden(t, "llama-bias")
	r := newRunner(t, openGGUF(t, g.checkpoint(), weights.F32), runOptions{})
	r.step(g.IDs)
	if n := testing.AllocsPerRun(10, func() { r.model.Forward(r.stream) }); n != 0 {
		t.Errorf("a forward pass made %v allocations", n)
	}
}
