package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Target is a server that speaks OpenAI's completions API.
type Target struct {
	Name string `json:"name"`
	URL  string `json:"url"` // without /v1
}

// ParseTarget reads NAME=URL, or a URL that is its own name.
func ParseTarget(s string) (Target, error) {
	t := Target{Name: s, URL: s}
	if name, url, ok := strings.Cut(s, "="); ok && !strings.Contains(name, "/") {
		t = Target{name, url}
	}
	t.URL = strings.TrimSuffix(strings.TrimSuffix(t.URL, "/"), "/v1")
	if t.Name == "" || !strings.HasPrefix(t.URL, "http://") && !strings.HasPrefix(t.URL, "https://") {
		return t, fmt.Errorf("%q is no target; give NAME=http://HOST:PORT", s)
	}
	return t, nil
}

// client sends prompts of token ids and watches the answers come.
type client struct {
	target Target
	http   *http.Client
}

// reply is what became of a request.
type reply struct {
	ttft, took time.Duration
	prompt     int     // tokens
	cached     int     // of the prompt, as the server counts; -1: it does not tell
	output     []int32 // token ids, if the server tells them
}

// chunk is what is read of a stream's event.
type chunk struct {
	Choices []struct {
		Text     string  `json:"text"` // not used, but a client's work is to read it
		TokenIDs []int32 `json:"token_ids"`
	} `json:"choices"`
	Usage *struct {
		Details *struct {
			Cached *int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// readChunk reads an event's data. An event that tells of an error is one.
func readChunk(data []byte) (c chunk, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read an event: %w", err)
	}
	if c.Error != nil {
		return c, fmt.Errorf("the stream ended with %s", c.Error)
	}
	return c, nil
}

// complete asks for n tokens after a prompt, greedily and whatever they are.
func (c *client) complete(ctx context.Context, prompt []int32, n int) (reply, error) {
	body, err := json.Marshal(map[string]any{
		"prompt": prompt, "max_tokens": n, "temperature": 0, "stream": true, "ignore_eos": true,
		"stream_options": map[string]bool{"include_usage": true}, "return_token_ids": true,
	})
	if err != nil {
		return reply{}, fmt.Errorf("write a request: %w", err)
	}
	began := time.Now()
	res, err := c.post(ctx, body)
	if err != nil {
		return reply{}, fmt.Errorf("ask %s: %w", c.target.Name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000)) // what can be had of the reason
		return reply{}, fmt.Errorf("%s answers %s: %s", c.target.Name, res.Status, strings.TrimSpace(string(text)))
	}
	out := reply{prompt: len(prompt), cached: -1}
	if err := out.follow(res.Body, began); err != nil {
		return reply{}, fmt.Errorf("%s: %w", c.target.Name, err)
	}
	return out, nil
}

// post sends a request, again if the connection broke before an answer: servers
// with a short queue of connections break many of those that come at once. The
// time counts.
func (c *client) post(ctx context.Context, body []byte) (*http.Response, error) {
	const tries = 10
	for i := 1; ; i++ {
		r, err := http.NewRequestWithContext(ctx, "POST", c.target.URL+"/v1/completions", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := c.http.Do(r)
		if err == nil || i == tries || ctx.Err() != nil || errors.Is(err, syscall.ECONNREFUSED) {
			return res, err
		}
	}
}

// cpuSeconds is the processor time that the server's process has taken, by the
// name that Prometheus's own libraries give it; NaN if it does not tell. Other
// programs on the machine move it far less than they move a clock.
func (c *client) cpuSeconds(ctx context.Context) float64 {
	r, err := http.NewRequestWithContext(ctx, "GET", c.target.URL+"/metrics", nil)
	if err != nil {
		return math.NaN()
	}
	res, err := c.http.Do(r)
	if err != nil {
		return math.NaN()
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(res.Body, 16<<20))
	for res.StatusCode == http.StatusOK && lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total "); ok {
			if v, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return v
			}
		}
	}
	return math.NaN()
}

var errNoTokens = errors.New("the stream ended without a token")

// follow reads the stream.
func (r *reply) follow(body io.Reader, began time.Time) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if data = bytes.TrimSpace(data); !ok || string(data) == "[DONE]" {
			continue
		}
		c, err := readChunk(data)
		if err != nil {
			return err
		}
		if len(c.Choices) > 0 {
			if r.ttft == 0 {
				r.ttft = time.Since(began)
			}
			r.output = append(r.output, c.Choices[0].TokenIDs...)
		}
		if c.Usage != nil && c.Usage.Details != nil && c.Usage.Details.Cached != nil {
			r.cached = *c.Usage.Details.Cached
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	if r.took = time.Since(began); r.ttft == 0 {
		return errNoTokens
	}
	return nil
}
