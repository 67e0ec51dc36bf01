//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// driver is NVIDIA's driver library. Its functions are called by address: the
// library is looked for when the program runs, and its absence is no error of the
// program's.
type driver struct {
	version int // 12040 is 12.4
	sym     [symbols]uintptr
}

// symbol numbers the functions that are used.
type symbol int

const (
	cuInit symbol = iota
	cuDriverGetVersion
	cuGetErrorName
	cuGetErrorString
	cuDeviceGetCount
	cuDeviceGet
	cuDeviceGetName
	cuDeviceGetAttribute
	cuDevicePrimaryCtxRetain
	cuDevicePrimaryCtxRelease
	cuCtxSetCurrent
	cuMemGetInfo
	cuMemAlloc
	cuMemFree
	cuMemHostAlloc
	cuMemFreeHost
	cuMemcpyHtoD
	cuMemcpyDtoH
	cuMemcpyHtoDAsync
	cuMemcpyDtoHAsync
	cuMemcpyDtoDAsync
	cuMemsetD8Async
	cuMemcpy2DUnaligned
	cuStreamCreate
	cuStreamDestroy
	cuStreamSynchronize
	cuStreamBeginCapture
	cuStreamEndCapture
	cuGraphInstantiate
	cuGraphLaunch
	cuGraphDestroy
	cuGraphExecDestroy
	cuEventCreate
	cuEventDestroy
	cuEventRecord
	cuEventSynchronize
	cuEventElapsedTime
	cuModuleLoadDataEx
	cuModuleUnload
	cuModuleGetFunction
	cuFuncSetAttribute
	cuFuncGetAttribute
	cuLaunchKernelEx
	cuOccupancyMaxActiveClusters
	cuTensorMapEncodeTiled
	symbols
)

// names are what the library calls them: a changed function has a new name.
var names = [symbols]string{
	cuInit: "cuInit", cuDriverGetVersion: "cuDriverGetVersion", cuGetErrorName: "cuGetErrorName", cuGetErrorString: "cuGetErrorString",
	cuDeviceGetCount: "cuDeviceGetCount", cuDeviceGet: "cuDeviceGet", cuDeviceGetName: "cuDeviceGetName", cuDeviceGetAttribute: "cuDeviceGetAttribute",
	cuDevicePrimaryCtxRetain: "cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRelease: "cuDevicePrimaryCtxRelease_v2", cuCtxSetCurrent: "cuCtxSetCurrent",
	cuMemGetInfo: "cuMemGetInfo_v2", cuMemAlloc: "cuMemAlloc_v2", cuMemFree: "cuMemFree_v2", cuMemHostAlloc: "cuMemHostAlloc", cuMemFreeHost: "cuMemFreeHost",
	cuMemcpyHtoD: "cuMemcpyHtoD_v2", cuMemcpyDtoH: "cuMemcpyDtoH_v2", cuMemcpyHtoDAsync: "cuMemcpyHtoDAsync_v2", cuMemcpyDtoHAsync: "cuMemcpyDtoHAsync_v2",
	cuMemcpyDtoDAsync: "cuMemcpyDtoDAsync_v2", cuMemsetD8Async: "cuMemsetD8Async", cuMemcpy2DUnaligned: "cuMemcpy2DUnaligned_v2",
	cuStreamCreate: "cuStreamCreate", cuStreamDestroy: "cuStreamDestroy_v2", cuStreamSynchronize: "cuStreamSynchronize",
	cuStreamBeginCapture: "cuStreamBeginCapture_v2", cuStreamEndCapture: "cuStreamEndCapture",
	cuGraphInstantiate: "cuGraphInstantiateWithFlags", cuGraphLaunch: "cuGraphLaunch", cuGraphDestroy: "cuGraphDestroy", cuGraphExecDestroy: "cuGraphExecDestroy",
	cuEventCreate: "cuEventCreate", cuEventDestroy: "cuEventDestroy_v2", cuEventRecord: "cuEventRecord", cuEventSynchronize: "cuEventSynchronize", cuEventElapsedTime: "cuEventElapsedTime",
	cuModuleLoadDataEx: "cuModuleLoadDataEx", cuModuleUnload: "cuModuleUnload", cuModuleGetFunction: "cuModuleGetFunction",
	cuFuncSetAttribute: "cuFuncSetAttribute", cuFuncGetAttribute: "cuFuncGetAttribute", cuLaunchKernelEx: "cuLaunchKernelEx", cuTensorMapEncodeTiled: "cuTensorMapEncodeTiled",
	cuOccupancyMaxActiveClusters: "cuOccupancyMaxActiveClusters",
}

