package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tiny.pt is what torch.save writes, as far as tools/reference/torchfile.py can
// do it without PyTorch.
func TestTorchFile(t *testing.T) {
	f, err := OpenHeads("testdata/tiny.pt", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		name  string
		typ   Type
		shape []int
		want  []float32
	}{
		{"0.0.linear.weight", F16, []int{2, 3}, []float32{0, 1, 2, 3, 4, 5}},
		{"0.0.linear.bias", F32, []int{2}, []float32{0.5, -0.5}},
		{"0.1.weight", BF16, []int{1, 2}, []float32{1.5, -2}},
	} {
		got, ok := f.Tensor(c.name)
		if !ok || got.Type != c.typ || !slices.Equal(got.Shape, c.shape) || !slices.Equal(got.Float32s(), c.want) {
			t.Errorf("%s: got %v %v, want %v %v %v", c.name, got.Type, got.Shape, c.typ, c.shape, c.want)
		}
	}
	d, _ := f.Tensor("d2t")
	if d.Type != I64 || int64(binary.LittleEndian.Uint64(d.Data[16:])) != 1<<40 {
		t.Errorf("d2t: %v %v", d.Type, d.Data)
	}
}

func TestOpenHeadsFindsTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenHeads(dir, Options{}); err == nil || !strings.Contains(err.Error(), "medusa_lm_head.pt") {
		t.Errorf("an empty folder: %v", err)
	}
	b, err := os.ReadFile("testdata/tiny.pt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "medusa_lm_head.pt"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenHeads(dir, Options{Load: Read})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Tensors()) != 4 {
		t.Errorf("%d tensors", len(f.Tensors()))
	}
}

// torchFile is an archive of a program and a storage of 24 bytes.
func torchFile(program string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range map[string]string{"x/data.pkl": program, "x/data/0": strings.Repeat("\x00", 24)} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write([]byte(data))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// tensorProgram makes {"w": tensor} over storage 0 of a class.
func tensorProgram(class, offset, shape, strides string) string {
	return "\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagec" + class + "\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ" +
		offset + shape + strides + "\x89ccollections\nOrderedDict\n)RtRs."
}

var hostilePickles = []struct{ what, program, want string }{
	{"os.system", "\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", "posix.system"},
	{"eval by STACK_GLOBAL", "\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval"},
	{"an object's constructor", "\x80\x02(icopy_reg\n_reconstructor\n.", "may run code"},
	{"NEWOBJ", "\x80\x02ctorch\nFloatStorage\n)\x81.", "may run code"},
	{"a call of a class", "\x80\x02ctorch\nFloatStorage\n)R.", "a call that a state dict does not need"},
	{"a dict made with arguments", "\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "a call"},
	{"no dict", "\x80\x02K\x01.", "one dict"},
	{"two values", "\x80\x02}}.", "one dict"},
	{"no end", "\x80\x02}", "in the middle"},
	{"empty", "", "in the middle"},
	{"an empty stack", "\x80\x02\x85.", "stack is empty"},
	{"through a mark", "\x80\x02}(\x85.", "stack is empty"},
	{"no mark", "\x80\x02t.", "no mark"},
	{"memory that is not there", "\x80\x02h\x07.", "never remembered"},
	{"a text longer than the file", "\x80\x02X\xff\xff\xff\x7fab.", "in the middle"},
	{"a number that is too large", "\x80\x02X\xff\xff\xff\xffab.", "larger than anything"},
	{"an old protocol", "\x80\x01}.", "protocol 1"},
	{"a key that is no text", "\x80\x02}K\x01K\x02s.", "not a text"},
	{"a name without end", "\x80\x02c" + strings.Repeat("x", 400), "no end"},
	{"a scalar", "\x80\x02}X\x01\x00\x00\x00aK\x02s.", "is not a tensor"},
	{"a transposed tensor", tensorProgram("torch\nFloatStorage", "K\x00", "K\x02K\x03\x86", "K\x01K\x02\x86"), "row by row"},
	{"a tensor beyond its storage", tensorProgram("torch\nFloatStorage", "K\x00", "K\x02K\x04\x86", "K\x04K\x01\x86"), "beyond its storage"},
	{"a tensor after its storage", tensorProgram("torch\nFloatStorage", "K\x06", "K\x01\x85", "K\x01\x85"), "beyond its storage"},
	{"a huge shape", tensorProgram("torch\nFloatStorage", "K\x00", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87", "\x8a\x08\x01\x00\x00\x00\xff\xff\xff\x3fJ\xff\xff\xff\x7fK\x01\x87"), ""},
	{"a negative offset", tensorProgram("torch\nFloatStorage", "J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85"), "not made of"},
	{"a storage of no type", tensorProgram("torch\nQInt8Storage", "K\x00", "K\x01\x85", "K\x01\x85"), "torch.QInt8Storage"},
}

func TestHostilePickles(t *testing.T) {
	ts, err := parseTorch("f", torchFile(tensorProgram("torch\nFloatStorage", "K\x00", "K\x02K\x03\x86", "K\x03K\x01\x86")))
	if err != nil || len(ts) != 1 || len(ts[0].Data) != 24 {
		t.Fatalf("the good one: %v, %v", ts, err)
	}
	for _, c := range hostilePickles {
		_, err := parseTorch("f", torchFile(c.program))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.what, err, c.want)
		}
	}
	if _, err := parseTorch("f", []byte("\x80\x02}.")); err == nil || !strings.Contains(err.Error(), "1.6") {
		t.Errorf("a bare pickle: %v", err)
	}
}

func FuzzTorch(f *testing.F) {
	f.Add(torchFile("\x80\x02}."))
	if b, err := os.ReadFile("testdata/tiny.pt"); err == nil {
		f.Add(b)
	} else {
		f.Fatal(err)
	}
	for _, c := range hostilePickles {
		f.Add(torchFile(c.program))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ts []Tensor
		var err error
		took := allocated(func() { ts, err = parseTorch("f", b) })
		if limit := 400*uint64(len(b)) + 8<<20; uint64(took) > limit {
			t.Errorf("took %d bytes of memory for a file of %d", took, len(b))
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f: ") {
			t.Errorf("the error does not name the file: %v", err)
		}
		for _, x := range ts {
			n := 0
			if x.Type != Foreign {
				n, _ = dataBytes(x.Type, x.Shape)
			}
			if x.Type != Foreign && n != len(x.Data) {
				t.Errorf("%s: %v %v has %d bytes", x.Name, x.Type, x.Shape, len(x.Data))
			}
		}
	})
}

// FuzzUnpickle is for the machine alone, without the archive's checksums.
func FuzzUnpickle(f *testing.F) {
	for _, c := range hostilePickles {
		f.Add([]byte(c.program))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := unpickle(b)
		if err == nil && len(d.keys) != len(d.values) {
			t.Error(fmt.Sprint("keys and values differ in number: ", len(d.keys), len(d.values)))
		}
	})
}
