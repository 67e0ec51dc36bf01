package weights

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// largePage is what the processor maps with one entry if memory and its address
// are both at such a bound.
const largePage = 2 << 20

// mapPages maps memory that begins where a large page can.
func mapPages(fd, size, prot, flags int) ([]byte, error) {
	whole := uintptr(size) + 2*largePage
	from, err := unix.MmapPtr(-1, 0, nil, whole, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	before := -uintptr(from) & (largePage - 1)
	at, err := unix.MmapPtr(fd, 0, unsafe.Add(from, before), uintptr(size), prot, flags|unix.MAP_FIXED)
	if err != nil {
		return nil, errors.Join(err, unix.MunmapPtr(from, whole))
	}
	end := before + inPages(size)
	if before > 0 {
		err = unix.MunmapPtr(from, before)
	}
	err = errors.Join(err, unix.MunmapPtr(unsafe.Add(from, end), whole-end))
	return unsafe.Slice((*byte)(at), size), err
}

// unmapPages lets go of what mapPages gave.
func unmapPages(b []byte) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

// inPages rounds a size up to whole pages.
func inPages(size int) uintptr {
	page := uintptr(os.Getpagesize())
	return (uintptr(size) + page - 1) &^ (page - 1)
}

// enlarge puts copies in large pages in the place of a mapped file's small ones.
func (r region) enlarge(ctx context.Context, fits func(left int64) bool) (moved int64, err error) {
	if !r.mapped || len(r.b) < largePage || isLarge(r.b) {
		return 0, nil
	}
	return r.exchange(ctx, fits)
}

// exchange does it piece by piece, while others read them: the kernel moves a piece to its address within
// one call, and what reads there meanwhile waits. The bytes are the same before and after.
func (r region) exchange(ctx context.Context, fits func(left int64) bool) (moved int64, err error) {
	piece := max(prefetchChunk, (len(r.b)>>10)&^(largePage-1)) // a mapping may be of many pieces, but not of any number
	for at := 0; at < len(r.b) && ctx.Err() == nil && fits(int64(len(r.b)-at)); at += piece {
		part := r.b[at:min(at+piece, len(r.b))]
		if err := replace(part); err != nil {
			return moved, fmt.Errorf("copy weights into large pages: %w", err)
		}
		moved += int64(len(part))
	}
	return moved, nil
}

// replace puts a copy of a part in its place.
func replace(part []byte) error {
	to, err := mapPages(-1, len(part), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	preferLargePages(to)
	if err = copyMapped(to, part); err == nil {
		err = os.NewSyscallError("mprotect", unix.Mprotect(to, unix.PROT_READ))
	}
	if err != nil {
		return errors.Join(err, unmapPages(to))
	}
	// What the kernel can refuse it refuses before it lets go of the pages that are there.
	size := inPages(len(part))
	_, err = unix.MremapPtr(unsafe.Pointer(unsafe.SliceData(to)), size, unsafe.Pointer(unsafe.SliceData(part)), size,
		unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED)
	if err != nil {
		return errors.Join(os.NewSyscallError("mremap", err), unmapPages(to))
	}
	return nil
}

// copyMapped copies from a mapping whose file may have been cut short.
func copyMapped(to, from []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = errShrunk
		}
	}()
	copy(to, from)
	return nil
}

// isLarge tells that most of a mapping is in large pages already: a file system can read files so.
func isLarge(b []byte) bool {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return false
	}
	return 4*largeIn(maps, uintptr(unsafe.Pointer(unsafe.SliceData(b)))) >= 3*int64(len(b))
}

// largeIn returns how many bytes of the mapping at an address are in large pages, by a process's smaps.
func largeIn(maps []byte, at uintptr) (sum int64) {
	here := false
	for line := range bytes.Lines(maps) {
		key, rest, _ := strings.Cut(string(line), " ")
		if from, _, ok := strings.Cut(key, "-"); ok {
			start, err := strconv.ParseUint(from, 16, 64)
			here = err == nil && uintptr(start) == at
		}
		if here && (key == "FilePmdMapped:" || key == "ShmemPmdMapped:") {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			sum += n << 10
		}
	}
	return sum
}
