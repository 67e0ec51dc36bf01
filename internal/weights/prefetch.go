package weights

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"
)

// Progress hears how much of a file is in memory, from the goroutine that brings
// it there, about every [prefetchChunk] bytes.
type Progress func(path string, done, total int64)

// report is nil-safe.
func (p Progress) report(path string, done, total int) {
	if p != nil {
		p(path, int64(done), int64(total))
	}
}

// prefetchChunk is how many bytes are asked for at once: enough for the kernel to
// read in long stretches, little enough to end soon when told to.
const prefetchChunk = 16 << 20

// errShrunk says that a mapping reaches beyond its file's end.
var errShrunk = errors.New("the file is shorter than when it was opened: something replaces or truncates it in place; " +
	"put the whole file back and start again (--load read is for files that change)")

// Prefetch brings mapped files into memory, in the order of the file, and maps
// their pages: first touches in the order of a forward pass would read them in
// small pieces, one page fault at a time. What is in memory already costs next
// to nothing. It ends early, without an error, when ctx does.
//
// One goroutine asks: two or four at once were slower, cold and warm.
func (f *File) Prefetch(ctx context.Context, p Progress) error {
	for i, r := range f.regions {
		if err := r.prefetch(ctx, f.paths[i], p); err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(f.paths[i]), err)
		}
	}
	return nil
}

func (r region) prefetch(ctx context.Context, path string, p Progress) error {
	if !r.mapped {
		return nil
	}
	for done := 0; done < len(r.b) && ctx.Err() == nil; {
		end := min(done+prefetchChunk, len(r.b))
		if err := populate(r.b[done:end]); err != nil {
			return err
		}
		done = end
		p.report(path, done, len(r.b))
	}
	return nil
}

// Enlarge copies mapped files into large pages of memory, in which the processor reads them faster than in
// the small ones of most files, and gives the small ones back piece by piece. The tensors stay where they are, and
// may be used meanwhile by anyone. It returns how many bytes it copied, and goes on while fits says of what is left
// of a file that memory has room for it, until it is done or ctx ends. What is not in files that are mapped, or is
// in large pages already, stays as it is. Nothing may Close the file before it has returned.
func (f *File) Enlarge(ctx context.Context, fits func(left int64) bool) (int64, error) {
	var sum int64
	f.enlarged.Store(true)
	for _, r := range f.regions {
		moved, err := r.enlarge(ctx, fits)
		if sum += moved; err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// Maps tells whether data lies where a file is mapped.
func (f *File) Maps(data []byte) bool { return f.mapping(data) != nil }

// mapping is the region of a mapped file that data lies in, or nil.
func (f *File) mapping(data []byte) *region {
	for i := range f.regions {
		r := &f.regions[i]
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(data))) - uintptr(unsafe.Pointer(unsafe.SliceData(r.b))); r.mapped && len(data) > 0 && at < uintptr(len(r.b)) {
			return r
		}
	}
	return nil
}

// Rest gives back the memory of data that is mapped: what is read again comes again, from the system's cache or
// the file. Weights that are not used as the file has them are not to take memory twice. It does nothing after Enlarge, whose
// copies are all there is.
func (f *File) Rest(data []byte) {
	r := f.mapping(data)
	if r == nil || f.enlarged.Load() {
		return
	}
	page := os.Getpagesize()
	from := int(uintptr(unsafe.Pointer(&data[0])) - uintptr(unsafe.Pointer(&r.b[0])))
	if lo, hi := (from+page-1)/page*page, (from+len(data))/page*page; lo < hi { // whole pages
		rest(r.b[lo:hi])
	}
}

// readAll fills b from the file's beginning.
func readAll(f *os.File, b []byte, p Progress) error {
	for done := 0; done < len(b); {
		end := min(done+prefetchChunk, len(b))
		if _, err := io.ReadFull(f, b[done:end]); err != nil {
			return err
		}
		done = end
		p.report(f.Name(), done, len(b))
	}
	return nil
}
