package backend

import "fmt"

// KVType is how keys and values are stored.
type KVType uint8

const (
	KVF16 KVType = iota
	KVF32
)

func (t KVType) String() string {
	switch t {
	case KVF16:
		return "f16"
	case KVF32:
		return "f32"
	}
	return fmt.Sprintf("KVType(%d)", uint8(t))
}

// ParseKVType reads what --kv-type takes.
func ParseKVType(s string) (KVType, error) {
	switch s {
	case "f16":
		return KVF16, nil
	case "f32":
		return KVF32, nil
	}
	return 0, fmt.Errorf("KV cache type %q is not supported; use f16 or f32", s)
}

// Bytes is the size of one element.
func (t KVType) Bytes() int {
	if t == KVF32 {
		return 4
	}
	return 2
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
	return int64(len(g.Layers)) * int64(g.Heads) * int64(g.HeadDim) * 2 * int64(t.Bytes())
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
