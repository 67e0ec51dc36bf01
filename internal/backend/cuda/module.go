//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"weir/internal/backend/cuda/kern"
)

// target picks the kernels for a device: those of sm_90a run on Hopper alone, the
// others on their architecture and whatever came after.
func (v *device) target(asked kern.Target) (kern.Target, error) {
	if asked != 0 {
		if !asked.Runs(v.capability) {
			return 0, fmt.Errorf("%s has compute capability %d.%d, which does not run kernels for %v", v.name, v.capability/10, v.capability%10, asked)
		}
		return asked, nil
	}
	best, ok := kern.Best(v.capability)
	if !ok {
		return 0, fmt.Errorf("%s has compute capability %d.%d, but weir's kernels need 8.0 (Ampere) or newer: use --device cpu", v.name, v.capability/10, v.capability%10)
	}
	return best, nil
}

// module is the kernels of a target on a device.
type module struct {
	*device
	target kern.Target
	handle uintptr
	found  map[string]*kernel
}

// kernel is a function on the device.
type kernel struct {
	name   string
	handle uintptr
	shared int // dynamic shared memory that it may have so far

	cluster  uint32 // so many blocks run side by side
	clusters int    // as have room on the device at once; 0: not asked
}

// Numbers of the just-in-time compiler's options.
const (
	jitErrorLog     = 5
	jitErrorLogSize = 6
)

// loadModule has the driver compile the target's PTX for the device, or take from its
// cache on disk what it compiled before. It is compiled as a whole: what the driver's
// linker (cuLink*) makes of the same text, machine code that could be kept in a file of
// weir's own, leaves room for other units, so that it ignores setmaxnreg, spills what
// does not fit then and has wgmma instructions wait for each other.
func (v *device) loadModule(t kern.Target) (*module, error) {
	m := &module{device: v, target: t, found: map[string]*kernel{}}
	log := make([]byte, 8<<10)
	options := [2]int32{jitErrorLog, jitErrorLogSize}
	values := struct { // with a pointer, so that log lies where it stays
		log  *byte
		size uintptr
	}{&log[0], uintptr(len(log))}
	text := append([]byte(t.PTX()), 0)
	err := v.call(cuModuleLoadDataEx, uintptr(unsafe.Pointer(&m.handle)), uintptr(unsafe.Pointer(&text[0])), 2, uintptr(unsafe.Pointer(&options)), uintptr(unsafe.Pointer(&values)))
	if err == nil {
		return m, nil
	}
	if said, _, _ := strings.Cut(string(log), "\x00"); said != "" {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(said))
	}
	return nil, fmt.Errorf("compiling the kernels for %s (%v, driver for CUDA %s): %w", v.name, t, release(v.version), err)
}

// kernel finds a function that takes dynamic shared memory of so many bytes.
// Which there are is fixed when weir is built: a missing one is a bug.
func (m *module) kernel(name string, shared int) *kernel {
	k := m.found[name]
	if k == nil {
		k = &kernel{name: name, cluster: 1}
		if strings.HasPrefix(name, "wide_") {
			k.cluster = wideCluster
		}
		text := append([]byte(name), 0)
		if err := m.call(cuModuleGetFunction, uintptr(unsafe.Pointer(&k.handle)), m.handle, uintptr(unsafe.Pointer(&text[0]))); err != nil {
			panic(fmt.Sprintf("cuda: kernel %s of %v: %v", name, m.target, err))
		}
		m.found[name] = k
	}
	if shared > k.shared {
		const maxDynamicShared = 8
		if err := m.call(cuFuncSetAttribute, k.handle, maxDynamicShared, uintptr(shared)); err != nil {
			panic(fmt.Sprintf("cuda: kernel %s wants %d bytes of shared memory, a block may have %d: %v", name, shared, m.shared, err))
		}
		k.shared = shared
	}
	return k
}

func (m *module) close() error {
	if m.handle == 0 {
		return nil
	}
	h := m.handle
	m.handle = 0
	return m.call(cuModuleUnload, h)
}

// launcher starts kernels on a stream of the device. What the driver reads while
// it starts one lies in it, so that a start allocates nothing.
type launcher struct {
	*module
	queue  uintptr // CUstream
	config launchConfig
	attrs  [2]launchAttribute
	params [1]unsafe.Pointer
}

// launchConfig and launchAttribute are the driver's CUlaunchConfig and
// CUlaunchAttribute.
type launchConfig struct {
	grid, block [3]uint32
	shared      uint32
	queue       uintptr
	attrs       *launchAttribute
	attrCount   uint32
}

type launchAttribute struct {
	id    uint32
	_     uint32
	value [64]byte
}

// Attributes of a launch, as the driver numbers them. overlapAhead lets a kernel
// start before the one ahead has ended: it waits for that itself, in wait_ahead of
// dev.h. clusterSize says how many blocks run side by side.
const (
	clusterSize  = 4
	overlapAhead = 6
)

