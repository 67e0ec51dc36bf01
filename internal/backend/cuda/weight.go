//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// weight is a matrix [rows, cols] or a vector [cols] on the GPU.
type weight struct {
	name       string
	typ        weights.Type // in the file
	kind       int32        // as stored here: kern.Type..., kern.TypeF32 for vectors
	rows, cols int
	ld         int // elements from row to row, of bf16 and E4M3
	vector     bool
	at, scales pointer
	bytes      int64
	// tiles describes bf16 and E4M3 to Hopper's copy engine, in boxes of 128 rows.
	tiles kern.TensorMap
	// pieces describes them for ring.h, if they are for it: rows of whole 128 bytes.
	pieces kern.TensorMap
	pieced bool
}

func (w *weight) Rows() int          { return w.rows }
func (w *weight) Cols() int          { return w.cols }
func (w *weight) Type() weights.Type { return w.typ }
func (w *weight) Bytes() int64       { return w.bytes }

// padTo is what rows of activations and of plain weights are padded to, in elements.
const padTo = 64

func padded(n int) int { return (n + padTo - 1) / padTo * padTo }

// load brings t onto the device.
func (b *Backend) load(t weights.Tensor) (*weight, error) {
	w := &weight{name: t.Name, typ: t.Type, rows: t.Rows(), cols: t.Cols(), vector: len(t.Shape) == 1}
	if w.rows <= 0 || w.cols <= 0 || w.rows > math.MaxInt32 || w.cols > 1<<20 {
		return nil, fmt.Errorf("of shape %v is not supported on a GPU", t.Shape)
	}
	n, err := t.Type.RowBytes(w.cols)
	if err != nil {
		return nil, err
	}
	if n*w.rows != len(t.Data) {
		return nil, fmt.Errorf("of shape %v has %d bytes, not the %d a row that %v takes", t.Shape, len(t.Data), n, t.Type)
	}
	switch {
	case w.vector:
		return w, b.loadVector(w, t)
	case t.Type == stored(t.Type) && t.Type != weights.BF16:
		return w, b.loadBlocks(w, t)
	case t.Type == weights.BF16 || t.Type == weights.F16 || t.Type == weights.F32:
		return w, b.loadPlain(w, t)
	}
	return w, b.loadOther(w, t)
}

// bytesOf views numbers as bytes.
func bytesOf[T any](x []T) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
}

func (b *Backend) loadVector(w *weight, t weights.Tensor) (err error) {
	w.kind, w.bytes = kern.TypeF32, 4*int64(w.cols)
	if w.at, err = b.device.allocate(w.bytes); err != nil {
		return err
	}
	return b.device.upload(w.at, bytesOf(t.Float32s()))
}

// loadPlain stores bf16, or E4M3 if the options ask for it.
func (b *Backend) loadPlain(w *weight, t weights.Tensor) error {
	w.ld = padded(w.cols)
	at, err := b.toBF16(t.Data, t.Type, w.rows, w.cols)
	if err != nil {
		return err
	}
	w.kind, w.at, w.bytes = kern.TypeBF16, at, 2*int64(w.rows)*int64(w.ld)
	if b.asE4M3(t.Name) {
		if err := b.toE4M3(w); err != nil {
			return err
		}
	}
	b.halves = b.halves || w.kind == kern.TypeBF16 && t.Name != embedding(t.Name)
	return b.describe(w)
}

// asE4M3 tells whether the options make 8 bits of a matrix of plain numbers.
func (b *Backend) asE4M3(name string) bool {
	return b.options.Weights == AsE4M3 && name != embedding(name)
}

// held is what a tensor takes on the device.
func (b *Backend) held(t weights.Tensor) int64 {
	to := stored(t.Type)
	switch {
	case len(t.Shape) == 1:
		return 4 * int64(t.Cols())
	case to != weights.BF16:
		elems, size := to.Block()
		return int64(t.Rows()) * int64(t.Cols()/elems*size)
	case b.asE4M3(t.Name):
		return int64(t.Rows()) * int64(padded(t.Cols())+4)
	}
	return 2 * int64(t.Rows()) * int64(padded(t.Cols()))
}

// embedding is the name of the embedding's tensor, if that is what name is: it is
// looked up, not multiplied, and keeps its type.
func embedding(name string) string {
	switch name {
	case "token_embd.weight", "model.embed_tokens.weight":
		return name
	}
	return ""
}

// size is the bytes of an element of w as products read it, in E4M3 or bf16.
func (w *weight) size() int {
	if w.kind == kern.TypeE4M3 {
		return 1
	}
	return 2
}

