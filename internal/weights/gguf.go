package weights

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// The GGUF layout, all numbers little-endian:
//
//	"GGUF", u32 version, u64 tensors, u64 key-values
//	key-values: string key, u32 value type, value
//	tensors:    string name, u32 dimensions, u64 each (innermost first), u32 type, u64 offset
//	padding to the alignment, then the data that the offsets count from
//
// where a string is u64 length and bytes, and an array value is u32 element
// type, u64 count and elements. Versions 2 and 3 are the same but for
// big-endian files, which version 3 allows.

const (
	keyAlignment     = "general.alignment"
	defaultAlignment = 32
	maxGGUFDims      = 4
)

// cursor reads a header front to back. The first thing that does not fit sets
// err, and everything after it reads as zero.
type cursor struct {
	name string // of the file
	b    []byte
	at   int
	err  error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", c.name, fmt.Sprintf(format, args...))
	}
}

// left is the number of bytes not yet read.
func (c *cursor) left() uint64 { return uint64(len(c.b) - c.at) }

// take returns the next n bytes, nil if they are not there.
func (c *cursor) take(n uint64, what string) []byte {
	if c.err != nil {
		return nil
	}
	if n > c.left() {
		c.fail("%s takes %d bytes at byte %d but the file has %d: %s", what, n, c.at, len(c.b), damaged)
		return nil
	}
	p := c.b[c.at : c.at+int(n) : c.at+int(n)]
	c.at += int(n)
	return p
}

