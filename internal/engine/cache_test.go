package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/llm"
)

func explained(t *testing.T, e *Engine, r *llm.Request) *llm.CacheInfo {
	t.Helper()
	r.ExplainCache = true
	c := mustCollect(t, e, r).prompt.Cache
	if c == nil {
		t.Fatal("no explanation")
	}
	return c
}

func short(prompt string) *llm.Request {
	return textRequest(prompt, func(p *llm.Params) { p.MaxTokens = ptr(2) })
}

func TestExplainCacheMiss(t *testing.T) {
	e := startTiny(t, usual)
	system := "You are an assistant. The time is 2026-11-26 10:1"
	if c := explained(t, e, short(system+"4. Be brief, and be kind to those who ask.")); c.Reason != llm.CacheEmpty || c.Cached != 0 {
		t.Errorf("first: %+v", c)
	}
	c := explained(t, e, short(system+"7. Be brief, and be kind to those who ask."))
	if c.Reason != llm.CacheDiverged || c.Common != len(system) || c.Cached != len(system) ||
		!strings.HasSuffix(system, c.Before) || !strings.HasPrefix(c.Prompt, "7. Be brief") || !strings.HasPrefix(c.Nearest, "4. Be brief") || !strings.Contains(c.Hint, "a date or a time") {
		t.Errorf("diverged: %+v", c)
	}
	if c := explained(t, e, short(system+"7. Be brief")); c.Reason != llm.CacheWhole || c.Cached != len(system+"7. Be brief")-1 {
		t.Errorf("whole: %+v", c)
	}
	// Pages are whole: what came after the last one is not cached.
	c = explained(t, e, short(system+"7. Be brief, and be kind to those who ask.  More of it."))
	if c.Reason != llm.CacheNew && c.Reason != llm.CacheDiverged || c.Common < len(system)+16 {
		t.Errorf("more: %+v", c)
	}
	r := short(system)
	r.Params.PromptLogprobs = ptr(0)
	if c := explained(t, e, r); c.Reason != llm.CacheOff || !strings.Contains(c.Why, "log probabilities") {
		t.Errorf("prompt log probabilities: %+v", c)
	}
	if c := mustCollect(t, e, short(system)).prompt.Cache; c != nil {
		t.Errorf("nobody asked: %+v", c)
	}
}

// Nothing of one tenant's shows in what another is told.
func TestExplainKeepsTenantsApart(t *testing.T) {
	e := startTiny(t, usual)
	secret := short("You are an assistant. The password is swordfish, tell nobody about it.")
	secret.CacheSalt = "a"
	mustCollect(t, e, secret)
	for _, salt := range []string{"", "b"} {
		r := short("You are an assistant. The password is what?")
		r.CacheSalt = salt
		if c := explained(t, e, r); c.Cached != 0 || c.Common != 0 || strings.Contains(fmt.Sprintf("%+v", c), "swordfish") {
			t.Errorf("salt %q: %+v", salt, c)
		}
	}
	// Callers with keys share what has no salt, but are not shown it.
	secret.CacheSalt, secret.Caller = "", "alice"
	mustCollect(t, e, secret)
	r := short("You are an assistant. The password is ?")
	r.Caller = "bob"
	if c := explained(t, e, r); c.Reason != llm.CacheDiverged || c.Nearest != "" || strings.Contains(fmt.Sprintf("%+v", c), "swordfish") {
		t.Errorf("another key: %+v", c)
	}
}

func TestHints(t *testing.T) {
	const id = "an identifier"
	for _, c := range []struct{ before, prompt, nearest, want string }{
		{"Today is ", "Tuesday", "Monday", "a date or a time"},
		{"It is 26 No", "vember 2026", "v 2026", "a date or a time"},
		{"now: 176416", "8001 x", "9001 x", "a date or a time"},
		{"session ", "9f86d081-884c-4d63-a1fe-000000000001", "0f86d081-884c-4d63-a1fe-000000000001", id},
		{"user_a83", "hd83ks", "7d73k2", id},
		{"x ", "y  z", "y z", "white space"},
		{"x", "ab", "ab", "tokens are not"},
		{`[{"type": "function", "name": "`, "get", "set", "tools"},
		{"", "Dear", "Hello", "near the beginning"},
	} {
		info := &llm.CacheInfo{Before: c.before, Prompt: c.prompt, Nearest: c.nearest, Common: len(c.before)}
		if got := hint(info, 1000); !strings.Contains(got, c.want) {
			t.Errorf("%q | %q | %q: %q", c.before, c.prompt, c.nearest, got)
		}
	}
	if got := hint(&llm.CacheInfo{Before: "a long story", Prompt: "of a cat", Nearest: "of a dog", Common: 900}, 1000); got != "" {
		t.Errorf("a hint where there is none: %q", got)
	}
}

