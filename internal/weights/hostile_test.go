package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// raw builds a GGUF byte by byte, so that it can lie.
type raw []byte

func gguf(version uint32, tensors, pairs uint64) raw {
	return raw("GGUF").u32(version).u64(tensors).u64(pairs)
}

func (r raw) u32(v uint32) raw     { return binary.LittleEndian.AppendUint32(r, v) }
func (r raw) u64(v uint64) raw     { return binary.LittleEndian.AppendUint64(r, v) }
func (r raw) str(s string) raw     { return append(r.u64(uint64(len(s))), s...) }
func (r raw) zeros(n int) raw      { return append(r, make([]byte, n)...) }
func (r raw) key(k string) raw     { return r.str(k) }
func (r raw) typ(t valueType) raw  { return r.u32(uint32(t)) }
func (r raw) pad(align int) raw    { return r.zeros(-len(r) & (align - 1)) }
func (r raw) array(k string) raw   { return r.key(k).typ(vArray) }
func (r raw) u8kv(k string) raw    { return append(r.key(k).typ(vUint8), 1) }
func (r raw) align(v uint32) raw   { return r.key(keyAlignment).typ(vUint32).u32(v) }
func (r raw) f32(n uint64) raw     { return r.tensor("a", F32, 0, n) }
func (r raw) bytes(b ...byte) raw  { return append(r, b...) }
func (r raw) rest(n int) raw       { return r.pad(32).zeros(n) }
func (r raw) two(b uint64) raw     { return r.tensor("a", F32, 0, 8).tensor("b", F32, b, 8).rest(64) }
func (r raw) named(s string) raw   { return r.tensor(s, F32, 0, 1).rest(32) }
func (r raw) typed(t Type) raw     { return r.tensor("blk.0.ffn_up.weight", t, 0, 256).rest(4096) }
func (r raw) dims(d ...uint64) raw { return r.tensor("a", F32, 0, d...).rest(64) }

func (r raw) tensor(name string, t Type, offset uint64, dims ...uint64) raw {
	r = r.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r = r.u64(d)
	}
	return r.u32(uint32(t)).u64(offset)
}

