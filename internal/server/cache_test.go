package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/internal/llm"
)

// fakeCache is a fake with a prefix cache.
type fakeCache struct {
	*fake
	pins []*llm.PinRequest
	fail error
}

func (f *fakeCache) CacheStatus() llm.CacheStatus {
	return llm.CacheStatus{On: true, PageTokens: 16, Pages: 100, CachedPages: 7, PinnedPages: 3, MostPinned: 50, EvictedPages: 9, QueriedTokens: 200, HitTokens: 50}
}

func (f *fakeCache) PinPrefix(_ context.Context, r *llm.PinRequest) (llm.PinnedPrefix, error) {
	if f.fail != nil {
		return llm.PinnedPrefix{}, f.fail
	}
	f.pins = append(f.pins, r)
	return f.PinnedPrefixes()[0], nil
}

func (f *fakeCache) PinnedPrefixes() []llm.PinnedPrefix {
	return []llm.PinnedPrefix{{ID: "prefix-1", Name: `a "name"`, Tokens: 32, Prompt: 40, Cached: 16, Created: time.Unix(1, 0), Expires: time.Unix(61, 0)}}
}

func (f *fakeCache) UnpinPrefix(id string) error {
	if id != "prefix-1" {
		return &llm.Error{Kind: llm.NotFound, Code: "prefix_not_found", Message: "none"}
	}
	return nil
}

func (s *testServer) ask(method, path, body string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(b))
}

func TestCacheRoutes(t *testing.T) {
	f := &fakeCache{fake: newFake()}
	s := serve(t, f, nil)
	const pin = `{"id":"prefix-1","object":"cache.prefix","model":"tiny","name":"a \"name\"","tokens":32,"prompt_tokens":40,"cached_tokens":16,"created":1,"expires":61}`
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/cache", "", 200, `{"object":"list","data":[{"object":"cache","model":"tiny","on":true,"reason":"","hit_rate":0.2500,"queried_tokens":200,"hit_tokens":50,"page_tokens":16,"pages":100,"cached_pages":7,"evicted_pages":9,"pinned_pages":3,"most_pinned_pages":50,"pinned_prefixes":1,"restored_pages":0,"not_restored":""}]}`},
		{"GET", "/cache/prefixes", "", 200, `{"object":"list","data":[` + pin + `]}`},
		{"POST", "/cache/prefixes", `{"name":"n","ttl":60,"prompt":"hello","cache_salt":"s","add_special_tokens":false}`, 201, pin},
		{"POST", "/cache/prefixes", `{"messages":[{"role":"system","content":"x"}],"tools":[{"type":"function"}]}`, 201, pin},
		{"POST", "/cache/prefixes", `{"prompt":[1,2,3]}`, 201, pin},
		{"POST", "/cache/prefixes", `{}`, 400, `missing_required_parameter`},
		{"POST", "/cache/prefixes", `{"prompt":"x","messages":[{"role":"system","content":"x"}]}`, 400, `"param":"prompt"`},
		{"POST", "/cache/prefixes", `{"prompt":"x","ttl":0}`, 400, `"param":"ttl"`},
		{"POST", "/cache/prefixes", `{"prompt":[5000]}`, 400, `prompt[0]`},
		{"POST", "/cache/prefixes", `{"prompt":"x","name":"` + strings.Repeat("n", 200) + `"}`, 400, `"param":"name"`},
		{"POST", "/cache/prefixes", `{"prompt":"x","cache_salt":"` + strings.Repeat("n", 2000) + `"}`, 400, `"param":"cache_salt"`},
		{"POST", "/cache/prefixes", `{"prompt":"x","model":"other"}`, 404, `model_not_found`},
		{"POST", "/cache/prefixes", `{"messages":[{"role":"system","content":"x"}],"continue_final_message":true}`, 400, `unknown_parameter`},
		{"DELETE", "/cache/prefixes/prefix-1", "", 200, `{"id":"prefix-1","object":"cache.prefix","deleted":true}`},
		{"DELETE", "/cache/prefixes/prefix-2", "", 404, `prefix_not_found`},
		{"PUT", "/cache/prefixes", "", 405, `only GET, HEAD, POST is possible`},
		{"GET", "/cache/prefixes/prefix-1", "", 405, `only DELETE`},
	} {
		status, body := s.ask(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", c.method, c.path, c.body, status, body, c.status, c.want)
		}
	}
	if p := f.pins[0]; p.Name != "n" || p.TTL != time.Minute || p.CacheSalt != "s" || p.Prompt != llm.Text("hello") || !p.Tokenize.NoSpecial {
		t.Errorf("%+v", p)
	}
	if c, ok := f.pins[1].Prompt.(*llm.Chat); !ok || string(c.Tools) != `[{"type":"function"}]` {
		t.Errorf("%+v", f.pins[1])
	}
	f.fail = &llm.Error{Kind: llm.Invalid, Code: "pinned_share_exceeded", Message: "no room"}
	if status, body := s.ask("POST", "/cache/prefixes", `{"prompt":"hello"}`); status != 400 || !strings.Contains(body, "pinned_share_exceeded") {
		t.Errorf("%d %s", status, body)
	}
}

// A generator without a cache that can be reached says so.
func TestCacheRoutesWithoutCache(t *testing.T) {
	s := serve(t, newFake(), nil)
	if status, body := s.ask("GET", "/cache", ""); status != 200 || body != `{"object":"list","data":[]}` {
		t.Errorf("%d %s", status, body)
	}
	if status, body := s.ask("POST", "/cache/prefixes", `{"prompt":"x"}`); status != 400 || !strings.Contains(body, "cannot reach") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := s.ask("DELETE", "/cache/prefixes/x", ""); status != 404 {
		t.Errorf("%d", status)
	}
}

func TestExplainCacheField(t *testing.T) {
	f := newFake()
	f.cache = &llm.CacheInfo{Reason: llm.CacheDiverged, Why: "why", Cached: 3, Common: 4, Before: "b", Prompt: "p", Nearest: "n", Hint: "h"}
	s := serve(t, f, nil)
	const want = `"cache":{"reason":"diverged","message":"why","cached_tokens":3,"common_tokens":4,"diverged_at":4,"before":"b","prompt":"p","cached":"n","hint":"h"}`
	const chat, text = `{"messages":[{"role":"user","content":"hi"}]`, `{"prompt":["a","b"]`
	for _, c := range []struct {
		path, body string
		times      int
	}{
		{"/v1/chat/completions", chat + `,"explain_cache":true}`, 1},
		{"/v1/chat/completions", chat + `,"n":2,"stream":true,"explain_cache":true}`, 1},
		{"/v1/chat/completions", chat + `}`, 0},
		{"/v1/chat/completions", chat + `,"stream":true}`, 0},
		{"/v1/completions", text + `,"explain_cache":true}`, 2},
		{"/v1/completions", text + `,"n":2,"stream":true,"explain_cache":true}`, 4},
		{"/v1/completions", text + `,"stream":true}`, 0},
	} {
		status, body := s.ask("POST", c.path, c.body)
		if n := strings.Count(body, want); status != 200 || n != c.times {
			t.Errorf("%s %s: %d, %d explanations, want %d\n%s", c.path, c.body, status, n, c.times, body)
		}
	}
	for _, r := range f.requests[:2] {
		if !r.ExplainCache {
			t.Errorf("%+v does not ask", r)
		}
	}
	f.cache = nil // an engine that cannot tell
	if _, body := s.ask("POST", "/v1/chat/completions", chat+`,"explain_cache":true}`); !strings.Contains(body, `"cache":null`) {
		t.Error(body)
	}
}
