//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// turning is attention of new tokens that are turned on the way: queries, keys and values in f32, and
// how they are turned.
type turning struct {
	*decode
	turn            kern.Turn
	q, k, v         []float32 // [rows, heads*dim], [rows, kvHeads*dim]
	turns           []float64 // [dim/2], or nil
	qnorm, knorm    []float32 // [dim], or nil
	interleaved     bool
	keys, values    []float32 // of the cache, with the new ones
	queries         []uint16  // turned
	newKeys, newVal []uint16  // [rows, kvHeads*dim]
}

func (b *bench) normals(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(b.rng.NormFloat64())
	}
	return x
}

// turning lays out the case with random ways to turn.
func (b *bench) turning(c decodeCase, k, v kept, room int) *turning {
	e := b.decode(c, k, v, room)
	rows, queries, kv := e.batch.rows, c.heads*c.dim, c.kvHeads*c.dim
	o := &turning{decode: e, q: b.normals(rows * queries), k: b.normals(rows * kv), v: b.normals(rows * kv), interleaved: b.rng.IntN(2) == 0}
	act := func(x []float32, ld int) kern.Act {
		return kern.Act{At: uint64(put(b, x)), Ld: int32(ld), Type: kern.F32}
	}
	r := kern.Rope{Q: act(o.q, queries), K: act(o.k, kv), V: act(o.v, kv), Cache: e.args.Cache, Meta: e.args.Meta, Heads: int32(c.heads), Scale: 1, Eps: 1e-5}
	if b.rng.IntN(4) > 0 {
		o.turns, r.Rotated, r.Scale = make([]float64, c.dim/2), int32(c.dim), 1.25
		for i := range o.turns {
			o.turns[i] = math.Pow(500000, -2*float64(i)/float64(c.dim)) / (2 * math.Pi)
		}
		r.Turns = uint64(put(b, o.turns))
	}
	if o.interleaved {
		r.Interleaved = 1
	}
	if b.rng.IntN(2) == 0 {
		o.qnorm, o.knorm = b.normals(c.dim), b.normals(c.dim)
		r.QNorm, r.KNorm = uint64(put(b, o.qnorm)), uint64(put(b, o.knorm))
	}
	o.turn = kern.Turn{Attend: e.args, Rope: r}
	o.expect(k.values, v.values)
	return o
}

// expect turns the new tokens by float64 and puts their keys and values where the cache keeps them.
func (o *turning) expect(keys, values []float32) {
	o.keys, o.values = append([]float32(nil), keys...), append([]float32(nil), values...)
	for row := range o.batch.rows {
		pos := o.lengths[row] - 1
		for h := range o.heads {
			o.queries = append(o.queries, o.turned(o.q[(row*o.heads+h)*o.dim:][:o.dim], o.qnorm, pos, true)...)
		}
		for h := range o.kvHeads {
			at := (row*o.kvHeads + h) * o.dim
			k, v := o.turned(o.k[at:][:o.dim], o.knorm, pos, true), o.turned(o.v[at:][:o.dim], nil, pos, false)
			o.newKeys, o.newVal = append(o.newKeys, k...), append(o.newVal, v...)
			cell := (int(o.cells[row][pos])*o.kvHeads + h) * o.dim
			for d := range o.dim {
				o.keys[cell+d], o.values[cell+d] = weights.F16ToF32(k[d]), weights.F16ToF32(v[d])
			}
		}
	}
}

// turned is a head as the cache keeps it.
func (o *turning) turned(x, norm []float32, pos int, turns bool) []uint16 {
	f, out := make([]float64, o.dim), make([]uint16, o.dim)
	sum := 0.0
	for d, v := range x {
		f[d] = float64(v)
		sum += f[d] * f[d]
	}
	for d := range norm {
		f[d] *= float64(norm[d]) / math.Sqrt(sum/float64(o.dim)+1e-5)
	}
	for i := 0; turns && i < len(o.turns); i++ {
		a, b := i, i+o.dim/2
		if o.interleaved {
			a, b = 2*i, 2*i+1
		}
		sin, cos := math.Sincos(2 * math.Pi * float64(pos) * o.turns[i])
		f[a], f[b] = 1.25*(f[a]*cos-f[b]*sin), 1.25*(f[a]*sin+f[b]*cos)
	}
	for d := range f {
		out[d] = weights.F32ToF16(float32(f[d]))
	}
	return out
}

