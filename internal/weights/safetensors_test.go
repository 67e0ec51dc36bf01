package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// safetensor builds a file from a header and as many bytes of data.
func safetensor(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func encodeST(t testing.TB, tensors []Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSafetensors(&b, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plainTensors has one of each type that safetensors and weir share, the odd
// ones first so that the others' data is not aligned.
func plainTensors(t testing.TB) []Tensor {
	rng := newRand(5)
	return []Tensor{
		randomTensor(t, rng, "odd", I8, 3),
		randomTensor(t, rng, "model.norm.weight", F32, 5),
		randomTensor(t, rng, "model.embed_tokens.weight", BF16, 7, 4),
		randomTensor(t, rng, "lm_head.weight", F16, 2, 3),
		randomTensor(t, rng, "model.rotary.position_ids", I64, 1, 2),
		{Name: "scalar", Type: F32, Shape: []int{}, Data: []byte{0, 0, 128, 63}},
		{Name: "empty", Type: F32, Shape: []int{0, 4}, Data: []byte{}},
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	tensors := plainTensors(t)
	dir := t.TempDir()
	path := writeFile(t, dir, "heads.safetensors", encodeST(t, tensors))
	for _, load := range []Load{Mmap, Read} {
		f, err := Open(path, Options{Load: load})
		if err != nil {
			t.Fatal(err)
		}
		sameTensors(t, f.Tensors(), tensors)
		if f.Format() != HF || f.Name() != "heads.safetensors" || len(f.Meta().Keys()) != 0 || !slices.Equal(f.Paths(), []string{path}) {
			t.Errorf("format %v, name %q, keys %q, paths %q", f.Format(), f.Name(), f.Meta().Keys(), f.Paths())
		}
		for i, w := range tensors { // unaligned data decodes on any platform
			if g := f.Tensors()[i]; w.Type.Supported() {
				for j, v := range g.Float32s() {
					if u := w.Float32s()[j]; math.Float32bits(v) != math.Float32bits(u) {
						t.Errorf("%s: element %d is %v, want %v", w.Name, j, v, u)
					}
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSafetensorsWriterRefuses(t *testing.T) {
	a := Tensor{Name: "a", Type: F32, Shape: []int{1}, Data: make([]byte, 4)}
	for want, ts := range map[string][]Tensor{
		"is Q8_0, which safetensors cannot hold": {{Name: "q", Type: Q8_0, Shape: []int{32}, Data: make([]byte, 34)}},
		"takes 4 bytes, got 3":                   {{Name: "a", Type: F32, Shape: []int{1}, Data: make([]byte, 3)}},
		`tensor "a" is there twice`:              {a, a},
	} {
		if err := WriteSafetensors(&bytes.Buffer{}, ts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestUnsupportedDtypes: buffers of other types do not stand in the way of the
// weights beside them; asking for one names it.
func TestUnsupportedDtypes(t *testing.T) {
	path := writeFile(t, t.TempDir(), "m.safetensors", safetensor(`{
		"w": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]},
		"ids": {"dtype": "I64", "shape": [1], "data_offsets": [4, 12]},
		"ok": {"dtype": "BF16", "shape": [1], "data_offsets": [12, 14]}}`, 14))
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, dtype := range map[string]string{"w": "F8_E4M3", "ids": "I64"} {
		w, ok := f.Tensor(name)
		if !ok || w.Type.Supported() || w.TypeName() != dtype {
			t.Errorf("%s: %v, %v is supported: %v", name, ok, w.TypeName(), w.Type.Supported())
		}
		want := fmt.Sprintf("m.safetensors: tensor %q is %s, which weir does not read: it reads F32, F16,", name, dtype)
		if _, err := f.Lookup(name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Lookup: %v, want %q", err, want)
		}
	}
	if _, err := f.Lookup("ok"); err != nil {
		t.Error(err)
	}
}

func one(dtype, shape, offsets string) string {
	return fmt.Sprintf(`{"a":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
}

func two(first, second string) string {
	const f = `{"a":{"dtype":"I8","shape":[4],"data_offsets":%s},"b":{"dtype":"I8","shape":[4],"data_offsets":%s}}`
	return fmt.Sprintf(f, first, second)
}

var hostileSafetensors = []struct {
	name string
	b    []byte
	want string
}{
	{"nothing", nil, "has 0 bytes, too few"},
	{"seven bytes", make([]byte, 7), "has 7 bytes, too few"},
	{"no header", make([]byte, 8), "does not begin with {"},
	{"header past the end", append(safetensor("{}", 0), 1)[:9], "the header takes 2 bytes but the file has 1"},
	{"header length 2^63", binary.LittleEndian.AppendUint64(nil, 1<<63), "the header takes 9223372036854775808 bytes but"},
	{"header length 2^64-1", append(binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "{}"...), "the header takes 18446744073709551615"},
	{"not UTF-8", safetensor("{\"\xff\":1}", 0), "not UTF-8"},
	{"not JSON", safetensor("{nonsense", 0), "the header is not what safetensors have"},
	{"an array", safetensor("[]", 0), "does not begin with {"},
	{"leading space", safetensor(" {}", 0), "does not begin with {"},
	{"unclosed", safetensor(`{"a":{"dtype":"F32"`, 0), "the header is not what"},
	{"two objects", safetensor("{}{}", 0), "something follows the object"},
	{"a number for a tensor", safetensor(`{"a":1}`, 0), `tensor "a"`},
	{"null for a tensor", safetensor(`{"a":null}`, 0), "does not have a dtype"},
	{"no dtype", safetensor(`{"a":{"shape":[],"data_offsets":[0,4]}}`, 4), "does not have a dtype"},
	{"no shape", safetensor(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "does not have a dtype, a shape"},
	{"one offset", safetensor(one("F32", "[1]", "[0]"), 4), "two data_offsets"},
	{"three offsets", safetensor(one("F32", "[1]", "[0,4,8]"), 4), "two data_offsets"},
	{"negative offset", safetensor(one("F32", "[1]", "[-4,0]"), 4), `tensor "a"`},
	{"fractional offset", safetensor(one("F32", "[1]", "[0,4.5]"), 4), `tensor "a"`},
	{"offset beyond 64 bits", safetensor(one("F32", "[1]", "[0,36893488147419103232]"), 4), `tensor "a"`},
	{"end before begin", safetensor(one("F32", "[1]", "[4,0]"), 4), "ends at 0 before it begins at 4"},
	{"end past the file", safetensor(one("F32", "[2]", "[0,8]"), 4), "ends at byte 8 of the data but there are 4"},
	{"end near 2^64", safetensor(one("F32", "[1]", "[18446744073709551611,18446744073709551615]"), 4), "of the data but there are 4"},
	{"size against shape", safetensor(one("F32", "[2]", "[0,4]"), 4), "takes 8 bytes but has 4"},
	{"shape overflows", safetensor(one("F32", "[4294967296,4294967296,4]", "[0,4]"), 4), "overflows"},
	{"dimension 2^63", safetensor(one("F32", "[9223372036854775808]", "[0,4]"), 4), "overflows"},
	{"bytes overflow", safetensor(one("F64", "[4611686018427387904]", "[0,4]"), 4), "overflows"},
	{"foreign shape overflows", safetensor(one("F8_E4M3", "[4294967296,4294967296]", "[0,4]"), 4), "overflows"},
	{"overlap", safetensor(two("[0,4]", "[2,6]"), 6), `tensors "a" and "b" overlap`},
	{"the same bytes", safetensor(two("[0,4]", "[0,4]"), 4), "overlap"},
	{"hole", safetensor(two("[0,4]", "[8,12]"), 12), `no tensor has the bytes [4, 8) of the data before "b"`},
	{"hole at the start", safetensor(two("[4,8]", "[8,12]"), 12), "no tensor has the bytes [0, 4)"},
	{"hole at the end", safetensor(two("[0,4]", "[4,8]"), 9), "no tensor has the last 1 bytes"},
	{"data but no tensors", safetensor("{}", 4), "no tensor has the last 4 bytes"},
	{"duplicate tensor", safetensor(`{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}`, 2), `tensor "a" is there twice`},
	{"duplicate by escape", safetensor(`{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}`, 2), `tensor "a" is there twice`},
	{"deep JSON", safetensor(`{"a":`+strings.Repeat("[", 1<<16), 0), "the header is not what"},
	{"deep closed JSON", safetensor(`{"a":`+strings.Repeat("[", 1<<16)+strings.Repeat("]", 1<<16)+"}", 0), "the header is not what"},
	{"giant shape", safetensor(one("F32", "["+strings.Repeat("1,", 1<<16)+"1]", "[0,4]"), 4), "its description has"},
}

func TestHostileSafetensors(t *testing.T) {
	for _, c := range hostileSafetensors {
		t.Run(c.name, func(t *testing.T) {
			var ts []Tensor
			var err error
			took := allocated(func() { ts, err = parseSafetensors("m.safetensors", c.b) })
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "m.safetensors: ") || ts != nil {
				t.Fatalf("error %.300v, want %q", err, c.want)
			}
			if took > justified(len(c.b)) {
				t.Errorf("took %d bytes of memory for a file of %d", took, len(c.b))
			}
		})
	}
}

// TestHeaderLimit: a header above the format's limit is refused even though
// the file is that large (a sparse one, here).
func TestHeaderLimit(t *testing.T) {
	path := writeFile(t, t.TempDir(), "big.safetensors", binary.LittleEndian.AppendUint64(nil, maxHeader+1))
	if err := os.Truncate(path, maxHeader+100); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "more than the 100000000 that safetensors allows") {
		t.Error(err)
	}
}

func TestTruncatedSafetensors(t *testing.T) {
	whole := encodeST(t, plainTensors(t)[:4])
	for n := range whole {
		if ts, err := parseSafetensors("m", slices.Clip(whole[:n])); err == nil || ts != nil {
			t.Fatalf("cut to %d of %d bytes: no error", n, len(whole))
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	seeds := [][]byte{
		encodeST(f, plainTensors(f)), encodeST(f, nil),
		safetensor(`{"__metadata__":{"format":"pt"},"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}   `, 3),
		safetensor(two("[4,8]", "[0,4]"), 8),
	}
	for _, c := range hostileSafetensors {
		seeds = append(seeds, c.b)
	}
	if len(seeds) < 40 {
		f.Fatalf("only %d seeds", len(seeds))
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ts []Tensor
		var err error
		took := allocated(func() { ts, err = parseSafetensors("f", b) })
		if limit := justified(len(b)) + 8<<20; took > limit { // the fuzzing engine allocates beside us
			t.Errorf("took %d bytes of memory for a file of %d", took, len(b))
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f: ") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		ts = slices.DeleteFunc(ts, func(t Tensor) bool { return t.Type == Foreign })
		again, err := parseSafetensors("again", encodeST(t, ts))
		if err != nil {
			t.Fatalf("what was read and written does not read: %v", err)
		}
		slices.SortStableFunc(ts, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
		slices.SortStableFunc(again, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
		sameTensors(t, again, ts)
	})
}

// checkpoint writes a directory with these files.
func checkpoint(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Tiny-1B")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		writeFile(t, dir, name, []byte(content))
	}
	return dir
}

func TestCheckpoint(t *testing.T) {
	all := plainTensors(t)
	first, rest := string(encodeST(t, all[:2])), string(encodeST(t, all[2:]))
	whole := string(encodeST(t, all))
	index := `{"metadata":{"total_size":1},"weight_map":{"odd":"model-00001-of-00002.safetensors","lm_head.weight":"model-00002-of-00002.safetensors"}}`
	for _, c := range []struct {
		name  string
		files map[string]string
		open  string // within the directory
		paths int
	}{
		{"one file", map[string]string{"model.safetensors": whole}, "", 1},
		{"one file by name", map[string]string{"model.safetensors": whole}, "model.safetensors", 1},
		{"one file of another name", map[string]string{"pytorch_model.safetensors": whole}, "", 1},
		{"sharded", map[string]string{"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": rest, indexFile: index}, "", 2},
		{"sharded, a shard by name", map[string]string{"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": rest, indexFile: index}, "model-00002-of-00002.safetensors", 2},
		{"sharded beside another file", map[string]string{"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": rest, indexFile: index, "consolidated.safetensors": whole}, "", 2},
		{"shards without an index", map[string]string{"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": rest}, "", 2},
		{"shard names of no pattern", map[string]string{"a.safetensors": first, "b.safetensors": rest, indexFile: `{"weight_map":{"odd":"a.safetensors","scalar":"b.safetensors"}}`}, "b.safetensors", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["config.json"] = `{"model_type":"llama"}`
			c.files["chat_template.jinja"] = "{{ x }}"
			dir := checkpoint(t, c.files)
			f, err := Open(filepath.Join(dir, c.open), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sameTensors(t, f.Tensors(), all)
			if cfg, ok := f.JSON("config.json"); !ok || string(cfg) != `{"model_type":"llama"}` || len(f.Paths()) != c.paths {
				t.Errorf("config %q, paths %q", cfg, f.Paths())
			}
			if tmpl, ok := f.JSON("chat_template.jinja"); !ok || string(tmpl) != "{{ x }}" {
				t.Errorf("template %q", tmpl)
			}
			for _, name := range []string{"tokenizer.json", "../Tiny-1B/config.json", dir + "/config.json", "", ".", "..", `x\config.json`} {
				if _, ok := f.JSON(name); ok {
					t.Errorf("JSON(%q) is there", name)
				}
			}
			if c.open == "" && f.Name() != "Tiny-1B" {
				t.Errorf("name %q", f.Name())
			}
		})
	}
}

func TestCheckpointErrors(t *testing.T) {
	all := plainTensors(t)
	first, rest := string(encodeST(t, all[:2])), string(encodeST(t, all[2:]))
	mapTo := func(shard string) string { return fmt.Sprintf(`{"weight_map":{"odd":%q}}`, shard) }
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"empty", nil, "has no config.json: not a Hugging Face checkpoint"},
		{"weights alone", map[string]string{"model.safetensors": first}, "has no config.json"},
		{"a folder of GGUFs", map[string]string{"m-Q4_K_M.gguf": ""}, "open one of them, such as "},
		{"no weights", map[string]string{"config.json": "{}"}, "has config.json but no weights"},
		{"pickles", map[string]string{"config.json": "{}", "pytorch_model.bin": "x"}, "convert it to safetensors"},
		{"two files", map[string]string{"config.json": "{}", "a.safetensors": first, "b.safetensors": rest}, "to say what belongs together"},
		{"missing shard", map[string]string{"config.json": "{}", "model-00001-of-00002.safetensors": first}, "model-00002-of-00002.safetensors: shard 2 of 2 is missing"},
		{"missing shard of the index", map[string]string{"config.json": "{}", indexFile: mapTo("a.safetensors")}, "a.safetensors: shard 1 of 1 is missing"},
		{"path traversal", map[string]string{"config.json": "{}", indexFile: mapTo("../../etc/passwd")}, `is said to be in "../../etc/passwd", which is not a file beside it`},
		{"absolute path", map[string]string{"config.json": "{}", indexFile: mapTo("/etc/passwd")}, "which is not a file beside it"},
		{"Windows path", map[string]string{"config.json": "{}", indexFile: mapTo(`..\x.safetensors`)}, "which is not a file beside it"},
		{"drive", map[string]string{"config.json": "{}", indexFile: mapTo(`c:x.safetensors`)}, "which is not a file beside it"},
		{"the directory itself", map[string]string{"config.json": "{}", indexFile: mapTo(".")}, "which is not a file beside it"},
		{"no name", map[string]string{"config.json": "{}", indexFile: mapTo("")}, "which is not a file beside it"},
		{"index not JSON", map[string]string{"config.json": "{}", indexFile: "{"}, "model.safetensors.index.json: unexpected end"},
		{"deep index", map[string]string{"config.json": "{}", indexFile: strings.Repeat(`{"weight_map":`, 1<<15)}, "model.safetensors.index.json: "},
		{"index empty", map[string]string{"config.json": "{}", indexFile: "{}"}, "names no tensors"},
		{"index wrong", map[string]string{"config.json": "{}", indexFile: mapTo("a.safetensors"), "a.safetensors": rest}, `says that tensor "odd" is in a.safetensors, but it is not`},
		{"tensor in two shards", map[string]string{"config.json": "{}", "m-00001-of-00002.safetensors": first, "m-00002-of-00002.safetensors": first}, `tensor "odd" is there twice (also in m-00001-of-00002.safetensors)`},
		{"damaged shard", map[string]string{"config.json": "{}", "model.safetensors": first[:40]}, "model.safetensors: the header takes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Open(checkpoint(t, c.files), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) || f != nil {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestSmallFilesAreBounded: a directory or a giant in the place of a JSON file.
func TestSmallFilesAreBounded(t *testing.T) {
	dir := checkpoint(t, map[string]string{"config.json": "{}", "model.safetensors": string(encodeST(t, nil)), "tokenizer.json": ""})
	if err := os.Mkdir(filepath.Join(dir, "generation_config.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "tokenizer.json"), maxSmall+1); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{"generation_config.json": "not a regular file", "tokenizer.json": "more than the 268435456 expected"} {
		if _, err := f.ReadFile(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if _, ok := f.JSON(name); ok {
			t.Errorf("%s is there", name)
		}
	}
	if _, err := f.ReadFile("absent.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