// oldest is the oldest driver that takes the kernels' PTX and has every function.
const oldest = 12000

// openDriver finds the library and checks its version.
func openDriver() (*driver, error) {
	lib, err := purego.Dlopen("libcuda.so.1", purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("%w (libcuda.so.1 could not be opened: %v)", ErrAbsent, err)
	}
	d := &driver{}
	for s := range d.sym {
		// A function may be missing from an old driver: the version says more.
		d.sym[s], _ = purego.Dlsym(lib, names[s])
	}
	if d.sym[cuInit] == 0 || d.sym[cuDriverGetVersion] == 0 {
		return nil, fmt.Errorf("%w (libcuda.so.1 is no CUDA driver)", ErrAbsent)
	}
	if r, _, _ := purego.SyscallN(d.sym[cuInit], 0); r != 0 {
		return nil, fmt.Errorf("%w (the driver is installed but finds none that it can use: error %d)", ErrAbsent, int32(r))
	}
	var v int32
	if err := d.call(cuDriverGetVersion, uintptr(unsafe.Pointer(&v))); err != nil {
		return nil, err
	}
	if d.version = int(v); d.version < oldest {
		return nil, fmt.Errorf("the NVIDIA driver supports CUDA %s, but weir's kernels need %s: install a driver of series 525 or newer, or use --device cpu", release(d.version), release(oldest))
	}
	for s, at := range d.sym {
		if at == 0 {
			return nil, fmt.Errorf("the NVIDIA driver (CUDA %s) has no function %s: install a newer one, or use --device cpu", release(d.version), names[s])
		}
	}
	return d, nil
}

