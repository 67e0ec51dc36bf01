package cpu

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"weir/internal/backend"
)

// kvCache is a KV cache off the Go heap. Memory is taken when it is first written,
// where it can be in large pages: the prefix cache keeps what was written, so that
// prompts that nobody has sent before go to memory that is new until the pool has
// been used up, and with pages of 4 KiB the faults cost some percent of a prefill.
//
// A page of a group holds all its layers, one after the other: a layer's keys, then
// its values, each of [PageSize, heads]. So what was never used takes no memory, were a
// large page of it as large as the whole of a layer; and a page is its bytes.
type kvCache struct {
	spec   backend.KVSpec
	groups [][]byte     // [group]: its pages
	layers [][]*kvLayer // [group][layer of the group]
}

// kvLayer is one layer's keys and values, in the type of the cache: of each cell heads
// times size bytes, which begin that many times place(cell) into k and v.
type kvLayer struct {
	typ            backend.KVType
	heads, headDim int
	size           int
	page, step     int // cells of a page, and how far it is to the next, in cells
	k, v           []byte
}

func newKV(spec backend.KVSpec) (*kvCache, error) {
	if err := checkKV(spec); err != nil {
		return nil, err
	}
	c := &kvCache{spec: spec}
	for g, group := range spec.Groups {
		b, err := allocate(spec.Pages[g] * c.PageBytes(g))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("KV cache of %d bytes: %w", spec.Bytes(), err), c.Close())
		}
		preferLargePages(b)
		c.groups = append(c.groups, b)
		var layers []*kvLayer
		for i := range group.Layers {
			layers = append(layers, c.newLayer(group, b, i))
		}
		c.layers = append(c.layers, layers)
	}
	return c, nil
}

func checkKV(spec backend.KVSpec) error {
	if spec.Type == backend.KVE4M3 {
		return errors.New("KV cache type fp8 is what GPUs have; on the CPU use f16, bf16, q8_0, q4_0 or f32")
	}
	if !slices.Contains(backend.KVTypes(), spec.Type) {
		return fmt.Errorf("KV cache type %v is none of %v, which the CPU has", spec.Type, backend.KVTypes())
	}
	if spec.PageSize <= 0 || len(spec.Pages) != len(spec.Groups) {
		return fmt.Errorf("KV cache with pages of %d tokens and %d pools for %d groups: internal error", spec.PageSize, len(spec.Pages), len(spec.Groups))
	}
	for g, group := range spec.Groups {
		if group.Heads <= 0 || group.HeadDim <= 0 || group.Window < 0 || spec.Pages[g] < 0 ||
			spec.Pages[g] > math.MaxInt32/(2*max(1, len(group.Layers))*spec.PageSize) { // so that place fits an int32
			return fmt.Errorf("KV cache group %d: %d heads of %d, window %d, %d pages: internal error", g, group.Heads, group.HeadDim, group.Window, spec.Pages[g])
		}
	}
	return nil
}

// newLayer finds the layer number i of a group in its pages.
func (c *kvCache) newLayer(g backend.KVGroup, pages []byte, i int) *kvLayer {
	l := &kvLayer{typ: c.spec.Type, heads: g.Heads, headDim: g.HeadDim, size: c.spec.Type.HeadBytes(g.HeadDim),
		page: c.spec.PageSize, step: 2 * len(g.Layers) * c.spec.PageSize}
	if n := l.page * l.heads * l.size; len(pages) > 0 {
		l.k, l.v = pages[2*i*n:], pages[(2*i+1)*n:]
	}
	return l
}

// place is where a cell is in k and v, counted in cells.
func (l *kvLayer) place(cell int) int { return cell/l.page*l.step + cell%l.page }

func (c *kvCache) Spec() backend.KVSpec { return c.spec }

func (c *kvCache) Close() error {
	var errs []error
	for _, b := range c.groups {
		errs = append(errs, release(b))
	}
	c.groups, c.layers = nil, nil
	return errors.Join(errs...)
}

// put stores k and v [heads*headDim] in a cell.
func (l *kvLayer) put(a arith, cell int32, k, v []float32) {
	n := l.heads * l.size
	at := l.place(int(cell)) * n
	a.keep(l, l.k[at:at+n], k)
	a.keep(l, l.v[at:at+n], v)
}

// key returns the key of one head in a cell [headDim]: in place, or decoded
// into scratch.
func (l *kvLayer) key(scratch []float32, cell, head int) []float32 {
	return l.load(scratch, l.k[(l.place(cell)*l.heads+head)*l.size:])
}

// value returns the value as key does the key.
func (l *kvLayer) value(scratch []float32, cell, head int) []float32 {
	return l.load(scratch, l.v[(l.place(cell)*l.heads+head)*l.size:])
}

// copyCell copies keys and values of one cell to another.
func (l *kvLayer) copyCell(to, from int32) {
	n := l.heads * l.size
	a, b := l.place(int(to))*n, l.place(int(from))*n
	copy(l.k[a:a+n], l.k[b:b+n])
	copy(l.v[a:a+n], l.v[b:b+n])
}