func pinned(t *testing.T, e *Engine, r *llm.PinRequest) llm.PinnedPrefix {
	t.Helper()
	p, err := e.PinPrefix(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pressure fills the cache with other prompts until something was evicted.
func pressure(t *testing.T, e *Engine) {
	t.Helper()
	for i := range 40 {
		mustCollect(t, e, short(fmt.Sprintf("%d%s", i, strings.Repeat("x", 200))))
	}
	if counted(t, e).Prefix.Evicted == 0 {
		t.Fatal("nothing was evicted: the test does not test it")
	}
}

func unpinAll(t *testing.T, e *Engine) {
	for _, p := range e.PinnedPrefixes() {
		if err := e.UnpinPrefix(p.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestPinnedPrefixSurvivesPressure(t *testing.T) {
	c := usual
	c.sequences = 2
	e := startTiny(t, c)
	system := strings.Repeat("You are kind. ", 7) // 98 tokens, 6 pages
	p := pinned(t, e, &llm.PinRequest{Name: "kind", Prompt: llm.Text(system)})
	if p.Tokens != 96 || p.Prompt != 98 || p.Cached != 0 || p.ID == "" {
		t.Errorf("%+v", p)
	}
	pressure(t, e)
	if got := mustCollect(t, e, short(system+"Hi")).usage.CachedTokens; got < 96 {
		t.Errorf("%d tokens cached under pressure", got)
	}
	again := pinned(t, e, &llm.PinRequest{Name: "kind", Prompt: llm.Text(system)})
	if list := e.PinnedPrefixes(); again.Cached < 96 || len(list) != 1 || list[0].ID != again.ID {
		t.Errorf("the same name again: %+v, %+v", again, list)
	}
	waitFor(t, "six pages pinned", func() bool { return e.Stats().Prefix.Pinned == 6 })
	unpinAll(t, e)
	pressure(t, e)
	if got := mustCollect(t, e, short(system+"Hi")).usage.CachedTokens; got >= 96 {
		t.Errorf("%d tokens cached after unpinning and pressure", got)
	}
	var le *llm.Error
	if err := e.UnpinPrefix(p.ID); !errors.As(err, &le) || le.Kind != llm.NotFound {
		t.Errorf("unpinned twice: %v", err)
	}
}

// A pinned conversation is what its continuations begin with, and not how the
// template closes it.
func TestPinnedChat(t *testing.T) {
	e := startTiny(t, usual)
	defer unpinAll(t, e)
	messages := `[{"role":"system","content":"You answer in short sentences."}`
	p := pinned(t, e, &llm.PinRequest{Prompt: &llm.Chat{Messages: []byte(messages + "]")}, CacheSalt: "s"})
	want := len("<system>You answer in short sentences.<user>")
	if p.Prompt != want || p.Tokens != want/16*16 {
		t.Errorf("%+v, want %d tokens", p, want)
	}
	r := short("")
	r.Prompt, r.CacheSalt = &llm.Chat{Messages: []byte(messages + `,{"role":"user","content":"Hi"}]`)}, "s"
	if got := mustCollect(t, e, r).usage.CachedTokens; got < p.Tokens {
		t.Errorf("%d tokens cached", got)
	}
}

func TestPinErrorsAndExpiry(t *testing.T) {
	c := usual
	c.sequences = 2 // 34 pages: half are 17, and a full sequence takes 17
	e := startTiny(t, c)
	defer unpinAll(t, e)
	ctx := context.Background()
	for name, r := range map[string]*llm.PinRequest{
		"invalid_value": {Prompt: llm.Text("short")},
		"context":       {Prompt: llm.Text(strings.Repeat("x", 5000))},
		"vocabulary":    {Prompt: llm.Tokens{1, 1000}},
	} {
		if p, err := e.PinPrefix(ctx, r); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	half := strings.Repeat("x", 12*16)
	short := pinned(t, e, &llm.PinRequest{Prompt: llm.Text(half), TTL: time.Millisecond})
	if short.Expires.IsZero() {
		t.Errorf("%+v", short)
	}
	waitFor(t, "the prefix expires", func() bool { return len(e.PinnedPrefixes()) == 0 && e.Stats().Prefix.Pinned == 0 })
	pinned(t, e, &llm.PinRequest{Prompt: llm.Text(half)})
	var le *llm.Error
	if _, err := e.PinPrefix(ctx, &llm.PinRequest{Prompt: llm.Text("y" + half)}); !errors.As(err, &le) || le.Code != "pinned_share_exceeded" || !strings.Contains(le.Message, "12 of 17") {
		t.Errorf("more than the share: %v", err)
	}
	// Beside what is kept a request of full length still runs.
	mustCollect(t, e, textRequest(strings.Repeat("z", tinyContext-30), nil))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := e.PinPrefix(cancelled, &llm.PinRequest{Prompt: llm.Text(strings.Repeat("w", 40))}); err == nil {
		t.Error("a cancelled request pinned")
	}
	waitFor(t, "the cancelled pages are not pinned", func() bool { return e.Stats().Prefix.Pinned == 12 })
}

func TestWindowsHaveNoPrefixCache(t *testing.T) {
	c := usual
	c.window = 24
	e := startTiny(t, c)
	if s := e.CacheStatus(); s.On || !strings.Contains(s.Why, "sliding window") {
		t.Errorf("%+v", s)
	}
	if c := explained(t, e, short("hello")); c.Reason != llm.CacheOff || !strings.Contains(c.Why, "sliding window") {
		t.Errorf("%+v", c)
	}
	var le *llm.Error
	if _, err := e.PinPrefix(context.Background(), &llm.PinRequest{Prompt: llm.Text("hello")}); !errors.As(err, &le) || le.Code != "cache_off" {
		t.Errorf("pinned: %v", err)
	}
}

// One cold prefix in many requests at once is computed once.
func TestSharedColdPrefixIsComputedOnce(t *testing.T) {
	c := usual
	c.running, c.batchTokens, c.sequences = 16, 250, 32
	e := startTiny(t, c)
	system := strings.Repeat("The same for all. ", 10) // 180 tokens
	next, stop := pull(e, textRequest("hold", func(p *llm.Params) { p.MaxTokens = ptr(100) }))
	defer stop()
	next() // the loop is busy, so that the others arrive together
	before := counted(t, e).PrefillTokens
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() { mustCollect(t, e, short(fmt.Sprintf("%s%c and some more", system, 'a'+i))) })
	}
	all.Wait()
	if got := counted(t, e).PrefillTokens - before; got > 180+16*32 {
		t.Errorf("%d tokens computed for 16 prompts that share 180", got)
	}
}

// memoryStore keeps a saved cache in memory.
type memoryStore struct {
	saved []byte
	fail  error // of loading
}

func (m *memoryStore) Load() (io.ReadCloser, error) {
	if m.saved == nil {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(m.saved)), m.fail
}

func (m *memoryStore) Save(write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	m.saved = b.Bytes()
	return nil
}

// A restored cache gives the same answers as a warm one and as none.
func TestCacheSavedAndRestored(t *testing.T) {
	for _, typ := range []backend.KVType{backend.KVF32, backend.KVF16, backend.KVQ8} {
		t.Run(typ.String(), func(t *testing.T) { savedAndRestored(t, typ) })
	}
}

func savedAndRestored(t *testing.T, typ backend.KVType) {
	store := &memoryStore{}
	c := usual
	c.store, c.kvType = store, typ
	requests := randomRequests(20)
	want := alone(t, c, requests)
	e := startTiny(t, c)
	for i, r := range requests {
		wants(t, e, r, want[i])
	}
	pinned(t, e, &llm.PinRequest{Prompt: llm.Text(strings.Repeat("pinned ", 10))})
	e.Close()
	if s := e.Saved(); s.Err != nil || s.Pages == 0 || s.Bytes != int64(len(store.saved)) {
		t.Fatalf("saved %+v, %d bytes", s, len(store.saved))
	}
	e = startTiny(t, c)
	if r := e.Restored(); r.Err != nil || r.Pages == 0 || e.CacheStatus().Saved.Pages != r.Pages {
		t.Fatalf("restored %+v", r)
	}
	for i, r := range requests {
		wants(t, e, r, want[i])
	}
	if s := counted(t, e).Prefix; s.Hit < 300 {
		t.Errorf("the restored cache did little: %+v", s)
	}
}

func TestSavedCacheThatDoesNotFit(t *testing.T) {
	store := &memoryStore{}
	c := usual
	c.store = store
	e := startTiny(t, c)
	mustCollect(t, e, textRequest(strings.Repeat("hello ", 20), nil))
	e.Close()
	good := bytes.Clone(store.saved)
	for _, w := range []struct {
		why    string
		change func(*config)
		spoil  func([]byte) []byte
	}{
		{"page size", func(c *config) { c.pageSize = 8 }, nil},
		{"KV type", func(c *config) { c.kvType = backend.KVF16 }, nil},
		{"identity", func(c *config) { c.identity = []Named{{"identity", "another"}} }, nil},
		{"checksum", nil, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"too early", nil, func(b []byte) []byte { return b[:len(b)-1] }},
		{"too short", nil, func(b []byte) []byte { return b[:3] }},
		{"no saved prefix cache", nil, func(b []byte) []byte { b[0] = 'x'; return b }},
		{"follows", nil, func(b []byte) []byte { return append(b, 0) }},
		{"no disk", func(*config) { store.fail = errors.New("no disk") }, nil},
	} {
		store.saved, store.fail = bytes.Clone(good), nil
		c := c
		if w.change != nil {
			w.change(&c)
		}
		if w.spoil != nil {
			store.saved = w.spoil(store.saved)
		}
		e := startTiny(t, c)
		if r := e.Restored(); r.Err == nil || !strings.Contains(r.Err.Error(), w.why) || r.Pages != 0 {
			t.Errorf("%s: %+v", w.why, r)
		}
		if s := counted(t, e); s.Prefix.Nodes != 0 || s.FreePages != s.Pages {
			t.Errorf("%s: something is left: %+v", w.why, s)
		}
		mustCollect(t, e, textRequest("hello", nil))
	}
	// A smaller pool takes what was used last; a limit saves that alone.
	store.saved, store.fail = bytes.Clone(good), nil
	c.saveLimit = 5000
	e = startTiny(t, c)
	all := e.Restored().Pages
	e.Close()
	if s := e.Saved(); s.Pages >= all || s.Pages == 0 || s.Bytes > 6000 {
		t.Errorf("saved %+v of %d pages within 5000 bytes", s, all)
	}
}

func tinyLayout() cacheLayout {
	return cacheLayout{Identity: []Named{{"weights", "w"}}, PageTokens: 4, PageBytes: []int{8, 3}}
}

// sealed adds the checksum that a record ends with, for a fuzzer that cannot.
func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// FuzzReadCache: whatever is in the file, reading it ends, in an error or in a
// well-formed tree, and takes no more memory than the layout says.
func FuzzReadCache(f *testing.F) {
	pages := []kv.Saved{
		{Parent: -1, Salt: "salt", Tokens: []int32{1, 2, 3, 4}, Prompt: 4, Pages: []int32{0, 0}},
		{Parent: 0, Tokens: []int32{5, 6, 7, 8}, Prompt: 2, Pages: []int32{1, 1}},
		{Parent: -1, Tokens: []int32{1, 2, 3, 4}, Prompt: 4, Pages: []int32{2, 2}},
	}
	fill := func(g int, page int32, dst []byte) {
		for i := range dst {
			dst[i] = byte(g*16 + int(page) + i)
		}
	}
	var b bytes.Buffer
	if _, err := writeCache(&b, tinyLayout(), pages, fill); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), false)
	f.Add(b.Bytes()[:b.Len()-7], false)
	f.Add([]byte("\xff\xff\xff\xff\x04\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x0012345678123"), true)
	f.Fuzz(func(t *testing.T, data []byte, record bool) {
		l := tinyLayout()
		if record { // a page with right checksums around it
			var b bytes.Buffer
			writeCache(&b, l, nil, fill)
			head := bytes.Replace(b.Bytes(), []byte(`"pages":0`), []byte(`"pages":1`), 1)
			data = append(sealed(head[:len(head)-4][12:]), sealed(data)...)
			data = append(head[:12:12], data...)
		}
		c := kv.New(4, []kv.Group{{Pages: 2}, {Pages: 3}})
		c.EnablePrefixCache(kv.PrefixOptions{})
		var r *kv.Restorer
		err := readCache(bytes.NewReader(data), l, func(n int) { r = c.Restore(n) }, func(s kv.Saved, data [][]byte) error {
			if len(s.Tokens) != 4 || len(data) != 2 || len(data[0]) != 8 || len(data[1]) != 3 {
				t.Fatalf("%+v with %d groups", s, len(data))
			}
			_, err := r.Add(s)
			return err
		})
		if check := c.Check(nil); check != nil {
			t.Fatalf("%v, after %v", check, err)
		}
	})
}

func TestWriteReadCache(t *testing.T) {
	l := tinyLayout()
	saved := []kv.Saved{
		{Parent: -1, Salt: "salt", Tokens: []int32{1, 2, 3, 4}, Prompt: 4, Pages: []int32{7, 1}},
		{Parent: 0, Tokens: []int32{5, 6, 7, 8}, Prompt: 2, Pages: []int32{9, 2}},
	}
	var b bytes.Buffer
	n, err := writeCache(&b, l, saved, func(g int, page int32, dst []byte) { dst[0], dst[1] = byte(g), byte(page) })
	if err != nil || n != int64(b.Len()) {
		t.Fatal(n, err)
	}
	var got []kv.Saved
	err = readCache(&b, l, func(int) {}, func(s kv.Saved, data [][]byte) error {
		s.Pages = []int32{int32(data[0][1]), int32(data[1][1])}
		got = append(got, s)
		return nil
	})
	if err != nil || !reflect.DeepEqual(got, saved) {
		t.Errorf("%+v, %v", got, err)
	}
}
