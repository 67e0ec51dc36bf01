package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
)

// modelArg says which model. serve, run and show share it.
type modelArg struct {
	Model string `arg:"" optional:"" help:"A .gguf file, a Hugging Face checkpoint's folder or a .safetensors file. Left out: the built-in model."`
}

// modelOptions say which model and how to hold it. serve and run share them.
type modelOptions struct {
	modelArg
	Load         string `help:"How to hold the weights: compact maps the file and, as soon as the model answers and where a CPU computes and memory has room, keeps BF16 matrices in three quarters of their bytes, with all their bits; mmap only maps it; large does so and, where memory has room, copies it into large pages as soon as the model answers; read copies it first, for those who replace files in place." enum:"compact,mmap,large,read" default:"compact" placeholder:"compact" group:"Model"`
	ChatTemplate string `help:"Jinja file to use instead of the model's own chat template, or the name of a format: alpaca, chatml, gemma, llama2, llama3, mistral, phi3, vicuna or zephyr." placeholder:"FILE" group:"Model"`
}

// kvOptions say how the KV cache is stored. serve, run, show and bench share
// them.
type kvOptions struct {
	KVType   string `name:"kv-type" help:"How keys and values are stored: f16, bf16, q8_0 (about half of f16), q4_0 (about a quarter; costs accuracy; not on GPUs), fp8 (half; on GPUs only) or f32." enum:"f16,bf16,q8_0,q4_0,fp8,f32" default:"f16" placeholder:"f16" group:"Engine"`
	PageSize int    `help:"Tokens in a page of the KV cache." default:"16" group:"Engine"`
}

// memoryOptions decide what memory a model takes. serve, run and show share
// them.
type memoryOptions struct {
	Memory memorySize `help:"Memory that the model, its KV cache and scratch may take: a size (12GiB) or a share of what is available (80%)." default:"85%" group:"Engine"`
	Ctx    int        `help:"Longest prompt and output together, in tokens; 0: what the model allows and memory holds." default:"0" group:"Engine"`
	kvOptions
	MaxRunning  int      `help:"Sequences computed at once; others wait." default:"64" group:"Engine"`
	portion     *portion `kong:"-"` // of what several models share; nil: there is one, and Memory is its own
	BatchTokens *int     `help:"Tokens computed in one step: more make prompts faster and the pauses between tokens longer (default: 256, or --max-running if that is more)." placeholder:"N" group:"Engine"`
}

// computeOptions say what computes. serve, run and bench share them.
type computeOptions struct {
	deviceOptions
	pool          *cpu.Pool `kong:"-"` // shared by several models; nil: one of its own
	Threads       int       `help:"CPU threads to compute with; 0: one for each core that weir may use." default:"0" group:"Engine"`
	CPULevel      string    `name:"cpu-level" help:"Instruction set to compute with: portable; avx2, avxvnni, avx512, avx512bf16 or amx; on arm64 neon or neonbf16; best: the fastest that this machine runs." default:"best" placeholder:"best" group:"Engine"`
	Deterministic bool      `help:"The same bits on every machine and at every level, and the same for prompts as for generated tokens; slower." group:"Engine"`
}

// engineOptions say how the engine runs a model. serve and run share them.
type engineOptions struct {
	memoryOptions
	computeOptions
	speculateOptions
	talking     bool       `kong:"-"` // somebody reads answers where the log goes
	PrefixCache bool       `help:"Reuse what was computed for equal beginnings of earlier prompts." default:"true" negatable:"" group:"Engine"`
	CacheDir    string     `help:"Folder to keep the prefix cache in while weir does not run: saved at the end, restored at the start if the model and what computes are the same. What prompts said is in it." placeholder:"DIR" group:"Engine"`
	CacheDirMax memorySize `help:"Most that is saved in --cache-dir; the rest, used longest ago, is not." default:"4GiB" group:"Engine"`
	ToolFormat  string     `help:"How the model writes tool calls: hermes, llama3, mistral, deepseek, harmony, json, or none to leave them in the text; auto: as its chat template shows." enum:"auto,hermes,llama3,mistral,deepseek,harmony,json,none" default:"auto" placeholder:"auto" group:"Engine"`
	Thinking    string     `help:"How the model marks its thinking: think, seed:think, mistral, thinking, reasoning, or none to leave it in the text; auto: as its chat template shows." enum:"auto,think,seed:think,mistral,thinking,reasoning,none" default:"auto" placeholder:"auto" group:"Engine"`
	PinnedShare float64    `help:"Share of the KV cache, from 0 to 0.9, that prefixes kept by POST /cache/prefixes may take." default:"0.5" placeholder:"0.5" group:"Engine"`
	MaxQueue    int        `help:"Sequences that may wait beside those that run; more are refused with status 429." default:"1024" group:"Engine"`
	// MaxQueuedTokens has 0 for what depends on the memory plan.
	MaxQueuedTokens int           `help:"Tokens of prompts that may wait to be computed, estimated from their bytes at first; more are refused with status 429; 0: four times what the KV cache holds." default:"0" group:"Engine"`
	GrammarTimeout  time.Duration `help:"Most time to compile the schema, regular expression or grammar that a request wants its output to follow; more is refused with status 400." default:"2s" placeholder:"2s" group:"Engine"`
}

