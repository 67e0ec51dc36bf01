//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"weir/internal/backend"
	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// Backend implements backend.Backend.
type Backend struct {
	options Options
	device  *device
	module  *module
	loader  *launcher // for what is done while loading
	weights []*weight
	widened int64 // bytes that stored types take more than the files'
	halves  bool  // some are held in bf16 and would be halved by AsE4M3
	kvs     []*kvCache
	streams []*stream
}

// Open takes a GPU and compiles the kernels for it, which takes seconds when they
// are not in a cache yet.
func Open(o Options) (*Backend, error) {
	d, err := openDriver()
	if err != nil {
		return nil, err
	}
	v, err := d.openDevice(o.Device)
	if err != nil {
		return nil, err
	}
	b := &Backend{options: o, device: v}
	if err := b.start(); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return b, nil
}

func (b *Backend) start() error {
	var asked kern.Target
	var err error
	if b.options.Target != "" {
		if asked, err = kern.ParseTarget(b.options.Target); err != nil {
			return err
		}
	}
	target, err := b.device.target(asked)
	if err != nil {
		return err
	}
	done, err := b.device.use()
	if err != nil {
		return err
	}
	defer done()
	if b.module, err = b.device.loadModule(target); err != nil {
		return err
	}
	b.loader, err = newLauncher(b.module)
	return err
}

// Info says what computes.
func (b *Backend) Info() backend.Info {
	return backend.Info{Name: "cuda", Level: b.module.target.String(), OneClass: true}
}

// Describe is the card and the driver, for people.
func (b *Backend) Describe() string {
	v := b.device
	return fmt.Sprintf("%s, compute capability %d.%d, %d processors, driver for CUDA %s", v.name, v.capability/10, v.capability%10, v.processors, release(v.version))
}

// Memory is the bytes that the GPU has free and in all. Where it shares the
// machine's memory, what the machine has available counts, not this.
func (b *Backend) Memory() (free, total int64, unified bool, err error) {
	free, total, err = b.device.memory()
	return free, total, b.device.unified, err
}

// WeightBytes is part of backend.Sizer.
func (b *Backend) WeightBytes() int64 {
	var n int64
	for _, w := range b.weights {
		n += w.bytes
	}
	return n
}

// StreamBytes is part of backend.Sizer.
func (b *Backend) StreamBytes(plan backend.Plan) int64 {
	s := stream{backend: b, plan: plan}
	s.layout(0)
	wide := int64(0)
	for _, w := range b.weights {
		if w.kind != kern.TypeBF16 && !w.vector {
			wide = max(wide, 2*int64(w.rows)*int64(padded(w.cols)))
		}
	}
	return s.size + wide
}

// Load copies a tensor to the GPU, in the layout that the kernels take.
func (b *Backend) Load(t weights.Tensor, p backend.Placement) (backend.Weight, error) {
	if p.Ranks > 1 {
		return nil, fmt.Errorf("tensor %q: one GPU computes whole models, not %d ranks", t.Name, p.Ranks)
	}
	done, err := b.device.use()
	if err != nil {
		return nil, err
	}
	defer done()
	w, err := b.load(t)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, b.TooWide(err, false))
	}
	b.weights = append(b.weights, w)
	return w, nil
}

// NewKV allocates a cache.
func (b *Backend) NewKV(spec backend.KVSpec) (backend.KV, error) {
	done, err := b.device.use()
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := newKV(b.device, spec)
	if err != nil {
		return nil, err
	}
	b.kvs = append(b.kvs, c)
	return c, nil
}

// NewStream allocates everything that plan asks for.
func (b *Backend) NewStream(plan backend.Plan) (backend.Stream, error) {
	done, err := b.device.use()
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := newStream(b, plan)
	if err != nil {
		return nil, err
	}
	b.streams = append(b.streams, s)
	return s, nil
}

// Close frees all that the backend allocated, and lets the GPU go.
func (b *Backend) Close() error {
	done, err := b.device.use()
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for _, s := range b.streams {
		errs = append(errs, s.release())
	}
	for _, c := range b.kvs {
		errs = append(errs, c.release())
	}
	for _, w := range b.weights {
		errs = append(errs, b.device.free(w.at), b.device.free(w.scales))
	}
	b.streams, b.kvs, b.weights = nil, nil, nil
	if b.loader != nil {
		errs = append(errs, b.loader.close())
	}
	if b.module != nil {
		errs = append(errs, b.module.close())
	}
	return errors.Join(append(errs, b.device.close())...)
}

// args is where a kernel's parameter lies.
func args[T any](a *T) unsafe.Pointer { return unsafe.Pointer(a) }
