package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	configFile = "config.json"
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
	maxSmall   = 256 << 20 // bytes of a file that JSON returns; tokenizers reach tens of MB
)

// openCheckpoint opens the Hugging Face checkpoint in dir.
func (f *File) openCheckpoint(dir string, o Options) error {
	abs, err := filepath.Abs(dir) // so that "." has a name
	if err != nil {
		return fmt.Errorf("open model: %w", err)
	}
	f.format, f.dir, f.name = HF, dir, filepath.Base(abs)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open model: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Contains(names, configFile) {
		return noConfig(dir, names)
	}
	switch shards := withExt(names, ".safetensors"); {
	case slices.Contains(names, singleFile):
		return f.openShards([]string{singleFile}, o)
	case slices.Contains(names, indexFile):
		return f.openIndexed(o)
	case len(shards) > 0:
		return f.openUnindexed(shards, o)
	}
	if i := slices.IndexFunc(names, isPickle); i >= 0 {
		return fmt.Errorf("%s: the weights are a PyTorch checkpoint (%s), which runs code when it is loaded: convert it to safetensors", dir, names[i])
	}
	return fmt.Errorf("%s: has %s but no weights: put %s, or the shards and %s, into it", dir, configFile, singleFile, indexFile)
}

// noConfig is the error for a directory without config.json.
func noConfig(dir string, names []string) error {
	if g := withExt(names, ".gguf"); len(g) > 0 {
		return fmt.Errorf("%s: is not a checkpoint (no %s) but holds GGUF files: open one of them, such as %s", dir, configFile, filepath.Join(dir, g[0]))
	}
	return fmt.Errorf("%s: has no %s: not a Hugging Face checkpoint; give the directory that holds %s and the .safetensors files", dir, configFile, configFile)
}

// withExt returns the names that end in ext.
func withExt(names []string, ext string) []string {
	var out []string
	for _, n := range names {
		if strings.EqualFold(filepath.Ext(n), ext) {
			out = append(out, n)
		}
	}
	return out
}

// openSafetensors opens one .safetensors file, or the whole set if it is a
// shard of one. JSON finds the files beside it.
func (f *File) openSafetensors(path string, o Options) error {
	f.format, f.dir, f.name = HF, filepath.Dir(path), filepath.Base(path)
	files, err := f.weightMap()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, shard := range files {
		if shard == f.name {
			return f.openIndexed(o)
		}
	}
	set, err := parts(path)
	if err != nil {
		return err
	}
	for i := range set {
		set[i] = filepath.Base(set[i])
	}
	return f.openShards(set, o)
}

// openUnindexed opens the .safetensors files of a directory without an index:
// one, or one numbered set.
func (f *File) openUnindexed(names []string, o Options) error {
	set, err := parts(filepath.Join(f.dir, names[0]))
	if err != nil {
		return err
	}
	for i := range set {
		set[i] = filepath.Base(set[i])
	}
	for _, n := range names {
		if !slices.Contains(set, n) {
			return fmt.Errorf("%s: holds %s and %s but no %s to say what belongs together: add it, or open one file", f.dir, set[0], n, indexFile)
		}
	}
	return f.openShards(set, o)
}

// openIndexed opens the shards that the index names and checks that every
// tensor is where it says.
func (f *File) openIndexed(o Options) error {
	files, err := f.weightMap()
	if err != nil {
		return err
	}
	shards := map[string]bool{}
	for _, shard := range files {
		shards[shard] = true
	}
	var names []string
	for n := range shards {
		names = append(names, n)
	}
	slices.Sort(names)
	if err := f.openShards(names, o); err != nil {
		return err
	}
	for name, shard := range files {
		if t, ok := f.Tensor(name); !ok || t.file != shard {
			return fmt.Errorf("%s: says that tensor %.100q is in %s, but it is not: the files are of different downloads; download them again", indexFile, name, shard)
		}
	}
	return nil
}

// weightMap reads the index: tensor name -> shard. Shards are plain names in
// the same directory; an index that points elsewhere is refused.
func (f *File) weightMap() (map[string]string, error) {
	b, err := f.ReadFile(indexFile)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", indexFile, err, damaged)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("%s: names no tensors in its weight_map: %s", indexFile, damaged)
	}
	for tensor, shard := range index.WeightMap {
		if !plainName(shard) {
			return nil, fmt.Errorf("%s: tensor %.100q is said to be in %.100q, which is not a file beside it: the index is damaged or malicious; do not use it", indexFile, tensor, shard)
		}
	}
	return index.WeightMap, nil
}

// plainName reports whether name is a file name without any path, on every
// platform.
func plainName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, "/\\:\x00")
}

// openShards opens these files of the checkpoint's directory as one model.
func (f *File) openShards(names []string, o Options) error {
	for i, name := range names {
		b, err := f.load(filepath.Join(f.dir, name), o)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: shard %d of %d is missing: download it too: %w", name, i+1, len(names), err)
		} else if err != nil {
			return err
		}
		tensors, err := parseSafetensors(name, b)
		if err != nil {
			return err
		}
		if err := f.add(tensors); err != nil {
			return err
		}
	}
	return nil
}

// JSON returns a small file of the checkpoint: config.json, tokenizer.json,
// tokenizer_config.json, generation_config.json, chat_template.jinja and the
// like. It is false when there is none, or it cannot be read; [File.ReadFile]
// tells which.
func (f *File) JSON(name string) ([]byte, bool) {
	b, err := f.ReadFile(name)
	return b, err == nil
}

// ReadFile returns a small file from beside the safetensors. The error is
// fs.ErrNotExist when there is none; a GGUF has none.
func (f *File) ReadFile(name string) ([]byte, error) {
	if f.dir == "" || !plainName(name) {
		return nil, fmt.Errorf("%s: %q: %w", f.name, name, fs.ErrNotExist)
	}
	path := filepath.Join(f.dir, name)
	st, err := os.Stat(path) // before opening: a pipe would block
	switch {
	case err != nil:
		return nil, fmt.Errorf("read checkpoint: %w", err)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file", path)
	case st.Size() > maxSmall:
		return nil, fmt.Errorf("%s: has %d bytes, more than the %d expected of such a file: %s", path, st.Size(), maxSmall, damaged)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	defer file.Close()
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(file, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}
