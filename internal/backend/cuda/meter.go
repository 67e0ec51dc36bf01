//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// meter implements Meter.
type meter struct {
	backend *Backend
	launch  *launcher
	memory  pointer
	events  [2]uintptr
}

// probeBytes is what a probe copies, half of it to the other half: far more than
// caches hold.
const probeBytes = 2 << 30

// NewMeter takes memory and a queue of its own.
func (b *Backend) NewMeter() (Meter, error) {
	done, err := b.device.use()
	if err != nil {
		return nil, err
	}
	defer done()
	p := &meter{backend: b}
	if p.launch, err = newLauncher(b.module); err != nil {
		return nil, err
	}
	if p.memory, err = b.device.allocate(probeBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("memory to measure with: %w", err), p.launch.close())
	}
	for i := range p.events {
		if err := b.device.call(cuEventCreate, uintptr(unsafe.Pointer(&p.events[i])), 0); err != nil {
			return nil, err
		}
	}
	a := kern.Random{To: uint64(p.memory), N: probeBytes / 4, Seed: 1, Kind: kern.TypeBF16, Size: 1}
	if err := p.launch.launch(b.module.kernel("random_fill", 0), 16*b.device.processors, 1, 1, 256, 0, args(&a)); err != nil {
		return nil, err
	}
	return p, p.launch.wait()
}

// Close gives the memory back.
func (p *meter) Close() error {
	done, err := p.backend.device.use()
	if err != nil {
		return err
	}
	defer done()
	v := p.backend.device
	errs := []error{v.free(p.memory), p.launch.close()}
	for _, e := range p.events {
		errs = append(errs, v.call(cuEventDestroy, e))
	}
	return errors.Join(errs...)
}

// time is the seconds that what f queues takes.
func (p *meter) time(f func() error) (float64, error) {
	done, err := p.backend.device.use()
	if err != nil {
		return 0, err
	}
	defer done()
	v, ms := p.backend.device, float32(0)
	for _, step := range []func() error{
		func() error { return v.call(cuEventRecord, p.events[0], p.launch.queue) },
		f,
		func() error { return v.call(cuEventRecord, p.events[1], p.launch.queue) },
		func() error { return v.call(cuEventSynchronize, p.events[1]) },
		func() error {
			return v.call(cuEventElapsedTime, uintptr(unsafe.Pointer(&ms)), p.events[0], p.events[1])
		},
	} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return float64(ms) / 1e3, nil
}

// Describe is the card and the driver.
func (p *meter) Describe() string { return p.backend.Describe() }

// Kernels is which the engine uses.
func (p *meter) Kernels() string { return p.backend.module.target.String() }

// Bytes is what bandwidth is measured on.
func (p *meter) Bytes() int64 { return probeBytes }

// Methods says how the limits are measured.
func (p *meter) Methods() (bandwidth, arithmetic string) {
	const copied = "copy within the GPU's memory by its driver, bytes read and bytes written"
	if p.backend.module.target != kern.SM90a {
		return copied, "mma.sync on bf16 operands in registers"
	}
	if p.backend.options.Weights == AsE4M3 {
		return copied, "wgmma on random E4M3 operands in shared memory"
	}
	return copied, "wgmma on random bf16 operands in shared memory"
}

// Bandwidth is bytes a second, read and written; 0 if it cannot be measured.
func (p *meter) Bandwidth() float64 {
	const times, half = 4, probeBytes / 2
	took, err := p.time(func() (err error) {
		for range times {
			err = errors.Join(err, p.backend.device.call(cuMemcpyDtoDAsync, uintptr(p.memory)+half, uintptr(p.memory), half, p.launch.queue))
		}
		return err
	})
	if err != nil || took == 0 {
		return 0
	}
	return times * probeBytes / took
}

// Arithmetic is operations a second, two for each multiply-add, on random
// operands; 0 if it cannot be measured.
func (p *meter) Arithmetic() float64 {
	const loops = 20000
	a := kern.Peak{From: uint64(p.memory), To: uint64(p.memory), Loops: loops}
	name, threads, shared := "peak_mma", 256, 0
	flops := 2.0 * 16 * 8 * 16 * 8 * 8 // a loop of a block: 8 warps, 8 products each
	if p.backend.module.target == kern.SM90a {
		name, threads, shared = "peak_bf16", 256, 48<<10+1024
		flops = 2.0 * 128 * 256 * 64
		if p.backend.options.Weights == AsE4M3 {
			name, flops = "peak_e4m3", 2*flops
		}
	}
	took, err := p.time(func() error {
		return p.launch.launch(p.backend.module.kernel(name, shared), p.backend.device.processors, 1, 1, threads, shared, args(&a))
	})
	if err != nil || took == 0 {
		return 0
	}
	return loops * flops * float64(p.backend.device.processors) / took
}

// Held is what a tensor takes on the device.
func (p *meter) Held(t weights.Tensor) int64 { return p.backend.held(t) }