// describe makes the copy engine's description of w.
func (b *Backend) describe(w *weight) (err error) {
	if b.module.target != kern.SM90a {
		return nil
	}
	size := w.size()
	if w.pieced = w.ld*size%128 == 0; w.pieced {
		if w.pieces, err = b.device.pieceMap(w.at, w.rows, w.ld*size); err != nil {
			return err
		}
	}
	w.tiles, err = b.device.tensorMap(w.at, w.rows, w.cols*size, w.ld*size, 128)
	return err
}

// toBF16 makes rows of bf16 padded to a multiple of 64.
func (b *Backend) toBF16(data []byte, typ weights.Type, rows, cols int) (pointer, error) {
	ld := padded(cols)
	to, err := b.device.allocate(2 * int64(rows) * int64(ld))
	if err != nil {
		return 0, err
	}
	if typ == weights.BF16 && ld == cols {
		return to, b.device.upload(to, data)
	}
	from, err := b.device.allocate(int64(len(data)))
	if err != nil {
		return 0, err
	}
	defer b.device.free(from)
	if err := b.device.upload(from, data); err != nil {
		return 0, err
	}
	a := kern.Convert{From: uint64(from), To: uint64(to), Rows: int64(rows), Cols: int32(cols), Ld: int32(ld), Type: int32(typ)}
	return to, b.loadRun("convert", (rows*ld+255)/256, args(&a))
}

// loadRun runs a kernel of 256 threads to its end.
func (b *Backend) loadRun(name string, blocks int, a unsafe.Pointer) error {
	if err := b.loader.launch(b.module.kernel(name, 0), blocks, 1, 1, 256, 0, a); err != nil {
		return err
	}
	return b.loader.wait()
}

// toE4M3 replaces a matrix of bf16.
func (b *Backend) toE4M3(w *weight) error {
	from := w.at
	defer b.device.free(from)
	var err error
	if w.at, err = b.device.allocate(int64(w.rows) * int64(w.ld)); err != nil {
		return err
	}
	if w.scales, err = b.device.allocate(4 * int64(w.rows)); err != nil {
		return err
	}
	w.kind, w.bytes = kern.TypeE4M3, int64(w.rows)*int64(w.ld)+4*int64(w.rows)
	count, err := b.device.allocate(4)
	if err != nil {
		return err
	}
	defer b.device.free(count)
	if err := b.device.upload(count, bytesOf([]int32{int32(w.rows)})); err != nil {
		return err
	}
	a := kern.E4M3{From: uint64(from), To: uint64(w.at), Scales: uint64(w.scales), Count: uint64(count), Ld: int32(w.ld)}
	return b.loadRun("to_e4m3_rows", w.rows, args(&a))
}

// LoadFloat8 is part of backend.Float8Loader.
func (b *Backend) LoadFloat8(t weights.Tensor, scales []float32, p backend.Placement) (backend.Weight, error) {
	w := &weight{name: t.Name, typ: t.Type, kind: kern.TypeE4M3, rows: t.Rows(), cols: t.Cols(), ld: padded(t.Cols())}
	if p.Ranks > 1 || t.Type != weights.F8E4M3 || len(t.Shape) != 2 || len(scales) != w.rows || len(t.Data) != w.rows*w.cols || w.rows == 0 || w.cols == 0 || w.cols > 1<<20 {
		return nil, fmt.Errorf("tensor %q: %s of shape %v with %d scales on %d ranks is not supported on a GPU", t.Name, t.TypeName(), t.Shape, len(scales), p.Ranks)
	}
	return b.keep(w, func() error { return b.loadFloat8(w, t.Data, scales) })
}

// keep has w filled in. Close frees what w has by then, if that fails.
func (b *Backend) keep(w *weight, fill func() error) (backend.Weight, error) {
	done, err := b.device.use()
	if err != nil {
		return nil, err
	}
	defer done()
	b.weights = append(b.weights, w)
	if err := fill(); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", w.name, err)
	}
	return w, nil
}

func (b *Backend) loadFloat8(w *weight, data []byte, scales []float32) (err error) {
	if w.ld != w.cols {
		wide := make([]byte, w.rows*w.ld)
		for r := range w.rows {
			copy(wide[r*w.ld:], data[r*w.cols:(r+1)*w.cols])
		}
		data = wide
	}
	w.bytes = int64(len(data) + 4*w.rows)
	if w.at, err = b.device.allocate(int64(len(data))); err != nil {
		return err
	}
	if w.scales, err = b.device.allocate(4 * int64(w.rows)); err != nil {
		return err
	}
	if err := errors.Join(b.device.upload(w.at, data), b.device.upload(w.scales, bytesOf(scales))); err != nil {
		return err
	}
	return b.describe(w)
}