// release writes 12040 as 12.4.
func release(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// Error is what the driver says went wrong.
type Error struct {
	Call string // the function
	Code int
	Name string // "CUDA_ERROR_OUT_OF_MEMORY"
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s (%s)", e.Call, e.Text, e.Name) }

// outOfMemory is the driver's code for it.
const outOfMemory = 2

func isOutOfMemory(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == outOfMemory
}

// call calls a function that returns a CUresult.
//
//go:uintptrescapes
func (d *driver) call(s symbol, args ...uintptr) error {
	r, _, _ := purego.SyscallN(d.sym[s], args...)
	if int32(r) == 0 {
		return nil
	}
	return d.failure(s, int32(r))
}

func (d *driver) failure(s symbol, code int32) error {
	text := func(f symbol) string {
		var p *byte
		if r, _, _ := purego.SyscallN(d.sym[f], uintptr(code), uintptr(unsafe.Pointer(&p))); r != 0 || p == nil {
			return fmt.Sprintf("error %d", code)
		}
		n := 0
		for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
			n++
		}
		return string(unsafe.Slice(p, n))
	}
	return &Error{Call: names[s], Code: int(code), Name: text(cuGetErrorName), Text: text(cuGetErrorString)}
}

// pointer is an address in the device's memory.
type pointer uint64

func (p pointer) at(n int) pointer { return p + pointer(n) }

// device is an opened GPU.
type device struct {
	*driver
	ordinal    int32
	context    uintptr
	name       string
	capability int // 90 is 9.0
	processors int
	shared     int // bytes of shared memory that a block may have
	unified    bool
	reads      float64 // bytes a ns that memory gives, about
}

// Attributes of a device, as the driver numbers them.
const (
	attrProcessors = 16
	attrIntegrated = 18
	attrMemClock   = 36 // kHz
	attrMemBits    = 37
	attrMajor      = 75
	attrMinor      = 76
	attrShared     = 97
)

func (d *driver) attribute(ordinal int32, number int) (int, error) {
	var v int32
	err := d.call(cuDeviceGetAttribute, uintptr(unsafe.Pointer(&v)), uintptr(number), uintptr(ordinal))
	return int(v), err
}

// openDevice takes the primary context of a device.
func (d *driver) openDevice(number int) (*device, error) {
	var count int32
	if err := d.call(cuDeviceGetCount, uintptr(unsafe.Pointer(&count))); err != nil {
		return nil, err
	}
	if count == 0 {
		return nil, fmt.Errorf("%w (the driver lists none)", ErrAbsent)
	}
	if number < 0 || number >= int(count) {
		return nil, fmt.Errorf("there is no GPU %d: the driver lists %d, from 0", number, count)
	}
	v := &device{driver: d}
	if err := d.call(cuDeviceGet, uintptr(unsafe.Pointer(&v.ordinal)), uintptr(number)); err != nil {
		return nil, err
	}
	if err := v.describe(); err != nil {
		return nil, err
	}
	if err := d.call(cuDevicePrimaryCtxRetain, uintptr(unsafe.Pointer(&v.context)), uintptr(v.ordinal)); err != nil {
		return nil, fmt.Errorf("opening %s: %w", v.name, err)
	}
	return v, nil
}

func (v *device) describe() error {
	var name [256]byte
	if err := v.call(cuDeviceGetName, uintptr(unsafe.Pointer(&name)), uintptr(len(name)), uintptr(v.ordinal)); err != nil {
		return err
	}
	for n, c := range name {
		if c == 0 {
			v.name = string(name[:n])
			break
		}
	}
	var a [7]int
	for i, number := range []int{attrMajor, attrMinor, attrProcessors, attrShared, attrIntegrated, attrMemClock, attrMemBits} {
		var err error
		if a[i], err = v.attribute(v.ordinal, number); err != nil {
			return err
		}
	}
	v.capability, v.processors, v.shared, v.unified = 10*a[0]+a[1], a[2], a[3], a[4] != 0
	const share, twice = 0.85, 2 // of what the bus could; a clock
	if v.reads = share * twice * float64(a[5]) * float64(a[6]) / 8 / 1e6; v.reads == 0 {
		v.reads = 2000 // the driver does not tell
	}
	return nil
}

// use makes the device the current one of this thread; the caller keeps the
// thread until release.
func (v *device) use() (done func(), err error) {
	runtime.LockOSThread()
	if err := v.call(cuCtxSetCurrent, v.context); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return runtime.UnlockOSThread, nil
}

func (v *device) close() error {
	if v.context == 0 {
		return nil
	}
	v.context = 0
	return v.call(cuDevicePrimaryCtxRelease, uintptr(v.ordinal))
}

// memory is what the device has free and in all.
func (v *device) memory() (free, total int64, err error) {
	done, err := v.use()
	if err != nil {
		return 0, 0, err
	}
	defer done()
	var f, t uint64
	err = v.call(cuMemGetInfo, uintptr(unsafe.Pointer(&f)), uintptr(unsafe.Pointer(&t)))
	return int64(f), int64(t), err
}

// allocate takes device memory. The thread must have the device.
func (v *device) allocate(n int64) (pointer, error) {
	if n == 0 {
		n = 1
	}
	var p pointer
	if err := v.call(cuMemAlloc, uintptr(unsafe.Pointer(&p)), uintptr(n)); err != nil {
		if isOutOfMemory(err) {
			return 0, fmt.Errorf("%d bytes on %s: out of memory; use a smaller model, a smaller --memory, or end what else uses the GPU: %w", n, v.name, err)
		}
		return 0, err
	}
	return p, nil
}

func (v *device) free(p pointer) error {
	if p == 0 {
		return nil
	}
	return v.call(cuMemFree, uintptr(p))
}

// pinned takes host memory that the device copies from and to by itself.
func (v *device) pinned(n int) ([]byte, error) {
	var p unsafe.Pointer
	if err := v.call(cuMemHostAlloc, uintptr(unsafe.Pointer(&p)), uintptr(max(n, 1)), 0); err != nil {
		return nil, fmt.Errorf("%d bytes of pinned host memory: %w", n, err)
	}
	return unsafe.Slice((*byte)(p), n), nil
}

func (v *device) unpin(b []byte) error {
	if b == nil {
		return nil
	}
	return v.call(cuMemFreeHost, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// upload copies to the device and waits for it: the driver's copy returns once it has
// read its source, but kernels of another queue must find it done.
func (v *device) upload(to pointer, from []byte) error {
	if len(from) == 0 {
		return nil
	}
	if err := v.call(cuMemcpyHtoD, uintptr(to), uintptr(unsafe.Pointer(&from[0])), uintptr(len(from))); err != nil {
		return err
	}
	const defaultQueue = 0
	return v.call(cuStreamSynchronize, defaultQueue)
}

// download copies from the device and waits for it.
func (v *device) download(to []byte, from pointer) error {
	if len(to) == 0 {
		return nil
	}
	return v.call(cuMemcpyDtoH, uintptr(unsafe.Pointer(&to[0])), uintptr(from), uintptr(len(to)))
}
