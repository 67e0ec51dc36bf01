package server

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/internal/llm"
)

var update = flag.Bool("update", false, "write what is seen to testdata")

// date is the one line of a response that changes.
var date = regexp.MustCompile(`Date: [^\r]*\r\n`)

// send sends a request as raw bytes and gives the whole raw response. The
// request asks to close the connection.
func send(t *testing.T, addr, method, path string, body string, headers ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", method, path)
	for _, h := range headers {
		fmt.Fprintf(c, "%s\r\n", h)
	}
	fmt.Fprintf(c, "Content-Length: %d\r\n\r\n%s", len(body), body)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return date.ReplaceAllString(string(b), "")
}

// TestGolden compares whole responses, byte for byte: headers, and the chunks of
// streams, which show what is flushed together. go test -update writes them anew.
func TestGolden(t *testing.T) {
	const chat = `{"model":"tiny","messages":[{"role":"user","content":"hi"}]`
	plain := newFake
	failing := func(after int, err error) func() *fake {
		return func() *fake {
			f := newFake()
			f.fail, f.failAfter = err, after
			return f
		}
	}
	seen := map[string]bool{}
	for _, c := range []struct {
		name, method, path, body string
		fake                     func() *fake
	}{
		{"chat", "POST", "/v1/chat/completions", chat + `}`, plain},
		{"chat-stream", "POST", "/v1/chat/completions", chat + `,"stream":true,"stream_options":{"include_usage":true}}`, plain},
		{"chat-stream-two", "POST", "/v1/chat/completions", chat + `,"stream":true,"n":2,"max_tokens":2,"return_token_ids":true}`, plain},
		{"chat-stream-logprobs", "POST", "/v1/chat/completions", chat + `,"stream":true,"logprobs":true,"top_logprobs":1,"stop":","}`, plain},
		{"chat-stream-error", "POST", "/v1/chat/completions", chat + `,"stream":true}`, failing(1, errors.New("inside"))},
		{"chat-stream-early-error", "POST", "/v1/chat/completions", chat + `,"stream":true}`, failing(0, &llm.Error{Kind: llm.Overloaded, Message: "full"})},
		{"completion", "POST", "/v1/completions", `{"prompt":"ab","logprobs":1,"echo":true}`, plain},
		{"completion-stream", "POST", "/v1/completions", `{"prompt":"ab","stream":true,"return_token_ids":true,"max_tokens":2}`, plain},
		{"models", "GET", "/v1/models", ``, plain},
		{"model", "GET", "/v1/models/small", ``, plain},
		{"no-model", "GET", "/v1/models/a/b", ``, plain},
		{"tokenize", "POST", "/tokenize", `{"prompt":"ab","return_token_strs":true}`, plain},
		{"tokenize-chat", "POST", "/tokenize", chat + `}`, plain},
		{"detokenize", "POST", "/detokenize", `{"tokens":[97,98]}`, plain},
		{"apply-template", "POST", "/apply-template", `{"messages":[{"role":"user","content":"hi"}]}`, plain},
		{"bad-json", "POST", "/v1/completions", `{"prompt":`, plain},
		{"bad-field", "POST", "/v1/completions", `{"promt":"a"}`, plain},
		{"no-route", "POST", "/chat/completions", `{}`, plain},
		{"wrong-method", "GET", "/v1/chat/completions", ``, plain},
		{"health", "GET", "/health", ``, plain},
		{"ready", "GET", "/ready", ``, plain},
		{"version", "GET", "/version", ``, plain},
	} {
		seen[c.name+".http"] = true
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, fakeTexter{c.fake()}, nil)
			got := send(t, s.addr, c.method, c.path, c.body)
			file := filepath.Join("testdata", c.name+".http")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal([]byte(got), want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".http") && !seen[f.Name()] {
			t.Errorf("testdata/%s belongs to no case", f.Name())
		}
	}
}
