package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir/internal/llm"
)

// asleep is a backend whose models are never loaded in time.
type asleep struct{ Static }

func (asleep) Generator(ctx context.Context, _ string) (llm.Generator, func(), error) {
	<-ctx.Done()
	return nil, nil, context.Cause(ctx)
}

// TestDeadlinesWhileLoading: whoever waits for a model to be loaded waits no longer
// than he or the server allows, whatever he wants of it.
func TestDeadlinesWhileLoading(t *testing.T) {
	s := serve(t, fakeTexter{newFake()}, nil)
	s.backend = asleep{s.backend.(Static)}
	for path, body := range map[string]string{
		"/v1/completions": `{"prompt":"Hi"}`, "/v1/chat/completions": `{"messages":[{"role":"user","content":"Hi"}],"stream":true}`,
		"/tokenize": `{"prompt":"Hi"}`, "/detokenize": `{"tokens":[97]}`, "/apply-template": `{"messages":[{"role":"user","content":"Hi"}]}`,
		"/models/load": `{}`, "/cache/prefixes": `{"prompt":"Hi"}`,
	} {
		for _, header := range []string{"X-Request-Timeout", "X-Queue-Timeout"} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(header, "20ms")
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			if res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(text, "the model was not loaded within") {
				t.Errorf("%s with %s: %d %s", path, header, res.StatusCode, text)
			}
		}
	}
}