// A new token's attention that turns it on the way is what float64 makes of the same numbers, and
// the cache has its key and value: first tokens, parts that blocks share, windows, sinks.
func TestAttendOne(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, dim := range []int{64, 128} {
			for _, c := range []decodeCase{
				{lengths: []int{1}, heads: 4, kvHeads: 1, page: 16},
				{lengths: []int{65}, heads: 32, kvHeads: 8, page: 16},
				{lengths: []int{1900}, heads: 32, kvHeads: 8, page: 16},
				{lengths: []int{3000, 2, 31, 32, 33, 34, 127, 128, 129, 130, 256, 257, 258, 700}, heads: 8, kvHeads: 2, page: 16},
				{lengths: []int{5, 900, 301, 302, 50, 1}, heads: 8, kvHeads: 1, page: 5, sinks: true, window: 300},
				{lengths: []int{5, 40, 41, 300}, heads: 3, kvHeads: 3, page: 7, window: 1},
				{lengths: []int{70, 1200}, heads: 5, kvHeads: 1, page: 1, sinks: true},
				{lengths: []int{9000, 20}, heads: 8, kvHeads: 8, page: 16},
				{lengths: slices.Repeat([]int{1500}, 40), heads: 16, kvHeads: 8, page: 16},
			} {
				for range 3 {
					c.kind, c.dim, c.rows = kern.F16, dim, 1
					b.oneCase(c)
				}
			}
		}
	})
}

func (b *bench) oneCase(c decodeCase) {
	keep, room := len(b.mine), c.room()
	k := b.kept(c.kind, room*c.kvHeads*c.dim, 1)
	v := b.kept(c.kind, len(k.values), 1)
	o := b.turning(c, k, v, room)
	for range 2 { // the second must not depend on what the first left
		b.startOne(o)
	}
	b.must(b.wait())
	b.compareOne(o)
	b.freeTo(keep)
}

func (b *bench) startOne(o *turning) {
	s := &stream{device: b.device, launch: b.launcher, batch: o.batch}
	name := turnName(&o.turn, o.batch.decode)
	if want := fmt.Sprintf("attend_one_%d", o.dim); name != want {
		b.Fatalf("%+v takes %s, want %s", o.decodeCase, name, want)
	}
	shared := turnShared(o.dim, b.target)
	parts := s.attendParts(&o.args.Cache, o.batch.few, turnBlocks(b.target), turnLeast)
	b.must(b.launch(b.kernel(name, shared), o.kvHeads, o.batch.few, parts, 128, shared, unsafe.Pointer(&o.turn)))
}

func (b *bench) compareOne(o *turning) {
	cols, kv := o.heads*o.dim, o.kvHeads*o.dim
	got := get[uint16](b, pointer(o.args.Dst.At), o.batch.rows*cols)
	keys, values := get[uint16](b, pointer(o.args.Cache.K), len(o.keys)), get[uint16](b, pointer(o.args.Cache.V), len(o.values))
	for row, n := range o.lengths {
		for head := range o.heads {
			at := row*cols + head*o.dim
			want, size := o.expected(o.queries[at:at+o.dim], o.keys, o.values, row, n-1, head)
			if d := firstOff(got[at:], want, size); d >= 0 {
				b.Errorf("%+v: row %d, head %d, element %d is %v, want %v", o.decodeCase, row, head, d, weights.BF16ToF32(got[at+d]), want[d])
				return
			}
		}
		for d := range kv {
			cell := int(o.cells[row][n-1])*kv + d
			k, v := weights.F16ToF32(o.newKeys[row*kv+d]), weights.F16ToF32(o.newVal[row*kv+d])
			gk, gv := weights.F16ToF32(keys[cell]), weights.F16ToF32(values[cell])
			if !(math.Abs(float64(gk-k)) <= 0.002*math.Abs(float64(k))+1e-4) || gv != v {
				b.Errorf("%+v: the cache keeps %v and %v of row %d, element %d, want %v and %v", o.decodeCase, gk, gv, row, d, k, v)
				return
			}
		}
	}
}

// How fast a new token's attention is with Llama 3.1 8B's heads.
func TestOneSpeed(t *testing.T) {
	hopperSpeed(t, func(b *bench) {
		for _, c := range [][2]int{{1, 64}, {1, 1000}, {1, 8000}, {4, 1000}, {16, 1000}, {48, 1000}} {
			keep := len(b.mine)
			d := decodeCase{kind: kern.F16, dim: 128, rows: 1, heads: 32, kvHeads: 8, page: 16}
			for range c[0] {
				d.lengths = append(d.lengths, c[1])
			}
			room := c[0] * (c[1] + 16)
			k := b.kept(d.kind, room*d.kvHeads*d.dim, 1)
			o := b.turning(d, k, b.kept(d.kind, len(k.values), 1), room)
			fmt.Printf("attend_one_128, %d sequences of %d: %.1f us\n", c[0], c[1], 1e3*b.time(40, func(int) { b.startOne(o) }))
			b.freeTo(keep)
		}
	})
}
