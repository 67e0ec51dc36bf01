package weights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// Load says how a file's bytes come into memory.
type Load uint8

const (
	// Mmap maps the file read-only: pages come in as they are touched and are
	// shared with other processes. Where the platform cannot, it reads.
	Mmap Load = iota
	// Read reads the whole file into memory first, outside the Go heap where
	// the platform can: safe when somebody replaces the file in place.
	Read
)

// Options are the choices of [Open]. The zero value is the default.
type Options struct {
	Load Load
	// Progress hears of files that are read; nil: nobody does. For those that are
	// mapped see [File.Prefetch].
	Progress Progress
}

// Format is the kind of file that was opened.
type Format uint8

const (
	GGUF Format = iota + 1
	HF          // safetensors with the JSON files beside them
)

// String returns "GGUF" or "safetensors".
func (f Format) String() string {
	switch f {
	case GGUF:
		return "GGUF"
	case HF:
		return "safetensors"
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// File is an open model: its tensors and what is said about them. Its methods
// may be called from any goroutine; Close only when no Tensor of it is in use.
type File struct {
	format   Format
	name     string
	dir      string // where JSON looks; "" for a GGUF
	paths    []string
	meta     *Metadata
	tensors  []Tensor
	index    map[string]int // name -> index into tensors
	regions  []region
	enlarged atomic.Bool // regions may hold copies that are in no file
}

// damaged closes the messages about files that contradict themselves.
const damaged = "the file is truncated or damaged; download it again"

// Open opens the model at path: a GGUF file (or any part of a split set), a
// directory with a Hugging Face checkpoint, or one .safetensors file.
//
// A GGUF with weights in a format that weir does not read is refused. Tensors
// of plain types that weir does not compute with (integer buffers, and every
// such dtype of safetensors) are listed all the same, their Type not Supported:
// [File.Lookup] reports those to whoever asks for one.
func Open(path string, o Options) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	f := &File{index: map[string]int{}, meta: &Metadata{}}
	switch {
	case st.IsDir():
		err = f.openCheckpoint(path, o)
	case !st.Mode().IsRegular():
		err = fmt.Errorf("%s is neither a file nor a directory: give a .gguf file, a checkpoint directory or a .safetensors file", path)
	case strings.EqualFold(filepath.Ext(path), ".safetensors"):
		err = f.openSafetensors(path, o)
	default:
		if err = checkMagic(path); err == nil {
			err = f.openGGUF(path, o)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenBytes opens a GGUF that is in memory. b must not change while the file,
// or a tensor of it, is in use. The name stands in error messages.
func OpenBytes(name string, b []byte) (*File, error) {
	f := &File{format: GGUF, name: name, index: map[string]int{}}
	meta, tensors, err := parseGGUF(name, b)
	if err != nil {
		return nil, err
	}
	if n, ok := meta.Uint(splitCount); ok && n > 1 {
		return nil, fmt.Errorf("%s: is one part of %d: only a whole model can be opened from memory; merge the parts first", name, n)
	}
	f.meta = meta
	if err := f.add(tensors); err != nil {
		return nil, err
	}
	return f, nil
}

// OpenSafetensors opens a safetensors file that is in memory, as OpenBytes opens a
// GGUF.
func OpenSafetensors(name string, b []byte) (*File, error) {
	f := &File{format: HF, name: name, index: map[string]int{}, meta: &Metadata{}}
	tensors, err := parseSafetensors(name, b)
	if err != nil {
		return nil, err
	}
	if err := f.add(tensors); err != nil {
		return nil, err
	}
	return f, nil
}

// checkMagic tells a GGUF from the files that people try in its place.
func checkMagic(path string) error {
	name := filepath.Base(path)
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open model: %w", err)
	}
	defer file.Close()
	var magic [4]byte
	if _, err := io.ReadFull(file, magic[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: is empty or nearly so: %s", name, damaged)
	} else if err != nil {
		return fmt.Errorf("read model: %w", err)
	}
	switch {
	case bytes.Equal(magic[:], []byte("GGUF")):
		return nil
	case isPickle(name):
		return fmt.Errorf("%s: is a PyTorch checkpoint, which runs code when it is loaded: convert it to safetensors", name)
	case strings.HasPrefix(lfsPrefix, string(magic[:])):
		return lfsPointer(name)
	}
	return fmt.Errorf("%s: does not begin with \"GGUF\": not a model file that weir reads; "+
		"give a .gguf file, a checkpoint directory or a .safetensors file", name)
}

// lfsPrefix begins the text that stands for a file which Git LFS did not fetch:
// the usual mishap of cloning a model without it.
const lfsPrefix = "version https://git-lfs"

func lfsPointer(name string) error {
	return fmt.Errorf("%s: is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned", name)
}

// isPickle reports whether a file of that name is a PyTorch checkpoint.
func isPickle(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".bin", ".pt", ".pth", ".ckpt", ".pkl":
		return true
	}
	return false
}

// add appends tensors, refusing a name that is already there.
func (f *File) add(tensors []Tensor) error {
	for _, t := range tensors {
		if at, dup := f.index[t.Name]; dup {
			return fmt.Errorf("%s: tensor %.100q is there twice (also in %s): %s", t.file, t.Name, f.tensors[at].file, damaged)
		}
		f.index[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	return nil
}

// load brings a file into memory, to be let go by Close.
func (f *File) load(path string, o Options) ([]byte, error) {
	r, err := loadFile(path, o)
	if err != nil {
		return nil, err
	}
	f.regions = append(f.regions, r)
	f.paths = append(f.paths, path)
	if bytes.HasPrefix(r.b, []byte(lfsPrefix)) {
		return nil, lfsPointer(filepath.Base(path))
	}
	return r.b, nil
}

// loadFile checks that path is a file of a size that fits, then maps or reads it.
func loadFile(path string, o Options) (region, error) {
	file, err := os.Open(path)
	if err != nil {
		return region{}, fmt.Errorf("open model: %w", err)
	}
	defer file.Close()
	st, err := file.Stat()
	switch {
	case err != nil:
		return region{}, fmt.Errorf("open model: %w", err)
	case !st.Mode().IsRegular():
		return region{}, fmt.Errorf("%s: is not a regular file", path)
	case st.Size() == 0:
		return region{}, fmt.Errorf("%s: is empty: %s", filepath.Base(path), damaged)
	case st.Size() > int64(maxInt):
		return region{}, fmt.Errorf("%s: has %d bytes, more than this platform can address", filepath.Base(path), st.Size())
	}
	r, err := newRegion(file, int(st.Size()), o.Load, o.Progress)
	if err != nil {
		return region{}, fmt.Errorf("load %s: %w", path, err)
	}
	return r, nil
}

// Format returns the kind of file.
func (f *File) Format() Format { return f.format }

// Name returns the base name of what was opened, for messages.
func (f *File) Name() string { return f.name }

// Paths returns the files that hold the tensors, in order; none for OpenBytes.
func (f *File) Paths() []string { return f.paths }

// Bytes returns the sum of the tensors' bytes.
func (f *File) Bytes() int64 {
	var n int64
	for _, t := range f.tensors {
		n += int64(len(t.Data))
	}
	return n
}

// Tensor returns the tensor of that name. Its Type may be one that is not
// Supported; [File.Lookup] is for those who will compute with it.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Lookup returns the tensor of that name, of a supported type. The error of a
// missing or unsupported one is fit to show to a user.
func (f *File) Lookup(name string) (Tensor, error) {
	t, ok := f.Tensor(name)
	if !ok {
		return Tensor{}, fmt.Errorf("%s: tensor %.100q is missing: the model is incomplete, or not of the family it says; get a complete copy", f.name, name)
	}
	if !t.Type.Supported() {
		return Tensor{}, t.unsupported()
	}
	return t, nil
}

// Tensors returns every tensor in file order. The slice is the file's own.
func (f *File) Tensors() []Tensor { return f.tensors }

// Meta returns the key-values of a GGUF; for safetensors they are empty.
func (f *File) Meta() *Metadata { return f.meta }

// Close lets go of the memory that every Tensor's Data aliases. A second call
// does nothing.
func (f *File) Close() error {
	var errs []error
	for _, r := range f.regions {
		errs = append(errs, r.free())
	}
	f.regions = nil
	return errors.Join(errs...)
}
