package model

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"weir/internal/backend"
	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

// dequantized copies a GGUF with every tensor as F32.
func dequantized(t *testing.T, f *weights.File) *weights.File {
	t.Helper()
	var tensors []weights.Tensor
	for _, s := range f.Tensors() {
		tensors = append(tensors, weights.Tensor{Name: s.Name, Type: weights.F32, Shape: s.Shape, Data: floatBytes(s.Float32s())})
	}
	var b bytes.Buffer
	if err := weights.WriteGGUF(&b, f.Meta().KVs(), tensors); err != nil {
		t.Fatal(err)
	}
	return openBytes(t, b.Bytes())
}

// plantScale doubles the first scale of a row of blocks, or the largest number
// of a row of a plain type.
func plantScale(typ weights.Type, row []byte) {
	at, quantised := modeltest.ScaleAt(typ)
	if quantised {
		scale := weights.F16ToF32(binary.LittleEndian.Uint16(row[at:]))
		binary.LittleEndian.PutUint16(row[at:], weights.F32ToF16(2*scale))
		return
	}
	_, size := typ.Block()
	x := make([]float32, len(row)/size)
	weights.DequantizeRow(typ, x, row)
	largest := 0
	for i := range x {
		if math.Abs(float64(x[i])) > math.Abs(float64(x[largest])) {
			largest = i
		}
	}
	v := 2 * x[largest]
	switch typ {
	case weights.F32:
		binary.LittleEndian.PutUint32(row[4*largest:], math.Float32bits(v))
	case weights.F16:
		binary.LittleEndian.PutUint16(row[2*largest:], weights.F32ToF16(v))
	case weights.BF16:
		binary.LittleEndian.PutUint16(row[2*largest:], weights.F32ToBF16(v))
	}
}

// apart is the largest difference of two runs' logits.
func apart(a, b [][]float32) float64 {
	var worst float64
	for i := range a {
		for j := range a[i] {
			if d := math.Abs(float64(a[i][j]) - float64(b[i][j])); !(d <= worst) {
				worst = d
			}
		}
	}
	return worst
}

// TestWeightTypesAgreeWithDequantized runs a model in every weight type and the
// same model decoded to F32, and once more with one wrong scale.
func TestWeightTypesAgreeWithDequantized(t *testing.T) {
	const rounding = 1e-4 // of logits of size 5; a wrong scale comes to 1e-2 and more
	for _, p := range modeltest.Peers() {
		if p.Name != "wide-llama" {
			continue
		}
		ids := p.Prompt(8)
		run := func(f *weights.File) [][]float32 {
			return newRunner(t, f, runOptions{kvType: backend.KVF32}).step(ids)
		}
		f := openGGUF(t, p.Checkpoint, p.Type)
		want := run(dequantized(t, f))
		if d := apart(run(f), want); !(d <= rounding) {
			t.Errorf("%v: logits differ from those of the decoded weights by %.2g", p.Type, d)
		}
		tensor, _ := f.Tensor("blk.0.ffn_down.weight")
		plantScale(p.Type, tensor.Row(7))
		if d := apart(run(f), want); d <= 10*rounding {
			t.Errorf("%v with one wrong scale: logits differ by only %.2g", p.Type, d)
		}
	}
}

// TestChunksGiveTheSameBits runs each golden's prompt whole, token by token and
// in pieces, over pages and threads of several sizes.
func TestChunksGiveTheSameBits(t *testing.T) {
	for _, g := range readGoldens(t) {
		f, _ := g.open(t, weights.HF)
		for _, kvType := range []backend.KVType{backend.KVF16, backend.KVF32} {
			want := newRunner(t, f, runOptions{kvType: kvType}).step(g.IDs)
			for _, o := range []struct{ chunk, page, threads int }{{1, 16, 1}, {7, 4, 2}, {16, 16, 2}, {39, 32, 1}} {
				r := newRunner(t, f, runOptions{kvType: kvType, pageSize: o.page, threads: o.threads})
				got := r.chunks(g.IDs, o.chunk)
				if !sameBits(got, want) {
					t.Errorf("%s, KV %v, %+v: logits differ by %g from those of the whole prompt", g.name, kvType, o, apart(got, want))
				}
			}
		}
	}
}

func sameBits(a, b [][]float32) bool {
	for i := range a {
		for j := range a[i] {
			if math.Float32bits(a[i][j]) != math.Float32bits(b[i][j]) {
				return false
			}
		}
	}
	return len(a) == len(b)
}
