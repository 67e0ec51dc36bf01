package metrics

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"weir/internal/llm"
)

// full makes metrics in which every family has a series.
func full(t testing.TB, vllm bool) *Metrics {
	t.Helper()
	m := New(Options{VLLM: vllm, Version: "v1", Engines: func() []Engine {
		return []Engine{{
			Model: "tiny", Running: 3, Waiting: 2, Pages: 100, FreePages: 25, PageSize: 16, KVType: "f16", Context: 100,
			CacheQueried: 50, CacheHit: 20, Drafts: 4, Guessed: 10, HeldAt: []int64{4, 2},
			StepRowBounds: []int{1, 8}, StepRows: []int64{5, 2, 1}, PrefillTokens: 30, DecodeTokens: 12,
			StepTime: 2 * time.Second, ForwardTime: time.Second, CompileTime: time.Second,
			Backend: "cuda", Level: "sm_90a", Device: "a card", DeviceMemory: 80e9, DeviceFree: 10e9,
		}}
	}})
	m.Attach(func() Server {
		return Server{Connections: 7, Live: true, Models: []llm.Model{{ID: "tiny"}, {ID: "away", State: "unloaded"}}}
	})
	n := 5
	p := llm.DefaultParams()
	p.MaxTokens = &n
	r := m.Begin("tiny", time.Now().Add(-time.Second), []*llm.Request{{Params: p}})
	r.Event(0, &llm.Event{Prompt: &llm.PromptInfo{}, Timing: &llm.Timing{Queued: 100 * time.Millisecond, Computing: 200 * time.Millisecond}})
	for i := range 3 {
		e := &llm.Event{Tokens: make([]llm.Token, 1)}
		if i == 2 {
			e.Finish = llm.FinishStop
		}
		r.Event(0, e)
	}
	r.Event(0, &llm.Event{Usage: &llm.Usage{PromptTokens: 10, CachedTokens: 4, CompletionTokens: 3}})
	r.End(nil)
	m.Answered("/v1/chat/completions", 200, "alice", llm.Usage{PromptTokens: 10, CompletionTokens: 3}, nil, "")
	m.Answered("/v1/chat/completions", 429, "", llm.Usage{}, &llm.Error{Kind: llm.Overloaded}, "rate_limit_exceeded")
	return m
}

func families(t testing.TB, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range list {
		if byName[f.GetName()] != nil {
			t.Errorf("%s appears twice", f.GetName())
		}
		byName[f.GetName()] = f
	}
	return byName
}