func (c *cursor) u32(what string) uint32 {
	if p := c.take(4, what); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (c *cursor) u64(what string) uint64 {
	if p := c.take(8, what); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (c *cursor) str(what string) string { return string(c.take(c.u64(what), what)) }

// count reads a number of things that take at least size bytes each, and
// refuses one that the rest of the file cannot hold.
func (c *cursor) count(what string, size uint64) int {
	n := c.u64(what)
	if c.err == nil && n > c.left()/size {
		c.fail("claims %d %s but has %d bytes left: %s", n, what, c.left(), damaged)
	}
	if c.err != nil {
		return 0
	}
	return int(n)
}

// tensorInfo is a tensor of the header whose place in the data is still to be
// checked.
type tensorInfo struct {
	Tensor
	offset uint64 // from the start of the data
	bytes  uint64
}

// parseGGUF reads the GGUF in b. The tensors and metadata alias b.
func parseGGUF(name string, b []byte) (*Metadata, []Tensor, error) {
	c := &cursor{name: name, b: b}
	tensors, pairs := c.header()
	meta := c.metadata(pairs)
	infos := c.tensorInfos(tensors)
	align := c.alignment(meta)
	if c.err != nil {
		return nil, nil, c.err
	}
	out, err := c.place(infos, align)
	return meta, out, err
}

// header reads the magic, the version and the two counts.
func (c *cursor) header() (tensors, pairs int) {
	const minTensor, minPair = 8 + 4 + 8 + 4 + 8, 8 + 4 + 1
	if magic := c.take(4, "the magic"); c.err == nil && string(magic) != "GGUF" {
		c.fail("does not begin with \"GGUF\": not a GGUF file; give one")
	}
	switch v := c.u32("the version"); {
	case c.err != nil:
	case v == 2, v == 3:
	case v == 1:
		c.fail("is GGUF version 1: weir reads versions 2 and 3; convert the model again with current tools")
	case v != 0 && bits.ReverseBytes32(v) <= 0xff:
		c.fail("is a big-endian GGUF: weir reads little-endian ones; get that variant or convert it")
	default:
		c.fail("is GGUF version %d: weir reads versions 2 and 3; update weir or convert the model again", v)
	}
	// The counts are bounded together: what is left after both are read.
	nt := c.u64("the tensor count")
	pairs = c.count("key-values", minPair)
	if c.err == nil && nt > c.left()/minTensor {
		c.fail("claims %d tensors but has %d bytes left: %s", nt, c.left(), damaged)
	}
	return int(nt), pairs
}

// tensorInfos reads n tensor descriptions.
func (c *cursor) tensorInfos(n int) []tensorInfo {
	var infos []tensorInfo
	for i := 0; i < n && c.err == nil; i++ {
		infos = append(infos, c.tensorInfo(i))
	}
	return infos
}

func (c *cursor) tensorInfo(i int) (t tensorInfo) {
	t.file = c.name
	if t.Name = c.str("a tensor's name"); c.err == nil && t.Name == "" {
		c.fail("tensor %d has no name: %s", i, damaged)
	}
	dims := c.u32("a tensor's dimensions")
	if c.err == nil && (dims == 0 || dims > maxGGUFDims) {
		c.fail("tensor %.100q has %d dimensions, not 1 to %d: %s", t.Name, dims, maxGGUFDims, damaged)
		return t
	}
	for range dims {
		d := c.u64("a tensor's dimension")
		if c.err == nil && (d == 0 || d > uint64(maxInt)) {
			c.fail("tensor %.100q has a dimension of %d: %s", t.Name, d, damaged)
			return t
		}
		t.Shape = append(t.Shape, int(d))
	}
	slices.Reverse(t.Shape)
	t.Type = Type(c.u32("a tensor's type"))
	t.offset = c.u64("a tensor's offset")
	if c.err != nil {
		return t
	}
	if in := t.Type.info(); in == nil || in.support == rejected || t.Type == F8E4M3 {
		c.err = t.unsupported()
		return t
	}
	size, err := dataBytes(t.Type, t.Shape)
	if err != nil {
		c.fail("tensor %.100q: %v: %s", t.Name, err, damaged)
	}
	t.bytes = uint64(size)
	return t
}

// alignment returns what the data and every tensor in it are aligned to.
func (c *cursor) alignment(m *Metadata) uint64 {
	if c.err != nil || !m.Has(keyAlignment) {
		return defaultAlignment
	}
	v, _ := m.Value(keyAlignment)
	a, ok := v.(uint32)
	if !ok || bits.OnesCount32(a) != 1 {
		c.fail("%s is %v, not a 32-bit power of two: %s", keyAlignment, v, damaged)
	}
	return uint64(a)
}

// place checks where the tensors lie and gives them their data: within the
// file, aligned, none over another.
func (c *cursor) place(infos []tensorInfo, align uint64) ([]Tensor, error) {
	var data []byte // stays empty when the file ends before the padding does
	if pad := -uint64(c.at) & (align - 1); pad < c.left() {
		data = c.b[c.at+int(pad):]
	}
	out := make([]Tensor, len(infos))
	for i, t := range infos {
		switch {
		case t.offset%align != 0:
			return nil, fmt.Errorf("%s: tensor %.100q begins at byte %d of the data, not aligned to %d: %s", c.name, t.Name, t.offset, align, damaged)
		case t.offset > uint64(len(data)) || t.bytes > uint64(len(data))-t.offset:
			return nil, fmt.Errorf("%s: tensor %.100q takes %d bytes at byte %d of the data but there are %d: %s", c.name, t.Name, t.bytes, t.offset, len(data), damaged)
		}
		end := t.offset + t.bytes
		t.Data = data[t.offset:end:end]
		out[i] = t.Tensor
	}
	return out, c.overlaps(infos)
}

// overlaps refuses two tensors that share bytes.
func (c *cursor) overlaps(infos []tensorInfo) error {
	byOffset := func(a, b tensorInfo) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	}
	sorted := infos
	if !slices.IsSortedFunc(infos, byOffset) { // writers keep file order
		sorted = slices.SortedStableFunc(slices.Values(infos), byOffset)
	}
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; a.offset+a.bytes > b.offset {
			return fmt.Errorf("%s: tensors %.100q and %.100q overlap: %s", c.name, a.Name, b.Name, damaged)
		}
	}
	return nil
}
