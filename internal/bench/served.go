package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"

	"weir/internal/engine"
	"weir/internal/llm"
	"weir/internal/server"
)

// How much of the engine's speed reaches clients is measured by two kinds of
// decode that alternate: tokens taken straight from the engine, and the same
// through weir's server, over loopback sockets and from within this process. A
// client's own work, which is to read a token's event, is done in both: there
// for events that come, here for copies of one. What the sockets cost is in the
// second alone.

// stream gives the number of tokens in each piece of a request's answer.
type stream func(ctx context.Context, r *llm.Request) iter.Seq2[int, error]

// direct takes tokens from the engine.
func direct(e *engine.Engine) stream {
	return func(ctx context.Context, r *llm.Request) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for ev, err := range e.Generate(ctx, r) {
				if (err != nil || len(ev.Tokens) > 0) && !yield(len(ev.Tokens), err) {
					return
				}
			}
		}
	}
}

// working is from, with a client's work done for each token.
func working(from stream, event []byte) stream {
	return func(ctx context.Context, r *llm.Request) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for n, err := range from(ctx, r) {
				if err == nil {
					_, err = tokensOf(event)
				}
				if !yield(n, err) {
					return
				}
			}
		}
	}
}

// sampleEvent is an event as the server writes it for a token.
var sampleEvent = []byte(`{"id":"cmpl-0123456789abcdef0123456789abcdef","object":"text_completion","created":1790000000,"model":"weir-mini",` +
	`"system_fingerprint":"weir-dev","choices":[{"index":0,"text":" river","logprobs":null,"finish_reason":null,"token_ids":[1234]}]}`)

// tokensOf reads an event and counts its tokens.
func tokensOf(event []byte) (int, error) {
	c, err := readChunk(event)
	if err != nil {
		return 0, err
	}
	if len(c.Choices) == 0 {
		return 0, nil
	}
	return len(c.Choices[0].TokenIDs), nil
}

// local is a server of the engine's on this machine, and clients of it.
type local struct {
	url    string
	client *http.Client
	server *server.Server
	served chan error
}

// always is the health of what is there while it is asked.
type always struct{}

func (always) Live() error  { return nil }
func (always) Ready() error { return nil }

func newLocal(ctx context.Context, e *engine.Engine) (*local, error) {
	s, err := server.New(server.DefaultOptions(), server.Static{e}, always{})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the clients of the benchmark: %w", err)
	}
	l := &local{
		url: "http://" + listener.Addr().String() + "/v1/completions", server: s, served: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}},
	}
	go func() { l.served <- s.Serve(ctx, listener) }()
	return l, nil
}

func (l *local) close() error {
	l.client.CloseIdleConnections()
	l.server.Close()
	return <-l.served
}

// stream is a stream through the server.
func (l *local) stream(ctx context.Context, r *llm.Request) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		body, err := l.ask(ctx, r)
		if err != nil {
			yield(0, err)
			return
		}
		defer body.Close()
		if err := follow(body, yield); err != nil {
			yield(0, err)
		}
	}
}

// ask sends a request and returns its stream.
func (l *local) ask(ctx context.Context, r *llm.Request) (io.ReadCloser, error) {
	body, err := json.Marshal(map[string]any{
		"prompt": r.Prompt, "max_tokens": *r.Params.MaxTokens, "temperature": 0, "ignore_eos": true, "stream": true, "return_token_ids": true,
	})
	if err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	post, err := http.NewRequestWithContext(ctx, "POST", l.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	res, err := l.client.Do(post)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000)) // what can be had of the reason
		return nil, errors.Join(fmt.Errorf("the server answers %s: %s", res.Status, strings.TrimSpace(string(text))), res.Body.Close())
	}
	return res.Body, nil
}

// follow reads a stream until it ends or yield has had enough.
func follow(body io.Reader, yield func(int, error) bool) error {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok || string(data) == "[DONE]" {
			continue
		}
		n, err := tokensOf(data)
		if err != nil {
			return err
		}
		if n > 0 && !yield(n, nil) {
			return nil
		}
	}
	return lines.Err()
}

// servedShare compares the last two cases, round by round.
func (r *run) servedShare() *Summary {
	if r.o.Settings.Served == 0 {
		return nil
	}
	own, through := r.cases[len(r.cases)-2], r.cases[len(r.cases)-1]
	var shares []float64
	for i, speed := range own.tokens {
		shares = append(shares, through.tokens[i]/speed)
	}
	s := Summarize(shares)
	return &s
}