func newLauncher(m *module) (*launcher, error) {
	l := &launcher{module: m}
	const nonBlocking = 1
	if err := m.call(cuStreamCreate, uintptr(unsafe.Pointer(&l.queue)), nonBlocking); err != nil {
		return nil, err
	}
	l.attrs[0].id, l.attrs[1].id = overlapAhead, clusterSize
	l.attrs[0].value[0] = 1
	l.attrs[1].value[4], l.attrs[1].value[8] = 1, 1 // three 32-bit numbers
	l.config.queue, l.config.attrs = l.queue, &l.attrs[0]
	return l, nil
}

// launch starts a kernel. args points to its one parameter, a struct of package
// kern.
func (l *launcher) launch(k *kernel, gx, gy, gz, threads, shared int, args unsafe.Pointer) error {
	c := l.configure(k, gx, gy, gz, threads, shared)
	l.params[0] = args
	err := l.call(cuLaunchKernelEx, uintptr(unsafe.Pointer(c)), k.handle, uintptr(unsafe.Pointer(&l.params)), 0)
	if err != nil {
		return fmt.Errorf("kernel %s on a grid of %d x %d x %d: %w", k.name, gx, gy, gz, err)
	}
	return nil
}

// configure says how a kernel is started.
func (l *launcher) configure(k *kernel, gx, gy, gz, threads, shared int) *launchConfig {
	c := &l.config
	c.grid = [3]uint32{uint32(gx), uint32(gy), uint32(gz)}
	c.block = [3]uint32{uint32(threads), 1, 1}
	c.shared, c.attrCount = uint32(shared), 0
	if l.target == kern.SM90a {
		c.attrCount = 1
	}
	if k.cluster > 1 {
		c.attrCount = 2
		binary.LittleEndian.PutUint32(l.attrs[1].value[:], k.cluster)
	}
	return c
}

// room is how many clusters of a kernel's blocks the device has room for at once.
func (l *launcher) room(k *kernel, threads, shared int) (int, error) {
	if k.clusters > 0 {
		return k.clusters, nil
	}
	var n int32
	c := l.configure(k, int(k.cluster), 1, 1, threads, shared)
	if err := l.call(cuOccupancyMaxActiveClusters, uintptr(unsafe.Pointer(&n)), k.handle, uintptr(unsafe.Pointer(c))); err != nil {
		return 0, fmt.Errorf("kernel %s: how many clusters have room: %w", k.name, err)
	}
	k.clusters = int(n)
	return k.clusters, nil
}

func (l *launcher) wait() error { return l.call(cuStreamSynchronize, l.queue) }

func (l *launcher) close() error {
	if l.queue == 0 {
		return nil
	}
	q := l.queue
	l.queue = 0
	return l.call(cuStreamDestroy, q)
}

// tensorMap describes a matrix of rows of bytes to the copy engine: tiles of
// boxRows rows of 128 bytes, swizzled.
func (d *driver) tensorMap(at pointer, rows, rowBytes, stride, boxRows int) (kern.TensorMap, error) {
	return d.describe(at, []uint64{uint64(rowBytes), uint64(rows)}, []uint64{uint64(stride)}, []uint32{128, uint32(boxRows)})
}

// pieceMap describes a matrix whose rows are whole blocks of 128 bytes: boxes of
// eight blocks of eight rows, the rows of a block together.
func (d *driver) pieceMap(at pointer, rows, rowBytes int) (kern.TensorMap, error) {
	return d.describe(at, []uint64{128, uint64(rows), uint64(rowBytes / 128)}, []uint64{uint64(rowBytes), 128}, []uint32{128, 8, 8})
}

// pairMap describes two matrices of one shape to the copy engine: tiles of 64 rows of each, eight
// of the one, eight of the other. first is 1 where b's come first.
func (d *driver) pairMap(a, b pointer, rows, rowBytes, stride int) (m kern.TensorMap, first int32, err error) {
	if b < a {
		a, b, first = b, a, 1
	}
	m, err = d.describe(a, []uint64{uint64(rowBytes), 8, 2, uint64(rows / 8)}, []uint64{uint64(stride), uint64(b - a), uint64(8 * stride)}, []uint32{128, 8, 2, 8})
	return m, first, err
}

// describe makes a description of bytes: their count in each dimension, how far
// apart they are in all but the first, and how many a box has.
func (d *driver) describe(at pointer, dims, strides []uint64, box []uint32) (kern.TensorMap, error) {
	const (
		uint8s     = 0
		swizzle128 = 3
		promote256 = 3
	)
	// The driver wants the result aligned to 64.
	mem := make([]byte, 192)
	off := (64 - uintptr(unsafe.Pointer(&mem[0]))%64) % 64
	steps := [5]uint32{1, 1, 1, 1, 1}
	err := d.call(cuTensorMapEncodeTiled, uintptr(unsafe.Pointer(&mem[off])), uint8s, uintptr(len(dims)), uintptr(at),
		uintptr(unsafe.Pointer(&dims[0])), uintptr(unsafe.Pointer(&strides[0])), uintptr(unsafe.Pointer(&box[0])), uintptr(unsafe.Pointer(&steps)),
		0, swizzle128, promote256, 0)
	return kern.TensorMap(mem[off : off+128]), err
}
