package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"weir/internal/host"
	"weir/internal/weights"
)

// generator is xorshift64*: as fast as memory is written. The weights have to
// look random to the processor, nothing more.
type generator uint64

func newGenerator(name string, part int) generator {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", name, part) // never fails
	return generator(h.Sum64() | 1)
}

func (g *generator) next() uint64 {
	x := uint64(*g)
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	*g = generator(x)
	return x * 0x2545F4914F6CDD1D
}

// fill overwrites b with random bits, of which and keeps some and or sets others.
func (g *generator) fill(b []byte, and, or uint64) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, g.next()&and|or)
	}
	var last [8]byte
	binary.LittleEndian.PutUint64(last[:], g.next()&and|or)
	copy(b, last[:])
}

const allBits = math.MaxUint64

// RandomModel is a model of random weights, in memory.
type RandomModel struct {
	*weights.File
	memory []byte
}

// Close gives the memory back.
func (m *RandomModel) Close() error { return errors.Join(m.File.Close(), release(m.memory)) }

// Save writes the model to a file, which other engines read too.
func (m *RandomModel) Save(path string) error {
	if err := os.WriteFile(path, m.memory, 0o666); err != nil {
		return fmt.Errorf("save the random weights: %w", err)
	}
	return nil
}

// Random makes a model of random weights, as a GGUF in memory of its own: the
// same bytes every time. It uses all processors.
func Random(s Shape, q Quant) (*RandomModel, error) { return random(s, q, everything) }

// RandomVectors is Random without the matrices' numbers, for a backend that makes its
// own: their memory is never touched.
func RandomVectors(s Shape, q Quant) (*RandomModel, error) { return random(s, q, vectors) }

// everything and vectors tell which tensors are filled in.
func everything(*weights.Tensor) bool { return true }
func vectors(t *weights.Tensor) bool  { return len(t.Shape) == 1 }

func random(s Shape, q Quant, which func(*weights.Tensor) bool) (*RandomModel, error) {
	tensors := s.tensors(q)
	var header bytes.Buffer
	if _, err := weights.NewWriter(&header, s.meta(q), tensors); err != nil {
		return nil, fmt.Errorf("make random weights: %w", err)
	}
	total := int64(header.Len())
	for _, t := range tensors {
		total += padded(tensorBytes(t))
	}
	memory, err := allocate(total)
	if err != nil {
		return nil, fmt.Errorf("make random weights of %s: %w", host.Bytes(total), err)
	}
	copy(memory, header.Bytes())
	place(tensors, memory[header.Len():], which)
	f, err := weights.OpenBytes(s.Name+" "+q.Name, memory)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make random weights: %w", err), release(memory))
	}
	return &RandomModel{f, memory}, nil
}

// padded is n up to the alignment of a GGUF's tensors.
func padded(n int64) int64 { return (n + 31) &^ 31 }

// pieceBytes is about how much one goroutine fills at a time.
const pieceBytes = 1 << 20

// piece is whole rows of a tensor.
type piece struct {
	tensor *weights.Tensor
	number int
	data   []byte
}

// place fills in the data of some tensors, one after the other in data.
func place(tensors []weights.Tensor, data []byte, which func(*weights.Tensor) bool) {
	var pieces []piece
	number := 0 // of all tensors' pieces
	for i := range tensors {
		t := &tensors[i]
		n := tensorBytes(*t)
		row := int(n) / t.Rows()
		atOnce := max(1, pieceBytes/row) * row
		for at := 0; at < int(n); at += atOnce {
			if which(t) {
				pieces = append(pieces, piece{t, number, data[at:min(at+atOnce, int(n))]})
			}
			number++
		}
		data = data[padded(n):]
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(pieces)); i = next.Add(1) - 1 {
				pieces[i].fill()
			}
		})
	}
	wg.Wait()
}

func (p *piece) fill() {
	g := newGenerator(p.tensor.Name, p.number)
	if len(p.tensor.Shape) == 1 {
		fillVector(&g, p.data)
		return
	}
	fillMatrix(&g, p.tensor.Type, p.data, 1/math.Sqrt(float64(p.tensor.Cols())))
}

// fillVector makes float32 near 1: norms have that size, and as biases they do no
// harm.
func fillVector(g *generator, b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		v := 1 + float32(g.next()>>56)/1024 - 0.125
		binary.LittleEndian.PutUint32(b, math.Float32bits(v))
	}
}