// LoadRandom is Load with random numbers, made on the device, in the place of a BF16
// matrix's data, which may be nothing: for measuring. They have a root mean square of
// about 1/sqrt(cols), and are the same every time.
func (b *Backend) LoadRandom(t weights.Tensor) (backend.Weight, error) {
	w := &weight{name: t.Name, typ: t.Type, kind: kern.TypeBF16, rows: t.Rows(), cols: t.Cols(), ld: t.Cols()}
	if t.Type != weights.BF16 || len(t.Shape) != 2 || padded(w.cols) != w.cols {
		return nil, fmt.Errorf("tensor %q: random numbers of type %s and shape %v are not made on a GPU", t.Name, t.TypeName(), t.Shape)
	}
	return b.keep(w, func() error { return b.loadRandom(w) })
}

func (b *Backend) loadRandom(w *weight) (err error) {
	n, rms := int64(w.rows)*int64(w.cols), float32(1/math.Sqrt(float64(w.cols)))
	w.bytes = 2 * n
	a := kern.Random{Seed: uint32(len(b.weights)), Kind: kern.TypeBF16, Size: rms * float32(math.Sqrt(3))} // uniform up to that
	if b.asE4M3(w.name) {
		const unitRMS = 68.5 // of the codes that the kernel makes
		w.kind, w.bytes, a.Kind = kern.TypeE4M3, n+4*int64(w.rows), kern.TypeE4M3
		if w.scales, err = b.device.allocate(4 * int64(w.rows)); err != nil {
			return err
		}
		scales := make([]float32, w.rows)
		for i := range scales {
			scales[i] = rms / unitRMS
		}
		if err := b.device.upload(w.scales, bytesOf(scales)); err != nil {
			return err
		}
	}
	if w.kind == kern.TypeE4M3 {
		a.N = n / 4
	} else {
		a.N = n / 2
	}
	if w.at, err = b.device.allocate(4 * a.N); err != nil {
		return err
	}
	a.To = uint64(w.at)
	if err := b.loadRun("random_fill", 16*b.device.processors, args(&a)); err != nil {
		return err
	}
	return b.describe(w)
}

// multipliesE4M3 tells whether activations are needed in 8 bits.
func (b *Backend) multipliesE4M3() bool {
	return b.options.Weights == AsE4M3 || slices.ContainsFunc(b.weights, func(w *weight) bool { return w.kind == kern.TypeE4M3 })
}

// scalesBehind is what lies behind a matrix's scales, in bytes: zeros. gemv.h copies words of two scales, of the last row up to
// two that are not its own, and multiplies with zero what it finds there, which must be a number.
const scalesBehind = 8

// loadBlocks stores GGUF's blocks: Q4_K as they are, the others with their scales
// apart.
func (b *Backend) loadBlocks(w *weight, t weights.Tensor) (err error) {
	w.kind, w.bytes, w.ld = int32(t.Type), int64(len(t.Data)), w.cols
	raw, err := b.device.allocate(int64(len(t.Data)))
	if err != nil {
		return err
	}
	if err := b.device.upload(raw, t.Data); err != nil {
		return err
	}
	if t.Type == weights.Q4_K {
		w.at = raw
		return nil
	}
	defer b.device.free(raw)
	elems, size := t.Type.Block()
	blocks := int64(w.rows) * int64(w.cols/elems)
	if w.at, err = b.device.allocate(blocks * int64(size-2)); err != nil {
		return err
	}
	if w.scales, err = b.device.allocate(2*blocks + scalesBehind); err != nil {
		return err
	}
	if err := b.device.upload(w.scales+pointer(2*blocks), make([]byte, scalesBehind)); err != nil {
		return err
	}
	a := kern.Repack{From: uint64(raw), To: uint64(w.at), Scales: uint64(w.scales), Blocks: blocks, Type: w.kind}
	return b.loadRun("repack", int((blocks+255)/256), args(&a))
}

// matrix is w as the kernels that decode it take it.
func (w *weight) matrix() kern.Matrix {
	return kern.Matrix{At: uint64(w.at), Scales: uint64(w.scales), Rows: int32(w.rows), Cols: int32(w.cols), Ld: int32(w.ld), Type: w.kind}
}

// matrix returns the weight behind bw, which must be a matrix of cols columns.
func matrix(bw backend.Weight, cols int, op string) *weight {
	w, ok := bw.(*weight)
	if !ok {
		panic(fmt.Sprintf("cuda: %s: weight of type %T was not loaded by this backend", op, bw))
	}
	if w.vector || w.cols != cols {
		panic(fmt.Sprintf("cuda: %s: tensor %q [%d, %d] where a matrix of %d columns belongs", op, w.name, w.rows, w.cols, cols))
	}
	return w
}

// vector returns where the n elements of bw lie; 0 for none.
func vector(bw backend.Weight, n int, op string) uint64 {
	if bw == nil {
		return 0
	}
	w, ok := bw.(*weight)
	if !ok || !w.vector || w.cols != n {
		panic(fmt.Sprintf("cuda: %s: %v is no vector of %d that this backend loaded", op, bw, n))
	}
	return uint64(w.at)
}
