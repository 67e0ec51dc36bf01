package backend

import "fmt"

// KVType is how keys and values are stored.
type KVType uint8

const (
	KVF16 KVType = iota
	KVF32
	KVBF16
	KVQ8   // blocks of 32 elements of one head: a binary16 scale d, then 32 bytes q; d*q
	KVQ4   // the same with 16 bytes of nibbles, elements i and 16+i; d*(q-8)
	KVE4M3 // 8 bits, 4 of them exponent; on GPUs
)

// kvTypes are the types with their names, in the order of a list for people.
var kvTypes = []struct {
	typ  KVType
	name string
}{{KVF16, "f16"}, {KVBF16, "bf16"}, {KVQ8, "q8_0"}, {KVQ4, "q4_0"}, {KVE4M3, "fp8"}, {KVF32, "f32"}}

func (t KVType) String() string {
	for _, k := range kvTypes {
		if k.typ == t {
			return k.name
		}
	}
	return fmt.Sprintf("KVType(%d)", uint8(t))
}

// KVTypes lists the types that the CPU has.
func KVTypes() []KVType {
	var types []KVType
	for _, k := range kvTypes {
		if k.typ != KVE4M3 {
			types = append(types, k.typ)
		}
	}
	return types
}

// ParseKVType reads what --kv-type takes.
func ParseKVType(s string) (KVType, error) {
	for _, k := range kvTypes {
		if k.name == s {
			return k.typ, nil
		}
	}
	return 0, fmt.Errorf("KV cache type %q is not supported; use f16, bf16, q8_0, q4_0, fp8 or f32", s)
}

// Bytes is the size of one element of a type without blocks.
func (t KVType) Bytes() int {
	switch t {
	case KVF32:
		return 4
	case KVF16, KVBF16:
		return 2
	case KVE4M3:
		return 1
	}
	panic("backend: internal error: elements of " + t.String() + " have no size of their own")
}

// kvBlock is the elements of a block of KVQ8 and KVQ4. A head whose width is no
// multiple of it ends in a block filled up with zeros.
const kvBlock = 32

// HeadBytes is the size of one head's key or value of n elements.
func (t KVType) HeadBytes(n int) int {
	blocks := (n + kvBlock - 1) / kvBlock
	switch t {
	case KVQ8:
		return blocks * (2 + kvBlock)
	case KVQ4:
		return blocks * (2 + kvBlock/2)
	}
	return n * t.Bytes()
}

// KVGroup is a set of layers with one geometry and one pool of pages: page
// number i of a group means the same token positions in each of its layers, so
// one block table serves them all.
type KVGroup struct {
	Layers  []int // layer numbers of the model
	Heads   int   // KV heads
	HeadDim int
	// Window: a row sees only the positions in (pos-Window, pos]; 0: all. Pages
	// wholly outside the window of every later row can be freed.
	Window int
}

// TokenBytes is what one token of one group takes, keys and values.
func (g KVGroup) TokenBytes(t KVType) int64 {
	return int64(len(g.Layers)) * int64(g.Heads) * 2 * int64(t.HeadBytes(g.HeadDim))
}

// KVSpec asks for a KV cache.
type KVSpec struct {
	Type     KVType
	PageSize int // tokens a page
	Groups   []KVGroup
	Pages    []int // pages of each group's pool
}

// Bytes is the memory that the spec needs.
func (s KVSpec) Bytes() int64 {
	var n int64
	for i, g := range s.Groups {
		n += int64(s.Pages[i]) * int64(s.PageSize) * g.TokenBytes(s.Type)
	}
	return n
}

// KV is an allocated cache. A cell is one token's keys and values in all layers
// of one group: cell = page*PageSize + offset.
type KV interface {
	Spec() KVSpec
	Close() error
}

// Copy moves cells within a group: for a page shared by two sequences that one
// of them is about to write, and for the accepted branch of a draft tree.
type Copy struct {
	Group    int
	From, To int32 // cells
}

// PageStore is what a KV is besides if its pages can be carried to the host and
// back, so that a prefix cache outlives its process. Not while a step runs.
type PageStore interface {
	// PageBytes is the size of a page of a group, as ReadPage writes it.
	PageBytes(group int) int
	// ReadPage copies a page to dst, which has PageBytes.
	ReadPage(group int, page int32, dst []byte)
	// WritePage copies a page from src, which has PageBytes.
	WritePage(group int, page int32, src []byte)
}
