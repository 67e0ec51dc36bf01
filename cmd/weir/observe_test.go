package main

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weir/internal/builtin"
)

// TestServeMetrics: what the real engine did is what is counted.
func TestServeMetrics(t *testing.T) {
	s := serve(t, "--vllm-metrics")
	c := s.client()
	got, err := c.Chat.Completions.New(t.Context(), question("What are you?", 16))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the engine idle", func() bool { return idle(s.only().engine.Stats()) })
	_, text := s.get(t, "/metrics")
	value := func(series string) float64 {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("/metrics has no %s", series)
			return -1
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	ours, theirs := `{model="`+builtin.Name+`"}`, `{engine="0",model_name="`+builtin.Name+`"}`
	if n := value("weir_generated_tokens_total" + ours); n != float64(got.Usage.CompletionTokens) {
		t.Errorf("%v tokens counted, %d generated", n, got.Usage.CompletionTokens)
	}
	if n := value("vllm:prompt_tokens_total" + theirs); n != float64(got.Usage.PromptTokens) {
		t.Errorf("%v prompt tokens counted, %d sent", n, got.Usage.PromptTokens)
	}
	if n := value("vllm:request_prefill_time_seconds_count" + theirs); n != 1 {
		t.Errorf("%v prefills timed", n)
	}
	if n := value("vllm:num_requests_running" + theirs); n != 0 {
		t.Errorf("%v run", n)
	}
	if n := value("weir_steps_total" + ours); n < 2 || n != value("weir_step_rows_count"+ours) {
		t.Errorf("%v steps, %v by their rows", n, value("weir_step_rows_count"+ours))
	}
	if queue, sum := value("weir_request_queue_seconds_sum"+ours), value("weir_request_duration_seconds_sum"+ours); queue < 0 || queue > sum {
		t.Errorf("%v s in the queue of %v s", queue, sum)
	}
	if !strings.Contains(text, `vllm:cache_config_info{block_size="16",cache_dtype="f16",enable_prefix_caching="true"`) {
		t.Error("no cache_config_info")
	}
	if status, body := s.get(t, "/debug/requests"); status != 200 || !strings.Contains(body, `"requests":[]`) {
		t.Errorf("/debug/requests: %d %s", status, body)
	}
}

func TestObserveOptions(t *testing.T) {
	nowhere(t)
	for flag, want := range map[string]string{
		"--trace-sample=2":              "from 0 to 1",
		"--trace-endpoint=localhost":    "is not a URL",
		"--trace-endpoint=grpc://x/y":   "is not a URL",
		"--trace-sample=half":           "is not a number",
		"--trace-endpoint=http://":      "is not a URL",
		"--trace-endpoint=http://x\x7f": "is not a URL",
	} {
		var errs bytes.Buffer
		if code := run([]string{"serve", "--port", "0", flag}, streams{out: &errs, err: &errs}, nil); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: %d %s", flag, code, &errs)
		}
	}
}
