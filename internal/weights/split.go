package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
)

// A model too large for one file is split: name-00001-of-00003.gguf and so on.
// Every part is a GGUF of its own with its number (from 0) and the number of
// parts in its metadata; the first has all other metadata.
const (
	splitNo      = "split.no"
	splitCount   = "split.count"
	splitTensors = "split.tensors.count"
)

var partName = regexp.MustCompile(`^(.*-)(\d{5})-of-(\d{5})(\.(?i:gguf|safetensors))$`)

// parts returns the paths of the whole set that path is a part of, path alone
// if its name is not of that form.
func parts(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	m := partName.FindStringSubmatch(base)
	if m == nil {
		return []string{path}, nil
	}
	no, _ := strconv.Atoi(m[2])    // five digits
	count, _ := strconv.Atoi(m[3]) // five digits
	if no < 1 || no > count {
		return nil, fmt.Errorf("%s: part %d of %d cannot be: rename the file as it was published", base, no, count)
	}
	var paths []string
	for i := 1; i <= count; i++ {
		paths = append(paths, dir+fmt.Sprintf("%s%05d-of-%s%s", m[1], i, m[3], m[4]))
	}
	return paths, nil
}

// openGGUF opens the GGUF at path and, when it is one part of several, all.
func (f *File) openGGUF(path string, o Options) error {
	paths, err := parts(path)
	if err != nil {
		return err
	}
	f.format, f.name = GGUF, filepath.Base(paths[0])
	for i, p := range paths {
		b, err := f.load(p, o)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: part %d of %d is missing: put it beside the others: %w", filepath.Base(p), i+1, len(paths), err)
		} else if err != nil {
			return err
		}
		meta, tensors, err := parseGGUF(filepath.Base(p), b)
		if err != nil {
			return err
		}
		if err := checkPart(filepath.Base(p), meta, i, len(paths)); err != nil {
			return err
		}
		if i == 0 {
			f.meta = meta
		}
		if err := f.add(tensors); err != nil {
			return err
		}
	}
	if n, ok := f.meta.Uint(splitTensors); ok && n != uint64(len(f.tensors)) {
		return fmt.Errorf("%s: the set should have %d tensors but its parts have %d: they are of different models, or damaged; download them again", f.name, n, len(f.tensors))
	}
	return nil
}

// checkPart compares what a file's name and its metadata say about its place.
func checkPart(name string, m *Metadata, i, count int) error {
	n, split := m.Uint(splitCount)
	no, _ := m.Uint(splitNo)
	switch {
	case count == 1 && (!split || n <= 1):
		return nil
	case count == 1:
		return fmt.Errorf("%s: is part %d of %d, but its name does not say so and the others cannot be found: "+
			"rename the parts to name-00001-of-%05d.gguf and so on", name, no+1, n, n)
	case n != uint64(count) || no != uint64(i):
		return fmt.Errorf("%s: its metadata says part %d of %d: the name is wrong; rename it as it was published, or download it again", name, no+1, n)
	}
	return nil
}
