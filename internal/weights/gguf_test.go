package weights

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

// randomTensor returns a tensor with any bytes as its blocks.
func randomTensor(t testing.TB, rng *rand.Rand, name string, typ Type, shape ...int) Tensor {
	t.Helper()
	size, err := dataBytes(typ, shape)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return Tensor{Name: name, Type: typ, Shape: shape, Data: data}
}

// oneOfEach returns a tensor of every type that a GGUF may hold.
func oneOfEach(t testing.TB) []Tensor {
	rng := rand.New(rand.NewPCG(1, 2))
	ts := []Tensor{
		randomTensor(t, rng, "norm", F32, 7),
		randomTensor(t, rng, "experts", Q4_K, 2, 3, 256),
		randomTensor(t, rng, "ids", I32, 5),
		randomTensor(t, rng, "wide", F16, 1, 2, 3, 5),
	}
	for _, typ := range Types() {
		ts = append(ts, randomTensor(t, rng, "w."+typ.String(), typ, 3, 512))
	}
	return ts
}

// everyValue has a key-value of every type.
var everyValue = []KV{
	{"general.architecture", "llama"},
	{"u8", uint8(200)}, {"i8", int8(-3)}, {"u16", uint16(65535)}, {"i16", int16(-300)},
	{"u32", uint32(1 << 31)}, {"i32", int32(-70000)}, {"u64", uint64(math.MaxUint64)}, {"i64", int64(math.MinInt64)},
	{"f32", float32(1.5)}, {"f64", 1e-300}, {"yes", true}, {"no", false}, {"empty", ""},
	{"u8s", []uint8{1, 255}}, {"i8s", []int8{-1}}, {"u16s", []uint16{1, 2}}, {"i16s", []int16{-1, 2}},
	{"u32s", []uint32{7}}, {"i32s", []int32{-7, 8}}, {"u64s", []uint64{1 << 40}}, {"i64s", []int64{-5, 5}},
	{"f32s", []float32{0.5, -2}}, {"f64s", []float64{0.25}}, {"bools", []bool{true, false, true}},
	{"strings", []string{"a", "", "Ġthe", "\xff\x00"}}, {"none", []string{}},
}

