package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/bench"
	"weir/internal/weights"
)

// TestBenchEngine measures a little of a small model, to the end.
func TestBenchEngine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small.gguf")
	if err := os.WriteFile(path, smallGGUF(t), 0o666); err != nil {
		t.Fatal(err)
	}
	r := weir(t, "", []string{"WEIR_PAGE_SIZE=8"}, "bench", "engine", path, "--prompt", "16", "--generate", "2", "--batch", "1,2", "--repeat", "1",
		"--kv-type", "f32", "--threads", "2", "--cpu-level", "portable", "--json", "--log-level", "error")
	if r.code != exitOK || r.err != "" {
		t.Fatalf("%+v", r)
	}
	var report bench.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatal(err)
	}
	want := bench.EngineInfo{Device: "cpu", Level: "portable", Threads: 2, KVType: "f32", PageSize: 8, BatchTokens: 256}
	if report.Engine != want {
		t.Errorf("engine %+v, want %+v", report.Engine, want)
	}
	if m := report.Model; m.Name != "small" || m.Source != path || m.Quant != "Q8_0" {
		t.Errorf("model %+v", m)
	}
	if len(report.Results) != 3 || report.Results[2].Name != "decode, batch 2" || !(report.Results[2].TokensPerSecond.Median > 0) {
		t.Errorf("results %+v", report.Results)
	}
	if want := "weir bench engine " + path + " --prompt 16 --generate 2 --batch 1,2 --depth 1 --repeat 1 --threads 2 --cpu-level portable --kv-type f32 --page-size 8"; report.Command != want {
		t.Errorf("command %q, want %q", report.Command, want)
	}
}

// TestBenchEngineRandom makes random weights, and saves them.
func TestBenchEngineRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a model of 300 MB")
	}
	path := filepath.Join(t.TempDir(), "random.gguf")
	r := weir(t, "", nil, "bench", "engine", "--shape", "Qwen3-0.6B", "--type", "Q3_K", "--save", path, "--prompt", "0", "--generate", "1", "--batch", "1", "--repeat", "1",
		"--markdown", "--log-level", "error")
	if r.code != exitOK || r.err != "" || !strings.Contains(r.out, "| decode, batch 1 |") || !strings.Contains(r.out, "qwen3-0.6b q3_k (random weights)") {
		t.Fatalf("%+v", r)
	}
	f, err := weights.Open(path, weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if tensor, err := f.Lookup("blk.0.attn_q.weight"); err != nil || tensor.Type != weights.Q3_K {
		t.Errorf("%v, %v", tensor.Type, err)
	}
}

func TestBenchEngineRefuses(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--shape gpt-5", exitUsage, `there is no shape "gpt-5"; there are llama-68m`},
		{"--shape llama-3.1-8b --type q9", exitUsage, `there is no weight type "q9"; there are f32`},
		{"--shape llama-3.1-8b --load read", exitUsage, "--load read is a way to read a file"},
		{"model.gguf --shape llama-3.1-8b", exitUsage, "a model and --shape are given"},
		{"--type q4_0", exitUsage, "--type is what random weights are stored as, so it needs --shape"},
		{"--save x.gguf", exitUsage, "--save writes random weights, so it needs --shape"},
		{"--batch 1,x", exitUsage, `"1,x" is not a list such as 1,8,16`},
		{"--batch 0", exitUsage, "--batch has 0"},
		{"--batch 300", exitUsage, "--batch-tokens is 256; it must be from the largest batch (300)"},
		{"--prompt 0 --batch none", exitUsage, "nothing is measured"},
		{"--full-load 128", exitUsage, `"128" is not INPUT/OUTPUT in tokens`},
		{"--full-load 1/1 --clients 0", exitUsage, "--clients is 0"},
		{"--full-load 1/1 --clients 300", exitUsage, "--batch-tokens is 256; it must be from the largest batch (300)"},
		{"--full-load 1/1 --full-load-time 1us", exitUsage, "--full-load-time is 1µs"},
		{"--offline 8", exitUsage, `--offline: "8" is not REQUESTS:INPUT/OUTPUT, such as 256:100-1024/100-1024: there is no colon`},
		{"--offline 8:1-9", exitUsage, `"8:1-9" is not REQUESTS:INPUT/OUTPUT, such as 256:100-1024/100-1024: there is no slash`},
		{"--offline 0:1/1", exitUsage, "the number of requests must be from 1 to 16384"},
		{"--offline 8:1-9/9-1", exitUsage, `"9-1" is no range of lengths`},
		{"--offline 300:1-9/1-9", exitUsage, "--batch-tokens is 256; it must be from the largest batch (300)"},
		{"--page-size 0", exitUsage, "--page-size is 0"},
		{"--threads -1", exitUsage, "--threads is -1"},
		{"--cpu-level mmx", exitUsage, "--cpu-level"},
		{"--json --markdown", exitUsage, "can't be used together"},
		{"--memory 1KiB", exitError, "are needed to measure memory with"},
		{"--shape llama-3.1-8b --type bf16 --memory 2GiB", exitError, "llama-3.1-8b at bf16 takes 15.0 GiB, but there is room for 1.0 GiB of weights: --shape llama-3.2-1b --type "},
		{"nowhere.gguf", exitError, "nowhere.gguf: there is no such file or folder"},
	} {
		r := weir(t, "", nil, append([]string{"bench", "engine"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.err, c.want) || r.out != "" {
			t.Errorf("%s: %+v, want exit %d and %q", c.args, r, c.code, c.want)
		}
	}
}
