package cpu

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/weights"
)

// kvCache is a KV cache off the Go heap. Pages take memory when they are first
// written.
type kvCache struct {
	spec   backend.KVSpec
	blocks [][]byte     // what to release
	layers [][]*kvLayer // [group][layer of the group]
}

// kvLayer is one layer's keys and values, each [cells, heads*headDim], in the
// type of the cache: either the f32 or the f16 fields are set.
type kvLayer struct {
	heads, headDim int
	k32, v32       []float32
	k16, v16       []uint16
}

func newKV(spec backend.KVSpec) (*kvCache, error) {
	if err := checkKV(spec); err != nil {
		return nil, err
	}
	c := &kvCache{spec: spec}
	for g, group := range spec.Groups {
		cells := spec.Pages[g] * spec.PageSize
		var layers []*kvLayer
		for range group.Layers {
			l, err := c.newLayer(group, cells)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("KV cache of %d bytes: %w", spec.Bytes(), err), c.Close())
			}
			layers = append(layers, l)
		}
		c.layers = append(c.layers, layers)
	}
	return c, nil
}

func checkKV(spec backend.KVSpec) error {
	if spec.Type != backend.KVF16 && spec.Type != backend.KVF32 {
		return fmt.Errorf("KV cache type %v is not supported on the CPU; use f16 or f32", spec.Type)
	}
	if spec.PageSize <= 0 || len(spec.Pages) != len(spec.Groups) {
		return fmt.Errorf("KV cache with pages of %d tokens and %d pools for %d groups: internal error", spec.PageSize, len(spec.Pages), len(spec.Groups))
	}
	for g, group := range spec.Groups {
		if group.Heads <= 0 || group.HeadDim <= 0 || group.Window < 0 || spec.Pages[g] < 0 ||
			spec.Pages[g] > math.MaxInt32/spec.PageSize {
			return fmt.Errorf("KV cache group %d: %d heads of %d, window %d, %d pages: internal error", g, group.Heads, group.HeadDim, group.Window, spec.Pages[g])
		}
	}
	return nil
}

func (c *kvCache) newLayer(g backend.KVGroup, cells int) (*kvLayer, error) {
	l := &kvLayer{heads: g.Heads, headDim: g.HeadDim}
	n := cells * g.Heads * g.HeadDim
	b, err := allocate(2 * n * c.spec.Type.Bytes())
	if err != nil {
		return nil, err
	}
	c.blocks = append(c.blocks, b)
	if c.spec.Type == backend.KVF32 {
		f := floats(b)
		l.k32, l.v32 = f[:n:n], f[n:]
	} else {
		h := halves(b)
		l.k16, l.v16 = h[:n:n], h[n:]
	}
	return l, nil
}

func (c *kvCache) Spec() backend.KVSpec { return c.spec }

func (c *kvCache) Close() error {
	var errs []error
	for _, b := range c.blocks {
		errs = append(errs, release(b))
	}
	c.blocks, c.layers = nil, nil
	return errors.Join(errs...)
}

// put stores k and v [heads*headDim] in a cell.
func (l *kvLayer) put(a arith, cell int32, k, v []float32) {
	n := l.heads * l.headDim
	at := int(cell) * n
	if l.k32 != nil {
		copy(l.k32[at:at+n], k)
		copy(l.v32[at:at+n], v)
		return
	}
	a.store16(l.k16[at:at+n], k)
	a.store16(l.v16[at:at+n], v)
}

// bytes is where a head's keys and values begin, for kern.Attend: the stride
// from cell to cell in bytes, and 1 for binary16.
func (l *kvLayer) bytes(head int) (k, v *byte, stride, half int64) {
	at, n := head*l.headDim, int64(l.heads*l.headDim)
	if l.k32 != nil {
		return bytesOf(l.k32[at:]), bytesOf(l.v32[at:]), 4 * n, 0
	}
	return (*byte)(unsafe.Pointer(&l.k16[at])), (*byte)(unsafe.Pointer(&l.v16[at])), 2 * n, 1
}

// key returns the key of one head in a cell [headDim]: in place, or decoded
// into scratch.
func (l *kvLayer) key(scratch []float32, cell, head int) []float32 {
	at := (cell*l.heads + head) * l.headDim
	if l.k32 != nil {
		return l.k32[at : at+l.headDim]
	}
	return load16(scratch, l.k16[at:at+l.headDim])
}

// value returns the value as key does the key.
func (l *kvLayer) value(scratch []float32, cell, head int) []float32 {
	at := (cell*l.heads + head) * l.headDim
	if l.v32 != nil {
		return l.v32[at : at+l.headDim]
	}
	return load16(scratch, l.v16[at:at+l.headDim])
}

// copyCell copies keys and values of one cell to another.
func (l *kvLayer) copyCell(to, from int32) {
	n := l.heads * l.headDim
	a, b := int(to)*n, int(from)*n
	if l.k32 != nil {
		copy(l.k32[a:a+n], l.k32[b:b+n])
		copy(l.v32[a:a+n], l.v32[b:b+n])
		return
	}
	copy(l.k16[a:a+n], l.k16[b:b+n])
	copy(l.v16[a:a+n], l.v16[b:b+n])
}

func store16(dst []uint16, src []float32) {
	for i, v := range src {
		dst[i] = weights.F32ToF16(v)
	}
}

func load16(dst []float32, src []uint16) []float32 {
	dst = dst[:len(src)]
	for i, h := range src {
		if m := uint32(h & 0x7fff); m-0x400 < 0x7c00-0x400 { // normal: rebias the exponent
			dst[i] = math.Float32frombits(uint32(h&0x8000)<<16 | (m<<13 + 112<<23))
		} else {
			dst[i] = weights.F16ToF32(h)
		}
	}
	return dst
}