func encode(t testing.TB, meta []KV, tensors []Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteGGUF(&b, meta, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeFile(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sameTensors compares what the file shows of each tensor.
func sameTensors(t *testing.T, got, want []Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Name != w.Name || g.Type != w.Type || !slices.Equal(g.Shape, w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("tensor %d is %q %v %v, want %q %v %v, or its data differs", i, g.Name, g.Type, g.Shape, w.Name, w.Type, w.Shape)
		}
	}
}

func TestGGUFRoundTrip(t *testing.T) {
	tensors := oneOfEach(t)
	path := writeFile(t, t.TempDir(), "m.gguf", encode(t, everyValue, tensors))
	for _, load := range []Load{Mmap, Read} {
		f, err := Open(path, Options{Load: load})
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, f.Tensors(), tensors)
		var bytes int64
		for _, w := range tensors {
			bytes += int64(len(w.Data))
		}
		if f.Format() != GGUF || f.Name() != "m.gguf" || !slices.Equal(f.Paths(), []string{path}) || f.Bytes() != bytes {
			t.Errorf("format %v, name %q, paths %q, bytes %d (want %d)", f.Format(), f.Name(), f.Paths(), f.Bytes(), bytes)
		}
		if got := f.Meta().KVs(); !reflect.DeepEqual(got, everyValue) {
			t.Errorf("key-values %v, want %v", got, everyValue)
		}
		if _, ok := f.JSON("config.json"); ok {
			t.Error("a GGUF has a config.json")
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	}
}

func TestOpenBytesAliases(t *testing.T) {
	tensors := oneOfEach(t)
	b := encode(t, nil, tensors)
	f, err := OpenBytes("built-in", b)
	if err != nil {
		t.Fatal(err)
	}
	sameTensors(t, f.Tensors(), tensors)
	w, _ := f.Tensor("w.Q8_0")
	if w.Rows() != 3 || w.Cols() != 512 || !bytes.Equal(w.Row(1), w.Data[544:1088]) {
		t.Errorf("rows %d, cols %d, row 1 has %d bytes", w.Rows(), w.Cols(), len(w.Row(1)))
	}
	if e, _ := f.Tensor("experts"); e.Rows() != 6 || e.Cols() != 256 || len(e.Float32s()) != 6*256 {
		t.Errorf("three dimensions: rows %d, cols %d", e.Rows(), e.Cols())
	}
	b[len(b)-1] ^= 0xff
	if last := f.Tensors()[len(f.Tensors())-1]; &last.Data[0] != &b[len(b)-len(last.Data)-(-len(last.Data)&31)] {
		t.Error("the data was copied")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestLookup(t *testing.T) {
	f, err := OpenBytes("m.gguf", encode(t, nil, oneOfEach(t)))
	if err != nil {
		t.Fatal(err)
	}
	if w, err := f.Lookup("w.Q4_K"); err != nil || w.Type != Q4_K {
		t.Errorf("Lookup: %v, %v", w.Type, err)
	}
	for name, want := range map[string]string{
		"absent": `m.gguf: tensor "absent" is missing`,
		"ids":    `m.gguf: tensor "ids" is I32, which weir does not read: it reads F32, F16, Q4_0,`,
	} {
		if _, err := f.Lookup(name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Lookup(%q): %v, want %q", name, err, want)
		}
	}
}

func TestMetadataAccess(t *testing.T) {
	m, err := NewMetadata(everyValue)
	if err != nil {
		t.Fatal(err)
	}
	uints := map[string]uint64{"u8": 200, "u16": 65535, "u32": 1 << 31, "u64": math.MaxUint64}
	ints := map[string]int64{"u8": 200, "i8": -3, "u16": 65535, "i16": -300, "u32": 1 << 31, "i32": -70000, "i64": math.MinInt64}
	floats := map[string]float64{"f32": 1.5, "f64": 1e-300, "i8": -3, "u16": 65535}
	int32s := map[string][]int32{"u8s": {1, 255}, "i8s": {-1}, "u16s": {1, 2}, "i16s": {-1, 2}, "u32s": {7}, "i32s": {-7, 8}, "i64s": {-5, 5}}
	for _, key := range append(m.Keys(), "absent") {
		got, ok := m.Uint(key)
		if want, has := uints[key]; ok != has || got != want && has {
			t.Errorf("Uint(%q) = %d, %v", key, got, ok)
		}
		i, ok := m.Int(key)
		if want, has := ints[key]; ok != has || i != want && has {
			t.Errorf("Int(%q) = %d, %v", key, i, ok)
		}
		if want, has := floats[key]; has {
			if got, ok := m.Float(key); !ok || got != want {
				t.Errorf("Float(%q) = %v, %v", key, got, ok)
			}
		}
		is, ok := m.Int32s(key)
		if want, has := int32s[key]; ok != has || !slices.Equal(is, want) {
			t.Errorf("Int32s(%q) = %v, %v", key, is, ok)
		}
	}
	if f, ok := m.Float("u64"); !ok || f != math.MaxUint64 {
		t.Errorf("Float(u64) = %v, %v", f, ok)
	}
	if f, ok := m.Float32s("f64s"); !ok || !slices.Equal(f, []float32{0.25}) {
		t.Errorf("Float32s = %v, %v", f, ok)
	}
	if b, ok := m.Bools("bools"); !ok || !slices.Equal(b, []bool{true, false, true}) {
		t.Errorf("Bools = %v, %v", b, ok)
	}
	for key, want := range map[string]bool{"yes": true, "no": false} {
		if v, ok := m.Bool(key); !ok || v != want {
			t.Errorf("Bool(%q) = %v, %v", key, v, ok)
		}
	}
	if s, ok := m.Strings("strings"); !ok || !slices.Equal(s, []string{"a", "", "Ġthe", "\xff\x00"}) {
		t.Errorf("Strings = %q, %v", s, ok)
	}
	if n, ok := m.Len("strings"); !ok || n != 4 {
		t.Errorf("Len = %d, %v", n, ok)
	}
}

func TestMetadataWrongKind(t *testing.T) {
	m, err := NewMetadata(everyValue)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"String of a number":   second(m.String("u8")),
		"String of an array":   second(m.String("strings")),
		"Strings of a string":  second(m.Strings("empty")),
		"Strings of numbers":   second(m.Strings("i32s")),
		"Uint of a string":     second(m.Uint("empty")),
		"Uint of a float":      second(m.Uint("f32")),
		"Uint of a bool":       second(m.Uint("yes")),
		"Bool of a number":     second(m.Bool("u8")),
		"Bools of numbers":     second(m.Bools("u8s")),
		"Float of a string":    second(m.Float("empty")),
		"Float32s of strings":  second(m.Float32s("strings")),
		"Int32s of strings":    second(m.Int32s("strings")),
		"Int32s that overflow": second(m.Int32s("u64s")),
		"Len of a scalar":      second(m.Len("u8")),
		"Value of nothing":     second(m.Value("absent")),
	} {
		if ok {
			t.Errorf("%s: ok", name)
		}
	}
	for _, m := range []*Metadata{nil, {}} {
		if _, ok := m.String("x"); ok || m.Has("x") || len(m.Keys()) != 0 || len(m.KVs()) != 0 {
			t.Error("empty metadata has something")
		}
	}
}

func second[T any](_ T, ok bool) bool { return ok }

// TestVocabularyIsLazyAndLinear opens a file with a vocabulary of half a
// million strings: the header costs a handful of allocations, the strings one
// for their bytes and one for the slice.
func TestVocabularyIsLazyAndLinear(t *testing.T) {
	vocab := make([]string, 1<<19)
	for i := range vocab {
		vocab[i] = fmt.Sprint("token", i)
	}
	b := encode(t, []KV{{"tokenizer.ggml.tokens", vocab}}, nil)
	// Ten runs, for the runtime's own allocations are counted, too: a
	// collection that begins in one of them adds one or two.
	const runs = 10
	var f *File
	if n := testing.AllocsPerRun(runs, func() {
		var err error
		if f, err = OpenBytes("v.gguf", b); err != nil {
			t.Fatal(err)
		}
	}); n > 40 {
		t.Errorf("opening made %v allocations", n)
	}
	var got []string
	if n := testing.AllocsPerRun(runs, func() { got, _ = f.Meta().Strings("tokenizer.ggml.tokens") }); n > 2 {
		t.Errorf("decoding made %v allocations", n)
	}
	if !slices.Equal(got, vocab) {
		t.Error("the strings differ")
	}
}

// TestGGUFAgainstParser checks the writer and the reader against an outside
// reader of the same file.
func TestGGUFAgainstParser(t *testing.T) {
	for _, align := range []uint32{32, 64, 4096} {
		meta := append([]KV{{"general.alignment", align}}, everyValue...)
		tensors := oneOfEach(t)
		path := writeFile(t, t.TempDir(), "m.gguf", encode(t, meta, tensors))
		theirs, err := ggufparser.ParseGGUFFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		compareMetadata(t, ours.Meta(), theirs)
		if len(theirs.TensorInfos) != len(ours.Tensors()) {
			t.Fatalf("they see %d tensors, we %d", len(theirs.TensorInfos), len(ours.Tensors()))
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, ti := range theirs.TensorInfos {
			g := ours.Tensors()[i]
			dims := slices.Clone(ti.Dimensions[:ti.NDimensions])
			slices.Reverse(dims)
			shape := make([]int, len(dims))
			for i, d := range dims {
				shape[i] = int(d)
			}
			at := uint64(theirs.TensorDataStartOffset) + ti.Offset
			if ti.Name != g.Name || uint32(ti.Type) != uint32(g.Type) || !slices.Equal(shape, g.Shape) || ti.Bytes() != uint64(len(g.Data)) ||
				!bytes.Equal(raw[at:at+ti.Bytes()], g.Data) {
				t.Errorf("they see %q %v %v (%d bytes), we %q %v %v (%d bytes), or the data differs",
					ti.Name, ti.Type, shape, ti.Bytes(), g.Name, g.Type, g.Shape, len(g.Data))
			}
		}
	}
}

// shared returns the folder of test data that is kept beside the project.
func shared(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("WEIR_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	return filepath.Join(dir, "..", "shared")
}

// TestPublishedVocabularies compares our reading of files that others wrote
// with the outside reader's.
func TestPublishedVocabularies(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(shared(t), "tokenizers", "*.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("needs ../shared/tokenizers/*.gguf: not found")
	}
	for _, path := range paths {
		theirs, err := ggufparser.ParseGGUFFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		compareMetadata(t, ours.Meta(), theirs)
		if err := ours.Close(); err != nil {
			t.Error(err)
		}
	}
}

func compareMetadata(t *testing.T, ours *Metadata, theirs *ggufparser.GGUFFile) {
	t.Helper()
	if len(theirs.Header.MetadataKV) != len(ours.Keys()) {
		t.Fatalf("they see %d key-values, we %d", len(theirs.Header.MetadataKV), len(ours.Keys()))
	}
	for i, kv := range theirs.Header.MetadataKV {
		v, ok := ours.Value(kv.Key)
		if !ok || ours.Keys()[i] != kv.Key {
			t.Errorf("key %d is %q to them, %q to us", i, kv.Key, ours.Keys()[i])
			continue
		}
		want := kv.Value
		if arr, ok := want.(ggufparser.GGUFMetadataKVArrayValue); ok {
			if n, _ := ours.Len(kv.Key); uint64(n) != arr.Len {
				t.Errorf("%q has %d elements to them, %d to us", kv.Key, arr.Len, n)
			}
			for i, e := range toAny(v) {
				if s, ok := e.(string); ok {
					e = strings.TrimSpace(s) // their reader trims strings; ours may not
				}
				if i >= len(arr.Array) || e != arr.Array[i] {
					t.Errorf("%q is %q to us at element %d, another thing to them", kv.Key, e, i)
					break
				}
			}
		} else if s, ok := v.(string); ok && strings.TrimSpace(s) != want || !ok && v != want {
			t.Errorf("%q is %v to them, %v to us", kv.Key, want, v)
		}
	}
}

// toAny turns a slice into one of interfaces.
func toAny(v any) (out []any) {
	for r, i := reflect.ValueOf(v), 0; i < r.Len(); i++ {
		out = append(out, r.Index(i).Interface())
	}
	return out
}

// splitSet writes the tensors over three parts.
func splitSet(t *testing.T, dir string, tensors []Tensor) []string {
	t.Helper()
	var paths []string
	for i := range 3 {
		meta := []KV{{splitNo, uint16(i)}, {splitCount, uint16(3)}, {splitTensors, int32(len(tensors))}}
		if i == 0 {
			meta = append(meta, KV{"general.architecture", "llama"})
		}
		from, to := i*len(tensors)/3, (i+1)*len(tensors)/3
		paths = append(paths, writeFile(t, dir, fmt.Sprintf("m-%05d-of-00003.gguf", i+1), encode(t, meta, tensors[from:to])))
	}
	return paths
}

func TestSplitSetOpensFromAnyPart(t *testing.T) {
	tensors := oneOfEach(t)
	paths := splitSet(t, t.TempDir(), tensors)
	for _, p := range paths {
		f, err := Open(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, f.Tensors(), tensors)
		if s, _ := f.Meta().String("general.architecture"); s != "llama" || !slices.Equal(f.Paths(), paths) {
			t.Errorf("architecture %q, paths %q", s, f.Paths())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSplitSetErrors(t *testing.T) {
	tensors := oneOfEach(t)
	for _, c := range []struct {
		name  string
		spoil func(dir string, paths []string) string // returns the path to open
		want  string
	}{
		{"missing part", func(_ string, p []string) string { os.Remove(p[1]); return p[0] }, "m-00002-of-00003.gguf: part 2 of 3 is missing"},
		{"first missing", func(_ string, p []string) string { os.Remove(p[0]); return p[2] }, "m-00001-of-00003.gguf: part 1 of 3 is missing"},
		{"swapped", func(d string, p []string) string {
			os.Rename(p[1], d+"/x")
			os.Rename(p[2], p[1])
			os.Rename(d+"/x", p[2])
			return p[0]
		}, "m-00002-of-00003.gguf: its metadata says part 3 of 3"},
		{"renamed", func(d string, p []string) string { os.Rename(p[0], d+"/model.gguf"); return d + "/model.gguf" }, "model.gguf: is part 1 of 3, but its name does not say so"},
		{"not split inside", func(d string, p []string) string {
			return writeFile(t, d, "one-00001-of-00001.gguf", encode(t, []KV{{splitCount, uint16(3)}}, nil))
		}, "is part 1 of 3"},
		{"impossible number", func(d string, p []string) string {
			return writeFile(t, d, "z-00004-of-00003.gguf", encode(t, nil, nil))
		}, "part 4 of 3 cannot be"},
		{"tensor of another part", func(d string, p []string) string {
			meta := []KV{{splitNo, uint16(1)}, {splitCount, uint16(3)}}
			writeFile(t, d, filepath.Base(p[1]), encode(t, meta, tensors[:1]))
			return p[0]
		}, `tensor "norm" is there twice`},
		{"tensors missing", func(d string, p []string) string {
			writeFile(t, d, filepath.Base(p[1]), encode(t, []KV{{splitNo, uint16(1)}, {splitCount, uint16(3)}}, nil))
			return p[0]
		}, "the set should have"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := Open(c.spoil(dir, splitSet(t, dir, tensors)), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) || f != nil {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if _, err := OpenBytes("part", encode(t, []KV{{splitCount, uint16(2)}}, nil)); err == nil || !strings.Contains(err.Error(), "one part of 2") {
		t.Errorf("a part from memory: %v", err)
	}
}

func TestWriterRefuses(t *testing.T) {
	f32 := Tensor{Name: "a", Type: F32, Shape: []int{1}, Data: make([]byte, 4)}
	named := func(name string, typ Type, data int, shape ...int) []Tensor {
		return []Tensor{{Name: name, Type: typ, Shape: shape, Data: make([]byte, data)}}
	}
	for _, c := range []struct {
		name    string
		meta    []KV
		tensors []Tensor
		want    string
	}{
		{"int", []KV{{"k", 1}}, nil, "a int cannot be written"},
		{"nested", []KV{{"k", [][]string{}}}, nil, "cannot be written"},
		{"nil", []KV{{"k", nil}}, nil, "cannot be written"},
		{"duplicate key", []KV{{"k", true}, {"k", true}}, nil, "twice"},
		{"alignment", []KV{{keyAlignment, uint32(24)}}, nil, "power of two"},
		{"alignment type", []KV{{keyAlignment, uint64(32)}}, nil, "power of two"},
		{"duplicate tensor", nil, []Tensor{f32, f32}, "twice"},
		{"no name", nil, named("", F32, 4, 1), "no name"},
		{"five dimensions", nil, named("a", F32, 4, 1, 1, 1, 1, 1), "1 to 4"},
		{"zero dimension", nil, named("a", F32, 0, 0), "1 to 4"},
		{"short data", nil, named("a", F32, 3, 1), "takes 4 bytes, got 3"},
		{"part of a block", nil, named("a", Q8_0, 34, 33), "block of 32"},
		{"not of GGUF", nil, named("a", F8E4M3, 4, 4), "GGUF has no F8_E4M3"},
		{"unknown type", nil, named("a", 99, 4, 1), "no known layout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := WriteGGUF(&bytes.Buffer{}, c.meta, c.tensors)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	gw, err := NewWriter(&bytes.Buffer{}, nil, []Tensor{f32})
	if err != nil {
		t.Fatal(err)
	}
	if err := gw.Close(); err == nil {
		t.Error("Close without the data: no error")
	}
	if err := gw.WriteData(f32.Data); err != nil {
		t.Error(err)
	}
	if err := gw.WriteData(f32.Data); err == nil {
		t.Error("data of one tensor too many: no error")
	}
}

// TestLoadStaysOffHeap reads 64 MB and sees the Go heap not grow by it.
func TestLoadStaysOffHeap(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows reads onto the Go heap")
	}
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "big.gguf")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewWriter(file, nil, []Tensor{{Name: "a", Type: I8, Shape: []int{size}}}); err != nil {
		t.Fatal(err)
	}
	st, _ := file.Stat()
	if err := file.Truncate(st.Size() + size); err != nil { // a hole of zeros is the data
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := Open(path, Options{Load: Read})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 || f.Bytes() != size {
		t.Errorf("the heap took %d bytes for a file with %d bytes of tensors", grown, f.Bytes())
	}
}