// fillMatrix makes whole blocks whose numbers have about the root mean square
// rms: with 1/sqrt(cols) a product keeps the size of what it multiplies.
func fillMatrix(g *generator, t weights.Type, b []byte, rms float64) {
	switch t {
	case weights.F32:
		fillFloats(g, b, floatLayout{8, 23, 127}, rms)
	case weights.BF16:
		fillFloats(g, b, floatLayout{8, 7, 127}, rms)
	case weights.F16:
		fillFloats(g, b, floatLayout{5, 10, 15}, rms)
	default:
		fillBlocks(g, t, b, rms)
	}
}

// floatLayout is a format of floats: bits of exponent and fraction, and the bias.
type floatLayout struct{ exponent, fraction, bias int }

// fillFloats makes floats of two octaves, uniform in each, of either sign: the
// exponent's lowest bit is random and the others are not, so that masks do it.
func fillFloats(g *generator, b []byte, l floatLayout, rms float64) {
	const unit = 2.415 // root mean square of numbers in [1, 2) and [2, 4), half each
	exponent := 2 * int(math.Round((math.Log2(rms/unit)+float64(l.bias))/2))
	exponent = min(max(exponent, 2), 1<<l.exponent-4) // neither subnormal nor infinite
	width := 1 + l.exponent + l.fraction
	random := uint64(1)<<(width-1) | uint64(1)<<(l.fraction+1) - 1 // sign, lowest exponent bit, fraction
	fixed := uint64(exponent) << l.fraction
	for at := width; at < 64; at *= 2 {
		random, fixed = random|random<<at, fixed|fixed<<at
	}
	g.fill(b, random, fixed)
}

// half is a binary16 number in a block: the block's scale, times something.
type half struct {
	at    int
	times float32
}

// scales are where a type's blocks keep their scales. A second number is what is
// added or subtracted; the factor makes the numbers' mean zero.
var scales = map[weights.Type][]half{
	weights.Q4_0:   {{0, 1}},
	weights.Q4_1:   {{0, 1}, {2, -7.5}},
	weights.Q5_0:   {{0, 1}},
	weights.Q5_1:   {{0, 1}, {2, -15.5}},
	weights.Q8_0:   {{0, 1}},
	weights.Q2_K:   {{80, 1}, {82, 1.5}},
	weights.Q3_K:   {{108, 1}},
	weights.Q4_K:   {{0, 1}, {2, 7.5}},
	weights.Q5_K:   {{0, 1}, {2, 15.5}},
	weights.Q6_K:   {{208, 1}},
	weights.IQ4_NL: {{0, 1}},
	weights.IQ4_XS: {{0, 1}},
}

// scaleBits is how many of a scale's lowest bits are random.
const scaleBits = 3

// fillBlocks makes blocks whose bits are all random but for the scales.
func fillBlocks(g *generator, t weights.Type, b []byte, rms float64) {
	places, ok := scales[t]
	if !ok {
		panic("bench: internal error: no layout of " + t.String())
	}
	base := weights.F32ToF16(float32(rms / unitRMS(t)))
	var variants [1 << scaleBits][2]uint16
	for i := range variants {
		h := base + uint16(i)
		for j, p := range places {
			variants[i][j] = weights.F32ToF16(weights.F16ToF32(h) * p.times)
		}
	}
	_, n := t.Block()
	g.fill(b, allBits, 0)
	for ; len(b) >= n; b = b[n:] {
		v := &variants[b[places[0].at]&(1<<scaleBits-1)] // a random byte, about to be overwritten
		for j, p := range places {
			binary.LittleEndian.PutUint16(b[p.at:], v[j])
		}
	}
}

// unitRMS is the root mean square of a type's random blocks with scales of 1.
func unitRMS(t weights.Type) float64 {
	const blocks = 16
	g := newGenerator(t.String(), 0)
	elems, n := t.Block()
	b, x := make([]byte, blocks*n), make([]float32, blocks*elems)
	g.fill(b, allBits, 0)
	for i := range blocks {
		for _, p := range scales[t] {
			binary.LittleEndian.PutUint16(b[i*n+p.at:], weights.F32ToF16(p.times))
		}
	}
	weights.DequantizeRow(t, x, b)
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(x)))
}