const (
	// maxThreads is beyond any machine's. Threads that wait spin for a while,
	// so that many more than there are processors stop each other.
	maxThreads         = 1024
	defaultBatchTokens = 256
)

// Validate is called by kong.
func (o *memoryOptions) Validate() error {
	switch {
	case o.Ctx < 0:
		return fmt.Errorf("--ctx is %d; it must be positive, or 0 for as much as fits", o.Ctx)
	case o.MaxRunning < 1 || o.MaxRunning > 4096:
		return fmt.Errorf("--max-running is %d; it must be from 1 to 4096", o.MaxRunning)
	case o.batchTokens() < o.MaxRunning || o.batchTokens() > 1<<16:
		return fmt.Errorf("--batch-tokens is %d; it must be from --max-running (%d) to 65536, as every running sequence takes a token a step", o.batchTokens(), o.MaxRunning)
	}
	return o.kvOptions.Validate()
}

// Validate is called by those who embed the options.
func (o *kvOptions) Validate() error {
	if o.PageSize < 1 || o.PageSize > 1024 {
		return fmt.Errorf("--page-size is %d; it must be from 1 to 1024", o.PageSize)
	}
	return nil
}

func (o *memoryOptions) batchTokens() int {
	if o.BatchTokens != nil {
		return *o.BatchTokens
	}
	return max(defaultBatchTokens, o.MaxRunning)
}

// Validate is called by kong; it hides memoryOptions' own.
func (o *engineOptions) Validate() error {
	if o.MaxQueue < 1 {
		return fmt.Errorf("--max-queue is %d; it must be at least 1", o.MaxQueue)
	}
	if o.MaxQueuedTokens < 0 {
		return fmt.Errorf("--max-queued-tokens is %d; it must be positive, or 0 for four times what the KV cache holds", o.MaxQueuedTokens)
	}
	switch {
	case o.GrammarTimeout <= 0:
		return fmt.Errorf("--grammar-timeout is %v; it must be positive", o.GrammarTimeout)
	case o.CacheDir != "" && !o.PrefixCache:
		return errors.New("--cache-dir keeps the prefix cache, and --no-prefix-cache switches it off; leave one out")
	case o.CacheDirMax.share > 0:
		return errors.New("--cache-dir-max is a share; it must be a size such as 4GiB")
	case !(o.PinnedShare >= 0 && o.PinnedShare <= 0.9):
		return fmt.Errorf("--pinned-share is %v; it must be from 0 to 0.9", o.PinnedShare)
	}
	if err := o.speculateOptions.Validate(); err != nil {
		return err
	}
	if err := o.computeOptions.Validate(); err != nil {
		return err
	}
	return o.memoryOptions.Validate()
}

// Validate is called by those who embed the options.
func (o *computeOptions) Validate() error {
	if o.Threads < 0 || o.Threads > maxThreads {
		return fmt.Errorf("--threads is %d; it must be from 1 to %d, or 0 for one a core", o.Threads, maxThreads)
	}
	if _, err := o.level(); err != nil {
		return fmt.Errorf("--cpu-level: %w", err)
	}
	return o.check(o.Deterministic)
}

// level is what --cpu-level names; 0 is the best.
func (o *computeOptions) level() (kern.Level, error) {
	if o.CPULevel == "best" {
		return 0, nil
	}
	return kern.ParseLevel(o.CPULevel)
}

// memorySize is bytes, or a share of what there is.
type memorySize struct {
	bytes int64
	share float64 // in (0, 1]; 0: bytes says it
	from  string  // what the bytes are, if not what the user wrote
}

var memoryUnits = []struct {
	suffix string
	factor float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1},
}

// parseMemory reads what the user wrote.
func parseMemory(text string) (memorySize, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	if p, ok := strings.CutSuffix(s, "%"); ok {
		share, err := strconv.ParseFloat(p, 64)
		if err != nil || !(share > 0 && share <= 100) {
			return memorySize{}, errors.New("a share is above 0% and at most 100%")
		}
		return memorySize{share: share / 100}, nil
	}
	factor := 1.0
	for _, u := range memoryUnits {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			s, factor = strings.TrimSpace(n), u.factor
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return memorySize{}, errors.New("that is no number with a unit")
	}
	if !(n*factor >= 1 && n*factor < math.MaxInt64/2) {
		return memorySize{}, errors.New("that is out of range")
	}
	return memorySize{bytes: int64(n * factor)}, nil
}

// logLevel is what --log-level names.
func (c *cli) logLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		panic("weir: internal error: kong let log level " + c.LogLevel + " pass")
	}
	return level
}

// newLogger makes the logger that the options ask for; level may change later.
func newLogger(c *cli, w io.Writer, level *slog.LevelVar) *slog.Logger {
	level.Set(c.logLevel())
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
