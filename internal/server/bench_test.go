package server

import (
	"context"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"weir/internal/llm"
)

// counted is a generator that answers with as many tokens as are asked for.
type counted struct{ *fake }

func (g counted) Generate(_ context.Context, r *llm.Request) iter.Seq2[llm.Event, error] {
	return func(yield func(llm.Event, error) bool) {
		tokens := []llm.Token{{ID: 5}}
		for range *r.Params.MaxTokens {
			if !yield(llm.Event{Text: "word ", Tokens: tokens}, nil) {
				return
			}
		}
		yield(llm.Event{Finish: llm.FinishLength, Usage: new(llm.Usage)}, nil)
	}
}

// discard is a response that goes nowhere.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) Flush()                      {}

func streamTokens(tb testing.TB, s *Server, n int) {
	body := `{"messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":` + strconv.Itoa(n) + `}`
	r, err := http.NewRequest("POST", "/v1/chat/completions", io.NopCloser(strings.NewReader(body)))
	if err != nil {
		tb.Fatal(err)
	}
	s.ServeHTTP(discard{http.Header{}}, r)
}

func countedServer(tb testing.TB) *Server {
	s, err := New(DefaultOptions(), Static{counted{newFake()}}, new(fakeHealth))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// A token more in a stream costs the server no allocation.
func TestStreamAllocations(t *testing.T) {
	s := countedServer(t)
	few := testing.AllocsPerRun(5, func() { streamTokens(t, s, 10) })
	many := testing.AllocsPerRun(5, func() { streamTokens(t, s, 1010) })
	if perToken := (many - few) / 1000; perToken > 0.01 {
		t.Errorf("%v allocations a token", perToken)
	}
}

// BenchmarkStream gives the server's own cost of a token, sockets left out.
func BenchmarkStream(b *testing.B) {
	s := countedServer(b)
	b.ReportAllocs()
	b.ResetTimer()
	streamTokens(b, s, b.N)
}
