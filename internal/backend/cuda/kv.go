//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"math"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
)

// kvCache is a KV cache on the GPU.
type kvCache struct {
	device *device
	spec   backend.KVSpec
	layers [][]kvLayer // [group][layer of the group]
	table  []pointer   // [group]: on the device, where the layers' keys and values are
}

// kvLayer is where a layer's keys and values lie, each [cells, heads*headDim].
type kvLayer struct{ k, v pointer }

func newKV(v *device, spec backend.KVSpec) (*kvCache, error) {
	if err := checkKV(spec); err != nil {
		return nil, err
	}
	c := &kvCache{device: v, spec: spec}
	for g := range spec.Groups {
		if err := c.newGroup(g); err != nil {
			return nil, errors.Join(fmt.Errorf("KV cache of %d bytes: %w", spec.Bytes(), err), c.release())
		}
	}
	return c, nil
}

func checkKV(spec backend.KVSpec) error {
	if _, ok := keptAs[spec.Type]; !ok {
		return fmt.Errorf("KV cache type %v is not supported on the GPU; use f16, bf16, fp8, q8_0 or f32", spec.Type)
	}
	if spec.PageSize <= 0 || len(spec.Pages) != len(spec.Groups) || len(spec.Groups) > maxGroups {
		return fmt.Errorf("KV cache with pages of %d tokens and %d pools for %d groups: internal error", spec.PageSize, len(spec.Pages), len(spec.Groups))
	}
	for g, group := range spec.Groups {
		if group.HeadDim > 256 || group.HeadDim%4 != 0 {
			return fmt.Errorf("heads of %d elements are not supported on the GPU: %w", group.HeadDim, ErrUnsupported)
		}
		if spec.Type == backend.KVQ8 && group.HeadDim%64 != 0 {
			return fmt.Errorf("KV cache type q8_0 on the GPU needs heads of a multiple of 64 elements, the model's have %d; use f16, bf16 or fp8", group.HeadDim)
		}
		if group.Heads <= 0 || group.HeadDim <= 0 || group.Window < 0 || spec.Pages[g] < 0 || spec.Pages[g] > math.MaxInt32/spec.PageSize {
			return fmt.Errorf("KV cache group %d: %d heads of %d, window %d, %d pages: internal error", g, group.Heads, group.HeadDim, group.Window, spec.Pages[g])
		}
	}
	return nil
}

// keptAs is how kernels know the types.
var keptAs = map[backend.KVType]int32{backend.KVF16: kern.F16, backend.KVF32: kern.F32, backend.KVBF16: kern.BF16, backend.KVE4M3: kern.KeptE4M3, backend.KVQ8: kern.KeptQ8}

// cellBytes is the size of a cell's keys in one layer, without scales.
func (c *kvCache) cellBytes(g int) int {
	group := c.spec.Groups[g]
	n := group.Heads * group.HeadDim
	if c.spec.Type == backend.KVQ8 {
		return n
	}
	return n * c.spec.Type.Bytes()
}

// scaleBytes is the size of the scales of a cell's keys, which lie behind all cells.
func (c *kvCache) scaleBytes(g int) int {
	if c.spec.Type != backend.KVQ8 {
		return 0
	}
	return c.spec.Groups[g].Heads * c.spec.Groups[g].HeadDim / 32 * 2
}

// cells is how many a group has.
func (c *kvCache) cells(g int) int64 { return int64(c.spec.Pages[g]) * int64(c.spec.PageSize) }

func (c *kvCache) newGroup(g int) error {
	keys := c.cells(g) * int64(c.cellBytes(g))
	bytes := keys + c.cells(g)*int64(c.scaleBytes(g))
	c.layers = append(c.layers, nil)
	var table, scales []uint64
	for range c.spec.Groups[g].Layers {
		k, err := c.device.allocate(bytes)
		if err != nil {
			return err
		}
		c.layers[g] = append(c.layers[g], kvLayer{k: k})
		v, err := c.device.allocate(bytes)
		if err != nil {
			return err
		}
		c.layers[g][len(c.layers[g])-1].v = v
		table = append(table, uint64(k), uint64(v))
		scales = append(scales, uint64(k)+uint64(keys), uint64(v)+uint64(keys))
	}
	table = append(table, scales...)
	at, err := c.device.allocate(int64(8 * len(table)))
	if err != nil {
		return err
	}
	c.table = append(c.table, at)
	return c.device.upload(at, bytesOf(table))
}

// cache describes a layer to the kernels.
func (c *kvCache) cache(at backend.Layer) kern.Cache {
	g := c.spec.Groups[at.Group]
	l := c.layers[at.Group][at.Index]
	keys := uint64(c.cells(at.Group)) * uint64(c.cellBytes(at.Group))
	return kern.Cache{K: uint64(l.k), V: uint64(l.v), KS: uint64(l.k) + keys, VS: uint64(l.v) + keys, Heads: int32(g.Heads), Dim: int32(g.HeadDim),
		Type: keptAs[c.spec.Type], Group: int32(at.Group), Page: int32(c.spec.PageSize), Window: int32(g.Window)}
}

func (c *kvCache) Spec() backend.KVSpec { return c.spec }

// Close frees the cache.
func (c *kvCache) Close() error {
	if c.layers == nil {
		return nil
	}
	done, err := c.device.use()
	if err != nil {
		return err
	}
	defer done()
	return c.release()
}

func (c *kvCache) release() error {
	var errs []error
	for _, layers := range c.layers {
		for _, l := range layers {
			errs = append(errs, c.device.free(l.k), c.device.free(l.v))
		}
	}
	for _, t := range c.table {
		errs = append(errs, c.device.free(t))
	}
	c.layers, c.table = nil, nil
	return errors.Join(errs...)
}