// value is that of a family's only series.
func value(f *dto.MetricFamily) float64 {
	if f == nil || len(f.Metric) != 1 {
		return -1
	}
	m := f.Metric[0]
	switch {
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return -1
}

func TestValues(t *testing.T) {
	got := families(t, full(t, true))
	for name, want := range map[string]float64{
		"weir_requests_running": 3, "vllm:num_requests_running": 3, "vllm:num_requests_waiting": 2,
		"weir_kv_cache_usage_ratio": 0.75, "vllm:kv_cache_usage_perc": 0.75,
		"vllm:prefix_cache_queries_total": 50, "vllm:prefix_cache_hits_total": 20,
		"vllm:prompt_tokens_total": 10, "vllm:prompt_tokens_cached_total": 4, "vllm:generation_tokens_total": 3,
		"vllm:request_success_total": 1, "vllm:spec_decode_num_draft_tokens_total": 10, "vllm:spec_decode_num_accepted_tokens_total": 6,
		"vllm:time_to_first_token_seconds": 1, "vllm:inter_token_latency_seconds": 2, "vllm:request_time_per_output_token_seconds": 1,
		"vllm:e2e_request_latency_seconds": 1, "vllm:request_queue_time_seconds": 1, "vllm:request_prefill_time_seconds": 1,
		"vllm:request_decode_time_seconds": 1, "vllm:request_params_max_tokens": 1, "vllm:iteration_tokens_total": 8,
		"weir_refusals_total": 1, "weir_connections": 7, "weir_live": 1, "weir_ready": 0, "weir_step_seconds_total": 2,
	} {
		if v := value(got[name]); v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if h := got["weir_request_queue_seconds"].Metric[0].Histogram; h.GetSampleSum() != 0.1 || len(h.GetBucket()) == 0 || len(h.GetPositiveSpan()) == 0 {
		t.Errorf("queue is %v: it must have classic and native buckets", h)
	}
	labels := got["vllm:cache_config_info"].Metric[0].Label
	text := ""
	for _, l := range labels {
		text += l.GetName() + "=" + l.GetValue() + " "
	}
	if want := "block_size=16 cache_dtype=f16 enable_prefix_caching=false engine=0 max_model_len=100 model_name=tiny num_gpu_blocks=100 "; text != want {
		t.Errorf("cache_config_info has %s, want %s", text, want)
	}
	for name := range families(t, full(t, false)) {
		if strings.HasPrefix(name, "vllm:") {
			t.Errorf("%s without being asked for", name)
		}
	}
}

// TestNamesAreMapped: each of vLLM's names is a family, and the rules of
// Prometheus for names hold.
func TestNamesAreMapped(t *testing.T) {
	got := families(t, full(t, true))
	for ours, theirs := range vllmNames {
		if got[ours] == nil || got[theirs] == nil {
			t.Errorf("%s -> %s: one is not there", ours, theirs)
		}
	}
	problems, err := testutil.GatherAndLint(full(t, false).Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestStep: tokens that one step computed have no latency between them.
func TestStep(t *testing.T) {
	m := New(Options{})
	r := m.Begin("tiny", time.Now(), []*llm.Request{{Params: llm.DefaultParams()}})
	for _, step := range []int64{3, 3, 4, 4, 4, 5, 0, 0} {
		r.Event(0, &llm.Event{Tokens: make([]llm.Token, 1), Step: step})
	}
	if n := value(families(t, m)["weir_inter_token_latency_seconds"]); n != 4 {
		t.Errorf("%v latencies, want those before steps 4 and 5 and the two that are not known", n)
	}
}

// TestEnds: how requests end that do not end well.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		kind llm.Kind
		want string
	}{{llm.Canceled, "abort"}, {llm.Timeout, "abort"}, {llm.Internal, "error"}, {llm.Overloaded, ""}, {llm.Invalid, ""}} {
		m := New(Options{})
		p := llm.DefaultParams()
		p.N = 2
		r := m.Begin("tiny", time.Now(), []*llm.Request{{Params: p}})
		if c.want != "" {
			r.Event(0, &llm.Event{Choice: 1, Tokens: make([]llm.Token, 2)})
			r.Event(0, &llm.Event{Choice: 1, Tokens: make([]llm.Token, 1)})
			r.Event(0, &llm.Event{Choice: 0, Tokens: make([]llm.Token, 1), Finish: llm.FinishLength})
		}
		r.End(&llm.Error{Kind: c.kind})
		f := families(t, m)["weir_choices_finished_total"]
		reasons := ""
		if f != nil {
			for _, s := range f.Metric {
				reasons += s.Label[1].GetValue() + " "
			}
		}
		if want := strings.TrimSpace(c.want + " length"); c.want != "" && strings.TrimSpace(reasons) != want || c.want == "" && reasons != "" {
			t.Errorf("%v: %q", c.kind, reasons)
		}
		if got := value(families(t, m)["weir_generated_tokens_total"]); c.want != "" && got != 3 {
			t.Errorf("%v: %v tokens counted, want the 3 of the choice that broke off", c.kind, got)
		}
	}
	var nothing *Metrics
	r := nothing.Begin("x", time.Now(), nil)
	r.Event(0, &llm.Event{Tokens: make([]llm.Token, 1)})
	r.End(nil)
	nothing.Answered("/", 200, "a", llm.Usage{}, nil, "")
	nothing.Attach(nil)
	if timing, _, _ := r.Timing(); timing != nil {
		t.Error("nil counts")
	}
}

// TestDocs holds docs/metrics.md to the families there are.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	got := families(t, full(t, true))
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:weir_|vllm:)[a-z_0-9:]+)`").FindAllSubmatch(text, -1) {
		documented[string(m[1])] = true
		if got[string(m[1])] == nil {
			t.Errorf("docs/metrics.md has %s, which does not exist", m[1])
		}
	}
	for name, f := range got {
		if (strings.HasPrefix(name, "weir_") || strings.HasPrefix(name, "vllm:")) && !documented[name] {
			t.Errorf("docs/metrics.md lacks `%s`: %s", name, f.GetHelp())
		}
	}
}

// TestDeploy: what dashboards and alerts ask for exists.
func TestDeploy(t *testing.T) {
	got := families(t, full(t, true))
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, file := range []string{"../../deploy/grafana/weir.json", "../../deploy/prometheus/weir.rules.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\b(weir|vllm|process|go)[_:][a-z_0-9]+`).FindAll(bytes.ReplaceAll(text, []byte(`\"`), []byte(`"`)), -1)
		if len(names) < 5 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, n := range names {
			if got[string(n)] == nil && got[suffix.ReplaceAllString(string(n), "")] == nil {
				t.Errorf("%s asks for %s, which does not exist", file, n)
			}
		}
	}
}

// BenchmarkToken is what a token costs.
func BenchmarkToken(b *testing.B) {
	m := New(Options{VLLM: true})
	r := m.Begin("tiny", time.Now(), []*llm.Request{{Params: llm.DefaultParams()}})
	e := &llm.Event{Tokens: make([]llm.Token, 1)}
	b.ReportAllocs()
	for b.Loop() {
		r.Event(0, e)
	}
}

// BenchmarkTokenParallel is the same with every processor at it.
func BenchmarkTokenParallel(b *testing.B) {
	m := New(Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := m.Begin("tiny", time.Now(), []*llm.Request{{Params: llm.DefaultParams()}})
		e := &llm.Event{Tokens: make([]llm.Token, 1)}
		for pb.Next() {
			r.Event(0, e)
		}
	})
}
