package weights

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A PyTorch checkpoint is a zip archive: NAME/data.pkl, a pickle that describes
// tensors over storages, and the storages as NAME/data/0 and so on, stored as they
// are. (Before 1.6 it was a bare pickle; those are refused.)

// OpenHeads opens the weights of heads that belong to a model, such as Medusa's or
// EAGLE's: a .safetensors file, a PyTorch checkpoint (.pt, .bin; read without
// running its code), or the folder of either. JSON finds config.json beside them.
func OpenHeads(name string, o Options) (*File, error) {
	file, err := headsFile(name)
	if err != nil {
		return nil, err
	}
	if !isPickle(file) {
		return Open(file, o)
	}
	f := &File{format: HF, dir: filepath.Dir(file), name: filepath.Base(file), index: map[string]int{}, meta: &Metadata{}}
	b, err := f.load(file, o)
	if err == nil {
		var tensors []Tensor
		if tensors, err = parseTorch(f.name, b); err == nil {
			err = f.add(tensors)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// headsFile finds the weights in a folder, by the names that such projects use.
func headsFile(name string) (string, error) {
	for _, try := range []string{"medusa_lm_head.safetensors", "model.safetensors", "medusa_lm_head.pt", "pytorch_model.bin"} {
		if file := filepath.Join(name, try); isFile(file) {
			return file, nil
		}
	}
	if isFile(name) {
		return name, nil
	}
	return "", fmt.Errorf("%s: is no file, and no folder with medusa_lm_head.safetensors, model.safetensors, medusa_lm_head.pt or pytorch_model.bin: give the heads' file, or the folder that it is in", name)
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// parseTorch reads the checkpoint in b. The tensors alias b.
func parseTorch(name string, b []byte) ([]Tensor, error) {
	fail := func(err error) ([]Tensor, error) { return nil, fmt.Errorf("%s: %w", name, err) }
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return fail(fmt.Errorf("is not a PyTorch checkpoint of version 1.6 or later (%w): save it again, or convert it to safetensors", err))
	}
	files := map[string]*zip.File{}
	root := ""
	for _, f := range r.File {
		files[f.Name] = f
		if path.Base(f.Name) == "data.pkl" {
			root = path.Dir(f.Name)
		}
	}
	program, err := stored(b, files[path.Join(root, "data.pkl")])
	if err != nil {
		return fail(fmt.Errorf("data.pkl: %w", err))
	}
	if order, err := stored(b, files[path.Join(root, "byteorder")]); err == nil && string(order) != "little" {
		return fail(fmt.Errorf("its numbers are %q-endian: save it on another machine", order))
	}
	dict, err := unpickle(program)
	if err != nil {
		return fail(err)
	}
	var out []Tensor
	for i, key := range dict.keys {
		t, ok := dict.values[i].(pyTensor)
		if !ok {
			return fail(fmt.Errorf("%.100q is not a tensor: only a plain state dict is read; save model.state_dict()", key))
		}
		data, err := stored(b, files[path.Join(root, "data", t.storage.key)])
		if err != nil {
			return fail(fmt.Errorf("tensor %.100q: its storage: %w", key, err))
		}
		tensor, err := t.tensor(key, data)
		if err != nil {
			return fail(fmt.Errorf("tensor %.100q: %w", key, err))
		}
		tensor.file = name
		out = append(out, tensor)
	}
	return out, nil
}

// stored is a member of the archive, where it lies.
func stored(b []byte, f *zip.File) ([]byte, error) {
	if f == nil {
		return nil, fmt.Errorf("the archive has no such file: %s", damaged)
	}
	at, err := f.DataOffset()
	if err != nil {
		return nil, err
	}
	size := f.UncompressedSize64
	if f.Method != zip.Store || at < 0 || at > int64(len(b)) || size > uint64(int64(len(b))-at) {
		return nil, fmt.Errorf("it is compressed or reaches beyond the archive: %s", damaged)
	}
	return b[at : uint64(at)+size : uint64(at)+size], nil
}

// tensor takes a tensor out of its storage.
func (t pyTensor) tensor(name string, storage []byte) (Tensor, error) {
	typ, size := storageTypes[t.storage.typ], 1
	if typ != Foreign {
		_, size = typ.Block()
	}
	out := Tensor{Name: name, Type: typ, dtype: strings.ToUpper(strings.TrimSuffix(strings.TrimPrefix(t.storage.typ, "torch."), "Storage"))}
	elems := 1
	for i, d := range slices.Backward(t.shape) {
		if d > 1 && t.strides[i] != int64(elems) {
			return out, fmt.Errorf("it is not stored row by row (shape %v, strides %v): save it with .contiguous()", t.shape, t.strides)
		}
		if elems = mul(elems, int(d)); elems < 0 {
			return out, fmt.Errorf("shape %v overflows", t.shape)
		}
	}
	for _, d := range t.shape {
		out.Shape = append(out.Shape, int(d))
	}
	bytes, from := mul(elems, size), mul(int(t.offset), size)
	if bytes < 0 || from < 0 || from > len(storage) || bytes > len(storage)-from {
		return out, fmt.Errorf("shape %v from element %d on reaches beyond its storage of %d bytes: %s", t.shape, t.offset, len(storage), damaged)
	}
	out.Data = storage[from : from+bytes : from+bytes]
	return out, nil
}
