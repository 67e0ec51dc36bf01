package engine

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"weir/internal/kv"
)

// A saved prefix cache is
//
//	magic                       8 bytes, with the format's version
//	length, header, checksum    u32, JSON (cacheHeader), u32
//	page, checksum              as many as the header says: parent i32, prompt u32,
//	                            length of the salt u32, salt, token ids i32 each,
//	                            then keys and values, group after group; u32
//
// and nothing after. Numbers are little-endian, checksums CRC-32C. Pages come the
// most recently used first, each after its parent, so that a smaller pool takes
// the beginning.
const cacheMagic = "weirpfx1"

const (
	maxCacheHeader = 1 << 20
	pageHead       = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Named is a fact with its name.
type Named struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// cacheLayout says what the pages of a saved cache are.
type cacheLayout struct {
	Identity   []Named `json:"identity"`
	PageTokens int     `json:"page_tokens"`
	PageBytes  []int   `json:"page_bytes"` // by group
}

type cacheHeader struct {
	cacheLayout
	Pages int `json:"pages"`
}

// recordBytes is what a page takes, its salt left out.
func (l *cacheLayout) recordBytes() int64 {
	n := int64(pageHead + 4*l.PageTokens + 4)
	for _, b := range l.PageBytes {
		n += int64(b)
	}
	return n
}

// differs says what of a saved cache does not fit, "" if all does.
func (l *cacheLayout) differs(saved *cacheLayout) string {
	for _, now := range l.Identity {
		i := slices.IndexFunc(saved.Identity, func(n Named) bool { return n.Name == now.Name })
		switch {
		case i < 0:
			return fmt.Sprintf("it does not say its %s", now.Name)
		case saved.Identity[i].Value != now.Value:
			return fmt.Sprintf("its %s is %.100q, and %.100q is needed", now.Name, saved.Identity[i].Value, now.Value)
		}
	}
	if saved.PageTokens != l.PageTokens || !slices.Equal(saved.PageBytes, l.PageBytes) {
		return fmt.Sprintf("its pages hold %d tokens and have %v bytes, and %d and %v are needed", saved.PageTokens, saved.PageBytes, l.PageTokens, l.PageBytes)
	}
	return ""
}

// writeCache writes pages; read copies one's keys and values.
func writeCache(to io.Writer, l cacheLayout, list []kv.Saved, read func(group int, page int32, dst []byte)) (int64, error) {
	w := &countingWriter{w: to}
	b := bufio.NewWriterSize(w, 1<<20)
	header, err := json.Marshal(cacheHeader{l, len(list)})
	if err != nil {
		return 0, fmt.Errorf("write the cache's header: %w", err)
	}
	buf := append([]byte(cacheMagic), binary.LittleEndian.AppendUint32(nil, uint32(len(header)))...)
	buf = append(buf, header...)
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(header, castagnoli))
	if _, err := b.Write(buf); err != nil {
		return w.n, err
	}
	for _, s := range list {
		buf = binary.LittleEndian.AppendUint32(buf[:0], uint32(int32(s.Parent)))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(s.Prompt))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(s.Salt)))
		buf = append(buf, s.Salt...)
		for _, id := range s.Tokens {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(id))
		}
		for g, page := range s.Pages {
			at := len(buf)
			buf = slices.Grow(buf, l.PageBytes[g])[:at+l.PageBytes[g]]
			read(g, page, buf[at:])
		}
		buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli))
		if _, err := b.Write(buf); err != nil {
			return w.n, err
		}
	}
	err = b.Flush()
	return w.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (w *countingWriter) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.n += int64(n)
	return n, err
}

var errDamaged = errors.New("it is damaged")

// readCache reads pages into add, after begin has been told how many there are.
// It ends early, without an error, when add reports kv.ErrFull. Nothing in the
// file is trusted: memory is taken for what l says, not for what the file does.
func readCache(from io.Reader, l cacheLayout, begin func(pages int), add func(s kv.Saved, data [][]byte) error) error {
	r := bufio.NewReaderSize(from, 1<<20)
	h, err := readCacheHeader(r)
	if err != nil {
		return err
	}
	if why := l.differs(&h.cacheLayout); why != "" {
		return errors.New(why)
	}
	begin(h.Pages)
	buf := make([]byte, l.recordBytes()+maxSalt)
	for i := range h.Pages {
		s, data, err := l.readPage(r, buf)
		if err != nil {
			return fmt.Errorf("page %d of %d: %w", i+1, h.Pages, err)
		}
		switch err := add(s, data); {
		case errors.Is(err, kv.ErrFull):
			return nil
		case err != nil:
			return fmt.Errorf("page %d of %d: %w: %w", i+1, h.Pages, errDamaged, err)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: something follows its last page", errDamaged)
	}
	return nil
}

func readCacheHeader(r io.Reader) (*cacheHeader, error) {
	var head [len(cacheMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("%w: it is too short", errDamaged)
	}
	if string(head[:len(cacheMagic)]) != cacheMagic {
		return nil, errors.New("it is no saved prefix cache, or of another version of weir")
	}
	n := binary.LittleEndian.Uint32(head[len(cacheMagic):])
	if n > maxCacheHeader {
		return nil, fmt.Errorf("%w: its header has %d bytes", errDamaged, n)
	}
	buf := make([]byte, n+4)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, fmt.Errorf("%w: it ends in its header", errDamaged)
	}
	if crc32.Checksum(buf[:n], castagnoli) != binary.LittleEndian.Uint32(buf[n:]) {
		return nil, fmt.Errorf("%w: its header's checksum is wrong", errDamaged)
	}
	h := new(cacheHeader)
	if err := json.Unmarshal(buf[:n], h); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", errDamaged, err)
	}
	if h.Pages < 0 {
		return nil, fmt.Errorf("%w: it has %d pages", errDamaged, h.Pages)
	}
	return h, nil
}

// readPage reads a page into buf, which has room for it and the longest salt.
func (l *cacheLayout) readPage(r io.Reader, buf []byte) (s kv.Saved, data [][]byte, err error) {
	cut := func(err error) error {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return fmt.Errorf("%w: it ends too early", errDamaged)
		}
		return fmt.Errorf("read: %w", err)
	}
	if _, err := io.ReadFull(r, buf[:pageHead]); err != nil {
		return s, nil, cut(err)
	}
	salt := binary.LittleEndian.Uint32(buf[8:])
	if salt > maxSalt {
		return s, nil, fmt.Errorf("%w: a salt of %d bytes", errDamaged, salt)
	}
	size := int(l.recordBytes()) + int(salt)
	if _, err := io.ReadFull(r, buf[pageHead:size]); err != nil {
		return s, nil, cut(err)
	}
	if crc32.Checksum(buf[:size-4], castagnoli) != binary.LittleEndian.Uint32(buf[size-4:]) {
		return s, nil, fmt.Errorf("%w: a checksum is wrong", errDamaged)
	}
	s.Parent = int(int32(binary.LittleEndian.Uint32(buf)))
	s.Prompt = int(int32(binary.LittleEndian.Uint32(buf[4:])))
	s.Salt = string(buf[pageHead : pageHead+salt])
	rest := buf[pageHead+salt:]
	for range l.PageTokens {
		s.Tokens = append(s.Tokens, int32(binary.LittleEndian.Uint32(rest)))
		rest = rest[4:]
	}
	for _, n := range l.PageBytes {
		data = append(data, rest[:n])
		rest = rest[n:]
	}
	return s, data, nil
}
