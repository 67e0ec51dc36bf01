package weights

import (
	"strings"
	"testing"

	ggufparser "github.com/gpustack/gguf-parser-go"
)

// TestTypesAgainstParser compares names and block sizes with another reader's,
// those of the types weir refuses too.
func TestTypesAgainstParser(t *testing.T) {
	for i := range types {
		in := &types[i]
		if in.typ == F8E4M3 {
			continue // a GGUF cannot have it
		}
		theirs := ggufparser.GGMLType(in.typ)
		trait, ok := theirs.Trait()
		if !ok || theirs.String() != in.name || trait.BlockSize != uint64(in.elems) || trait.TypeSize != uint64(in.bytes) {
			t.Errorf("%s is %d elements in %d bytes; to them %v is %d in %d", in.name, in.elems, in.bytes, theirs, trait.BlockSize, trait.TypeSize)
		}
	}
}

func TestTypeNames(t *testing.T) {
	if n := len(Types()); n != 15 {
		t.Errorf("%d supported types", n)
	}
	for _, typ := range Types() {
		for _, s := range []string{typ.String(), strings.ToLower(typ.String())} {
			if got, err := ParseType(s); err != nil || got != typ || !got.Supported() {
				t.Errorf("ParseType(%q) = %v, %v", s, got, err)
			}
		}
	}
	for _, s := range []string{"", "Q4", "MXFP4", "I32", "foreign", "type 2"} {
		if got, err := ParseType(s); err == nil || !strings.Contains(err.Error(), "weir supports F32, F16, Q4_0") {
			t.Errorf("ParseType(%q) = %v, %v", s, got, err)
		}
	}
	for typ, want := range map[Type]string{4: "type 4", 77: "type 77", Foreign: "foreign", 39: "MXFP4", I64: "I64"} {
		if typ.String() != want || typ.Supported() {
			t.Errorf("type %d is %q, supported: %v", uint32(typ), typ, typ.Supported())
		}
	}
	if GGUF.String() != "GGUF" || HF.String() != "safetensors" || Format(0).String() != "format 0" {
		t.Error("a format's name is wrong")
	}
}

func TestRowBytes(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		cols int
		want int // 0: an error
	}{
		{F32, 1, 4}, {BF16, 3, 6}, {Q4_0, 64, 36}, {Q6_K, 512, 420}, {I32, 2, 8},
		{Q4_0, 33, 0}, {Q4_K, 32, 0}, {Q8_0, 0, 0}, {Q8_0, -32, 0}, {77, 32, 0}, {Foreign, 1, 0}, {F32, maxInt, 0},
	} {
		if got, err := c.typ.RowBytes(c.cols); got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%v.RowBytes(%d) = %d, %v", c.typ, c.cols, got, err)
		}
	}
}

// TestTensorShapes: a row is the last dimension, whatever comes before it.
func TestTensorShapes(t *testing.T) {
	for _, c := range []struct {
		shape      []int
		rows, cols int
	}{{nil, 1, 1}, {[]int{5}, 1, 5}, {[]int{2, 3}, 2, 3}, {[]int{4, 2, 3}, 8, 3}, {[]int{0, 4}, 0, 4}} {
		if w := (Tensor{Shape: c.shape}); w.Rows() != c.rows || w.Cols() != c.cols {
			t.Errorf("%v has %d rows of %d", c.shape, w.Rows(), w.Cols())
		}
	}
}