// hostileGGUF are files that contradict themselves, and what the error says.
var hostileGGUF = []struct {
	name string
	b    []byte
	want string
}{
	{"nothing", nil, "the magic takes 4 bytes"},
	{"other magic", raw("GGML").zeros(64), `does not begin with "GGUF"`},
	{"version 1", gguf(1, 0, 0), "version 1"},
	{"version 0", gguf(0, 0, 0), "version 0"},
	{"version 4", gguf(4, 0, 0), "version 4"},
	{"big-endian", gguf(3<<24, 0, 0), "is a big-endian GGUF"},
	{"tensor count 2^60", gguf(3, 1<<60, 0).zeros(100), "claims 1152921504606846976 tensors but has 100 bytes left"},
	{"tensor count 2^64-1", gguf(3, math.MaxUint64, 0).zeros(100), "tensors but has 100 bytes left"},
	{"tensor count just too large", gguf(3, 4, 0).zeros(127), "claims 4 tensors but has 127"},
	{"key count 2^60", gguf(3, 0, 1<<60).zeros(100), "claims 1152921504606846976 key-values"},
	{"key count just too large", gguf(3, 0, 8).zeros(100), "claims 8 key-values but has 100"},
	{"key length 2^63", gguf(3, 0, 1).u64(1 << 63).zeros(50), "a metadata key takes 9223372036854775808 bytes"},
	{"key length 2^64-1", gguf(3, 0, 1).u64(math.MaxUint64).zeros(50), "a metadata key takes 18446744073709551615 bytes"},
	{"string length past the end", gguf(3, 0, 1).key("k").typ(vString).u64(9).zeros(8), `the value of "k" takes 9 bytes`},
	{"unknown value type", gguf(3, 0, 1).key("k").u32(13).zeros(8), `key "k" has the unknown value type 13`},
	{"unknown array type", gguf(3, 0, 1).array("k").u32(99).u64(1).zeros(8), `key "k" has the unknown value type 99`},
	{"a key as long as the file", gguf(3, 0, 1).key(strings.Repeat("k", 1<<20)).u32(13).zeros(8), `k" has the unknown value type 13`},
	{"array of arrays", gguf(3, 0, 1).array("k").typ(vArray).u64(1).typ(vUint8).u64(1).zeros(8), "array of arrays"},
	{"arrays nested deep", gguf(3, 0, 1).array("k").bytes(bytes.Repeat(raw{}.typ(vArray).u64(1), 1<<16)...), "array of arrays"},
	{"giant array of bytes", gguf(3, 0, 1).array("k").typ(vUint8).u64(1 << 40).zeros(64), `claims 1099511627776 elements of "k"`},
	{"giant array of doubles", gguf(3, 0, 1).array("k").typ(vFloat64).u64(1 << 61).zeros(64), "elements of"},
	{"giant array of strings", gguf(3, 0, 1).array("k").typ(vString).u64(9).zeros(64), "claims 9 elements"},
	{"array cut short", gguf(3, 0, 1).array("k").typ(vUint64).u64(9).zeros(71), "claims 9 elements"},
	{"string in an array past the end", gguf(3, 0, 1).array("k").typ(vString).u64(2).str("ab").u64(1 << 62), `the value of "k" takes`},
	{"duplicate key", gguf(3, 0, 2).u8kv("k").u8kv("k"), `key "k" is there twice`},
	{"alignment 0", gguf(3, 0, 1).align(0).zeros(64), "general.alignment is 0, not a 32-bit power of two"},
	{"alignment 24", gguf(3, 0, 1).align(24).zeros(64), "general.alignment is 24"},
	{"alignment of another type", gguf(3, 0, 1).key(keyAlignment).typ(vString).str("32").zeros(64), "not a 32-bit power of two"},
	{"alignment past the end", gguf(3, 1, 1).align(1 << 31).f32(1).zeros(64), `tensor "a" takes 4 bytes at byte 0 of the data but there are 0`},
	{"no dimensions", gguf(3, 1, 0).dims(), `tensor "a" has 0 dimensions`},
	{"five dimensions", gguf(3, 1, 0).dims(1, 1, 1, 1, 1), "has 5 dimensions"},
	{"2^32-1 dimensions", gguf(3, 1, 0).str("a").u32(math.MaxUint32).zeros(64), "has 4294967295 dimensions"},
	{"zero dimension", gguf(3, 1, 0).dims(4, 0), "has a dimension of 0"},
	{"dimension 2^63", gguf(3, 1, 0).dims(1 << 63), "has a dimension of 9223372036854775808"},
	{"dimensions overflow", gguf(3, 1, 0).dims(1<<32, 1<<32), "overflows"},
	{"rows overflow", gguf(3, 1, 0).dims(1, 1<<40, 1<<40), "overflows"},
	{"bytes overflow", gguf(3, 1, 0).dims(1 << 62), "overflows"},
	{"dimensions wrap to a small product", gguf(3, 1, 0).dims(1<<32, 1<<30, 4), "overflows"},
	{"tensor larger than the file", gguf(3, 1, 0).f32(17).rest(64), "takes 68 bytes at byte 0 of the data but there are 64"},
	{"offset past the end", gguf(3, 1, 0).tensor("a", F32, 96, 1).rest(64), "at byte 96 of the data but there are 64"},
	{"offset near 2^64", gguf(3, 1, 0).tensor("a", F32, 1<<64-32, 16).rest(64), "of the data but there are 64"},
	{"offset not aligned", gguf(3, 1, 0).tensor("a", F32, 4, 1).rest(64), "not aligned to 32"},
	{"overlap", gguf(3, 2, 0).two(0), `tensors "a" and "b" overlap`},
	{"overlap in reverse", gguf(3, 2, 0).tensor("a", F32, 32, 1).tensor("b", F32, 0, 16).rest(64), `tensors "b" and "a" overlap`},
	{"duplicate tensor", gguf(3, 2, 0).f32(8).tensor("a", F32, 32, 8).rest(64), `tensor "a" is there twice`},
	{"tensor without a name", gguf(3, 1, 0).named(""), "tensor 0 has no name"},
	{"part of a block", gguf(3, 1, 0).tensor("a", Q4_K, 0, 255).rest(4096), "not a multiple of Q4_K's block of 256"},
	{"rows in part of a block", gguf(3, 1, 0).tensor("a", Q8_0, 0, 16, 2).rest(4096), "not a multiple of Q8_0's block of 32"},
	{"MXFP4", gguf(3, 1, 0).typed(39), `m.gguf: tensor "blk.0.ffn_up.weight" is MXFP4, which weir does not read: it reads F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16; use a file converted to one of those`},
	{"IQ2_XS", gguf(3, 1, 0).typed(17), "is IQ2_XS, which weir does not read"},
	{"TQ1_0", gguf(3, 1, 0).typed(34), "is TQ1_0, which weir does not read"},
	{"unknown type", gguf(3, 1, 0).typed(4711), "is type 4711, which weir does not read"},
	{"type of another format", gguf(3, 1, 0).typed(Foreign), "which weir does not read"},
	{"type of safetensors", gguf(3, 1, 0).typed(F8E4M3), "is F8_E4M3, which weir does not read"},
}

// allocated runs f and returns the bytes that it took from the heap.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// justified is the memory that a header of n bytes may cost: the smallest
// tensor or key-value takes a few hundred bytes of index for its dozens.
func justified(n int) uint64 { return 32<<10 + 64*uint64(n) }

func TestHostileGGUF(t *testing.T) {
	for _, c := range hostileGGUF {
		t.Run(c.name, func(t *testing.T) {
			var f *File
			var err error
			took := allocated(func() { f, err = OpenBytes("m.gguf", c.b) })
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "m.gguf: ") || f != nil {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if took > justified(len(c.b)) {
				t.Errorf("took %d bytes of memory for a file of %d", took, len(c.b))
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes: it repeats the file", len(err.Error()))
			}
		})
	}
}

