package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// The safetensors layout: u64 header length, little-endian; the header, a JSON
// object {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}
// with an optional "__metadata__", padded with spaces; the data that the
// offsets count from. The tensors fill the data without holes or overlaps.

const (
	maxHeader = 100_000_000 // the format's own limit
	maxEntry  = 4096        // bytes of JSON for one tensor: dozens of dimensions
)

// dtypes are the dtypes of safetensors that have a Type. All others are Foreign.
var dtypes = map[string]Type{
	"F32": F32, "F16": F16, "BF16": BF16,
	"I8": I8, "I16": I16, "I32": I32, "I64": I64, "F64": F64, "F8_E4M3": F8E4M3,
}

// parseSafetensors reads the safetensors file in b. The tensors alias b and
// come in the order of their data.
func parseSafetensors(name string, b []byte) ([]Tensor, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("%s: has %d bytes, too few for a safetensors file: %s", name, len(b), damaged)
	}
	n := binary.LittleEndian.Uint64(b)
	switch {
	case n > uint64(len(b)-8):
		return nil, fmt.Errorf("%s: the header takes %d bytes but the file has %d after its length: %s", name, n, len(b)-8, damaged)
	case n > maxHeader:
		return nil, fmt.Errorf("%s: the header takes %d bytes, more than the %d that safetensors allows: %s", name, n, maxHeader, damaged)
	}
	header, data := b[8:8+n], b[8+n:]
	if !utf8.Valid(header) {
		return nil, fmt.Errorf("%s: the header is not UTF-8: not a safetensors file, or damaged; download it again", name)
	}
	spans, err := readHeader(name, header)
	if err != nil {
		return nil, err
	}
	return placeSpans(name, spans, data)
}

// span is a tensor of a header and the bytes [begin, end) of the data it claims.
type span struct {
	Tensor
	begin, end uint64
}

// readHeader walks the header's members one by one: a duplicate name shows, and
// no member is decoded that is longer than a tensor's can be.
func readHeader(name string, header []byte) ([]span, error) {
	bad := func(err error) ([]span, error) {
		return nil, fmt.Errorf("%s: the header is not what safetensors have: %w: %s", name, err, damaged)
	}
	if len(header) == 0 || header[0] != '{' {
		return bad(fmt.Errorf("it does not begin with {"))
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	if _, err := dec.Token(); err != nil {
		return bad(err)
	}
	var spans []span
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return bad(err)
		}
		key, _ := tok.(string) // an object's key is always a string
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return bad(err)
		}
		if seen[key] {
			return bad(fmt.Errorf("tensor %.100q is there twice", key))
		}
		seen[key] = true
		if key == "__metadata__" {
			continue
		}
		s, err := readSpan(name, key, raw)
		if err != nil {
			return bad(fmt.Errorf("tensor %.100q: %w", key, err))
		}
		spans = append(spans, s)
	}
	if _, err := dec.Token(); err != nil {
		return bad(err)
	}
	if rest := bytes.TrimSpace(header[dec.InputOffset():]); len(rest) > 0 {
		return bad(fmt.Errorf("something follows the object"))
	}
	return spans, nil
}

// readSpan decodes one member of the header.
func readSpan(file, name string, raw []byte) (s span, err error) {
	var e struct {
		DType   *string  `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets []uint64 `json:"data_offsets"`
	}
	if len(raw) > maxEntry {
		return s, fmt.Errorf("its description has %d bytes, more than %d", len(raw), maxEntry)
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return s, err
	}
	if e.DType == nil || e.Shape == nil || len(e.Offsets) != 2 {
		return s, fmt.Errorf("it does not have a dtype, a shape and two data_offsets")
	}
	s.file, s.Name, s.dtype, s.begin, s.end = file, name, *e.DType, e.Offsets[0], e.Offsets[1]
	if s.begin > s.end {
		return s, fmt.Errorf("its data ends at %d before it begins at %d", s.end, s.begin)
	}
	elems := 1
	s.Shape = make([]int, len(e.Shape))
	for i, d := range e.Shape {
		if d > uint64(maxInt) {
			return s, fmt.Errorf("shape %v overflows", e.Shape)
		}
		s.Shape[i] = int(d)
		if elems = mul(elems, int(d)); elems < 0 {
			return s, fmt.Errorf("shape %v overflows", e.Shape)
		}
	}
	var known bool
	if s.Type, known = dtypes[s.dtype]; !known {
		s.Type = Foreign
		return s, nil
	}
	size, err := dataBytes(s.Type, s.Shape)
	if err == nil && s.end-s.begin != uint64(size) {
		err = fmt.Errorf("%s of shape %v takes %d bytes but has %d", s.dtype, s.Shape, size, s.end-s.begin)
	}
	return s, err
}

// placeSpans gives the tensors their data, in its order, and checks that they
// cover it exactly.
func placeSpans(name string, spans []span, data []byte) ([]Tensor, error) {
	slices.SortStableFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	out := make([]Tensor, len(spans))
	var at uint64
	for i, s := range spans {
		switch {
		case s.end > uint64(len(data)):
			return nil, fmt.Errorf("%s: tensor %.100q ends at byte %d of the data but there are %d: %s", name, s.Name, s.end, len(data), damaged)
		case s.begin < at:
			return nil, fmt.Errorf("%s: tensors %.100q and %.100q overlap: %s", name, spans[i-1].Name, s.Name, damaged)
		case s.begin > at:
			return nil, fmt.Errorf("%s: no tensor has the bytes [%d, %d) of the data before %.100q: %s", name, at, s.begin, s.Name, damaged)
		}
		s.Data = data[s.begin:s.end:s.end]
		out[i], at = s.Tensor, s.end
	}
	if at != uint64(len(data)) {
		return nil, fmt.Errorf("%s: no tensor has the last %d bytes: %s", name, uint64(len(data))-at, damaged)
	}
	return out, nil
}

// WriteSafetensors writes a safetensors file with these tensors, in order.
// Types without a safetensors dtype are an error.
func WriteSafetensors(w io.Writer, tensors []Tensor) error {
	type member struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := []byte{'{'}
	seen, offset := map[string]bool{}, 0
	for i, t := range tensors {
		if _, ok := dtypes[t.Type.String()]; !ok {
			return fmt.Errorf("write safetensors: tensor %q is %v, which safetensors cannot hold", t.Name, t.Type)
		}
		if size, err := dataBytes(t.Type, t.Shape); err != nil || size != len(t.Data) {
			return fmt.Errorf("write safetensors: tensor %q: %v of shape %v takes %d bytes, got %d", t.Name, t.Type, t.Shape, size, len(t.Data))
		}
		if seen[t.Name] {
			return fmt.Errorf("write safetensors: tensor %q is there twice", t.Name)
		}
		seen[t.Name] = true
		m := member{t.Type.String(), append([]int{}, t.Shape...), [2]int{offset, offset + len(t.Data)}}
		key, err := json.Marshal(t.Name)
		if err != nil {
			return fmt.Errorf("write safetensors: tensor %q: %w", t.Name, err)
		}
		val, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("write safetensors: tensor %q: %w", t.Name, err)
		}
		if i > 0 {
			header = append(header, ',')
		}
		header = append(append(append(header, key...), ':'), val...)
		offset = m.Offsets[1]
	}
	header = append(header, '}')
	header = append(header, bytes.Repeat([]byte{' '}, -len(header)&7)...) // data begins on 8 bytes
	pieces := [][]byte{binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header}
	for _, t := range tensors {
		pieces = append(pieces, t.Data)
	}
	for _, p := range pieces {
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("write safetensors: %w", err)
		}
	}
	return nil
}
