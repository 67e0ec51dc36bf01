package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// vllmNames are vLLM's names for families of the same meaning.
var vllmNames = map[string]string{
	"weir_requests_running":                           "vllm:num_requests_running",
	"weir_requests_waiting":                           "vllm:num_requests_waiting",
	"weir_kv_cache_usage_ratio":                       "vllm:kv_cache_usage_perc",
	"weir_kv_cache_info":                              "vllm:cache_config_info",
	"weir_prefix_cache_queried_tokens_total":          "vllm:prefix_cache_queries_total",
	"weir_prefix_cache_hit_tokens_total":              "vllm:prefix_cache_hits_total",
	"weir_preemptions_total":                          "vllm:num_preemptions_total",
	"weir_prompt_tokens_total":                        "vllm:prompt_tokens_total",
	"weir_prompt_tokens_cached_total":                 "vllm:prompt_tokens_cached_total",
	"weir_generated_tokens_total":                     "vllm:generation_tokens_total",
	"weir_choices_finished_total":                     "vllm:request_success_total",
	"weir_speculation_drafts_total":                   "vllm:spec_decode_num_drafts_total",
	"weir_speculation_guessed_tokens_total":           "vllm:spec_decode_num_draft_tokens_total",
	"weir_speculation_accepted_tokens_total":          "vllm:spec_decode_num_accepted_tokens_total",
	"weir_speculation_accepted_tokens_at_depth_total": "vllm:spec_decode_num_accepted_tokens_per_pos_total",
	"weir_time_to_first_token_seconds":                "vllm:time_to_first_token_seconds",
	"weir_inter_token_latency_seconds":                "vllm:inter_token_latency_seconds",
	"weir_time_per_output_token_seconds":              "vllm:request_time_per_output_token_seconds",
	"weir_request_duration_seconds":                   "vllm:e2e_request_latency_seconds",
	"weir_request_queue_seconds":                      "vllm:request_queue_time_seconds",
	"weir_request_prefill_seconds":                    "vllm:request_prefill_time_seconds",
	"weir_request_decode_seconds":                     "vllm:request_decode_time_seconds",
	"weir_request_inference_seconds":                  "vllm:request_inference_time_seconds",
	"weir_request_prompt_tokens":                      "vllm:request_prompt_tokens",
	"weir_request_prefill_tokens":                     "vllm:request_prefill_kv_computed_tokens",
	"weir_request_generated_tokens":                   "vllm:request_generation_tokens",
	"weir_request_longest_choice_tokens":              "vllm:request_max_num_generation_tokens",
	"weir_request_max_tokens":                         "vllm:request_params_max_tokens",
	"weir_request_choices":                            "vllm:request_params_n",
	"weir_step_rows":                                  "vllm:iteration_tokens_total",
}

// vllmLabels are vLLM's names for labels.
var vllmLabels = map[string]string{
	"model": "model_name", "reason": "finished_reason", "depth": "position",
	"page_size": "block_size", "pages": "num_gpu_blocks", "kv_type": "cache_dtype", "prefix_cache": "enable_prefix_caching", "context": "max_model_len",
}

// alsoVLLM gathers each family under vLLM's name too.
type alsoVLLM struct{ prometheus.Gatherer }

// Gather implements [prometheus.Gatherer].
func (g alsoVLLM) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.Gatherer.Gather()
	for _, f := range families {
		if name, ok := vllmNames[f.GetName()]; ok {
			families = append(families, renamed(f, name))
		}
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// renamed is a family under another name, with vLLM's labels. Values are shared:
// they are snapshots already.
func renamed(f *dto.MetricFamily, name string) *dto.MetricFamily {
	out := &dto.MetricFamily{Name: &name, Help: f.Help, Type: f.Type, Unit: f.Unit}
	for _, m := range f.Metric {
		engine, zero := "engine", "0" // vLLM's number of a data-parallel rank
		labels := []*dto.LabelPair{{Name: &engine, Value: &zero}}
		for _, l := range m.Label {
			label := cmp.Or(vllmLabels[l.GetName()], l.GetName())
			labels = append(labels, &dto.LabelPair{Name: &label, Value: l.Value})
		}
		slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
		out.Metric = append(out.Metric, &dto.Metric{Label: labels, Gauge: m.Gauge, Counter: m.Counter,
			Summary: m.Summary, Untyped: m.Untyped, Histogram: m.Histogram, TimestampMs: m.TimestampMs})
	}
	return out
}