// TestMemoryInProportion opens honest files with as many small things in them
// as fit.
func TestMemoryInProportion(t *testing.T) {
	const n = 20000
	tensors, pairs := gguf(3, n, 0), gguf(3, 0, n)
	for i := range n {
		tensors = tensors.tensor(fmt.Sprint(i), I8, uint64(32*i), 1)
		pairs = pairs.u8kv(fmt.Sprint(i))
	}
	header := len(tensors)
	for name, b := range map[string]raw{"tensors": tensors.rest(32 * n), "key-values": pairs} {
		var err error
		took := allocated(func() { _, err = OpenBytes("m.gguf", b) })
		if err != nil || took > justified(min(len(b), header)) {
			t.Errorf("%s: %v; took %d bytes of memory for a header of %d", name, err, took, header)
		}
	}
}

// TestTruncatedGGUF cuts a file after every byte.
func TestTruncatedGGUF(t *testing.T) {
	whole := encode(t, everyValue, []Tensor{
		randomTensor(t, newRand(1), "a", F32, 3), randomTensor(t, newRand(2), "b", Q8_0, 2, 32), randomTensor(t, newRand(3), "c", F32, 8),
	})
	for n := range whole {
		f, err := OpenBytes("m.gguf", slices.Clip(whole[:n]))
		if err == nil || f != nil || !strings.Contains(err.Error(), "truncated") {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := OpenBytes("m.gguf", whole); err != nil {
		t.Fatal(err)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// TestGGUFHolesAreFine: padding beyond the alignment, tensors out of order.
func TestGGUFHolesAreFine(t *testing.T) {
	b := gguf(2, 2, 0).tensor("a", F32, 96, 8).tensor("b", F32, 0, 8).rest(128)
	f, err := OpenBytes("m.gguf", b)
	if err != nil {
		t.Fatal(err)
	}
	if a := f.Tensors()[0]; a.Name != "a" || &a.Data[0] != &b[len(b)-32] {
		t.Errorf("first tensor %q does not lie at the end", a.Name)
	}
}

func FuzzGGUF(f *testing.F) {
	seeds := [][]byte{
		encode(f, everyValue, oneOfEach(f)[:4]),
		encode(f, nil, nil),
		encode(f, []KV{{keyAlignment, uint32(64)}, {splitCount, uint16(1)}}, oneOfEach(f)[1:3]),
		gguf(2, 2, 0).tensor("a", F32, 96, 8).tensor("b", F32, 0, 8).rest(128),
	}
	for _, c := range hostileGGUF {
		seeds = append(seeds, c.b)
	}
	if len(seeds) < 50 {
		f.Fatalf("only %d seeds", len(seeds))
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var file *File
		var err error
		took := allocated(func() { file, err = OpenBytes("f.gguf", b) })
		if limit := justified(len(b)) + 8<<20; took > limit { // the fuzzing engine allocates beside us
			t.Errorf("took %d bytes of memory for a file of %d", took, len(b))
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.gguf: ") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		if a, ok := file.Meta().Uint(keyAlignment); !ok || a <= 4096 { // or padding alone would be gigabytes
			checkReencodes(t, file)
		}
	})
}

// checkReencodes writes what was read and reads it again: the same tensors, and
// from then on the same bytes.
func checkReencodes(t *testing.T, f *File) {
	again := encode(t, f.Meta().KVs(), f.Tensors())
	g, err := OpenBytes("again", again)
	if err != nil {
		t.Fatalf("what was read and written does not read: %v", err)
	}
	sameTensors(t, g.Tensors(), f.Tensors())
	if !reflect.DeepEqual(g.Meta().Keys(), f.Meta().Keys()) || !bytes.Equal(encode(t, g.Meta().KVs(), g.Tensors()), again) {
		t.Error("the metadata changed on the way")
	}
	for _, w := range g.Tensors() {
		if w.Type.Supported() && len(w.Float32s()) != w.Rows()*w.Cols() {
			t.Errorf("tensor %q decodes to another size", w.Name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"empty.gguf", "", "empty.gguf: is empty"},
		{"short.gguf", "GG", "short.gguf: is empty or nearly so"},
		{"text.gguf", "hello, world", `text.gguf: does not begin with "GGUF"`},
		{"pytorch_model.bin", "PK\x03\x04 and so on", "convert it to safetensors"},
		{"consolidated.00.pth", "\x80\x02 and so on", "convert it to safetensors"},
		{"pointer.gguf", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
		{"pointer.safetensors", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
		{"empty.safetensors", "", "empty.safetensors: is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, load := range []Load{Mmap, Read} {
				f, err := Open(writeFile(t, t.TempDir(), c.name, []byte(c.content)), Options{Load: load})
				if err == nil || !strings.Contains(err.Error(), c.want) || f != nil {
					t.Errorf("error %v, want %q", err, c.want)
				}
			}
		})
	}
	if _, err := Open(t.TempDir()+"/absent.gguf", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	if _, err := Open(os.DevNull, Options{}); err == nil || !strings.Contains(err.Error(), "neither a file nor a directory") {
		t.Errorf("a device: %v", err)
	}
}
