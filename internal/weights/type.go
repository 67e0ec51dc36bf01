package weights

import (
	"fmt"
	"slices"
	"strings"
)

// Type is how a tensor's elements are stored, numbered as GGUF numbers them.
// The zero value is F32.
type Type uint32

// The types that [DequantizeRow] and [QuantizeRow] know.
const (
	F32    Type = 0
	F16    Type = 1
	Q4_0   Type = 2
	Q4_1   Type = 3
	Q5_0   Type = 6
	Q5_1   Type = 7
	Q8_0   Type = 8
	Q2_K   Type = 10
	Q3_K   Type = 11
	Q4_K   Type = 12
	Q5_K   Type = 13
	Q6_K   Type = 14
	IQ4_NL Type = 20
	IQ4_XS Type = 23
	BF16   Type = 30
)

// Plain types that files carry beside the weights (position buffers, counters).
// They are listed with their bytes, but weir does not compute with them.
const (
	I8  Type = 24
	I16 Type = 25
	I32 Type = 26
	I64 Type = 27
	F64 Type = 28
)

// F8E4M3 is the FP8 of checkpoints, which have its scales in a tensor apart:
// [Tensor.Unscale] makes BF16 of the two. GGUF has no number for it.
const F8E4M3 Type = 1<<16 + 1

// Foreign marks a safetensors dtype that GGUF has no number for (BOOL, U8,
// F8_E5M2, ...). [Tensor.TypeName] has the file's own word for it.
const Foreign Type = 1 << 16

// typeInfo describes a type: how many elements make a block, in how many
// bytes, and whether this package decodes it.
type typeInfo struct {
	typ          Type
	name         string
	elems, bytes int
	support      support
}

type support uint8

const (
	decoded  support = iota + 1 // DequantizeRow knows it
	listed                      // carried in files, not computed with
	rejected                    // weights in a format weir cannot read: the file is refused
)

// types lists every type that GGUF files are known to hold. Sizes are those of
// the public ggml block layouts; they stand here for refused types too, so that
// tools can still size a file.
var types = [...]typeInfo{
	{F32, "F32", 1, 4, decoded},
	{F16, "F16", 1, 2, decoded},
	{Q4_0, "Q4_0", 32, 18, decoded},
	{Q4_1, "Q4_1", 32, 20, decoded},
	{Q5_0, "Q5_0", 32, 22, decoded},
	{Q5_1, "Q5_1", 32, 24, decoded},
	{Q8_0, "Q8_0", 32, 34, decoded},
	{Q2_K, "Q2_K", 256, 84, decoded},
	{Q3_K, "Q3_K", 256, 110, decoded},
	{Q4_K, "Q4_K", 256, 144, decoded},
	{Q5_K, "Q5_K", 256, 176, decoded},
	{Q6_K, "Q6_K", 256, 210, decoded},
	{IQ4_NL, "IQ4_NL", 32, 18, decoded},
	{IQ4_XS, "IQ4_XS", 256, 136, decoded},
	{BF16, "BF16", 1, 2, decoded},

	{I8, "I8", 1, 1, listed},
	{I16, "I16", 1, 2, listed},
	{I32, "I32", 1, 4, listed},
	{I64, "I64", 1, 8, listed},
	{F64, "F64", 1, 8, listed},
	{F8E4M3, "F8_E4M3", 1, 1, listed},

	{9, "Q8_1", 32, 36, rejected},
	{15, "Q8_K", 256, 292, rejected},
	{16, "IQ2_XXS", 256, 66, rejected},
	{17, "IQ2_XS", 256, 74, rejected},
	{18, "IQ3_XXS", 256, 98, rejected},
	{19, "IQ1_S", 256, 50, rejected},
	{21, "IQ3_S", 256, 110, rejected},
	{22, "IQ2_S", 256, 82, rejected},
	{29, "IQ1_M", 256, 56, rejected},
	{31, "Q4_0_4_4", 32, 18, rejected},
	{32, "Q4_0_4_8", 32, 18, rejected},
	{33, "Q4_0_8_8", 32, 18, rejected},
	{34, "TQ1_0", 256, 54, rejected},
	{35, "TQ2_0", 256, 66, rejected},
	{39, "MXFP4", 32, 17, rejected},
	{40, "NVFP4", 64, 36, rejected},
}

// info returns the description of t, nil for a type that is not known.
func (t Type) info() *typeInfo {
	for i := range types {
		if types[i].typ == t {
			return &types[i]
		}
	}
	return nil
}

// String returns the type's usual name, such as "Q4_K", or "type 77" for a
// number without one.
func (t Type) String() string {
	if t == Foreign {
		return "foreign"
	}
	if in := t.info(); in != nil {
		return in.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// ParseType returns the supported type of that name, in any case.
func ParseType(s string) (Type, error) {
	for i := range types {
		if types[i].support == decoded && strings.EqualFold(types[i].name, s) {
			return types[i].typ, nil
		}
	}
	return 0, fmt.Errorf("unknown weight type %q: weir supports %s", s, supportedNames())
}

// Types returns the supported types in the order of their numbers.
func Types() []Type {
	var ts []Type
	for i := range types {
		if types[i].support == decoded {
			ts = append(ts, types[i].typ)
		}
	}
	slices.Sort(ts)
	return ts
}

// Supported reports whether this package decodes t.
func (t Type) Supported() bool {
	in := t.info()
	return in != nil && in.support == decoded
}

// Block returns how many elements one block of t holds and in how many bytes;
// 0, 0 for a type whose layout is not known.
func (t Type) Block() (elems, bytes int) {
	if in := t.info(); in != nil {
		return in.elems, in.bytes
	}
	return 0, 0
}

// RowBytes returns the bytes of one row of cols elements. It is an error when
// cols is not a positive multiple of the block, or t's layout is not known.
func (t Type) RowBytes(cols int) (int, error) {
	elems, bytes := t.Block()
	switch {
	case elems == 0:
		return 0, fmt.Errorf("%v has no known layout: weir supports %s", t, supportedNames())
	case cols <= 0 || cols%elems != 0:
		return 0, fmt.Errorf("a row of %d elements is not a multiple of %v's block of %d", cols, t, elems)
	case cols/elems > maxInt/bytes:
		return 0, fmt.Errorf("a row of %d elements of %v overflows", cols, t)
	}
	return cols / elems * bytes, nil
}

const maxInt = int(^uint(0) >> 1)

// supportedNames lists the supported types for error messages.
func supportedNames() string {
	var b strings.Builder
	for i, t := range Types() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t.String())
	}
	return b.String()
}
