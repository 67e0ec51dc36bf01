package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"weir/internal/backend"
	"weir/internal/backend/cuda"
	"weir/internal/builtin"
	"weir/internal/chat"
	answers "weir/internal/chat/answer"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/sched"
	"weir/internal/weights"
)

// stallAfter is how long one step may take before /health calls the engine
// stalled. The slowest honest step is a full batch of a large model on a slow
// CPU; a minute is far beyond it.
const stallAfter = time.Minute

// opened is a running engine with what it stands on.
type opened struct {
	engine  *engine.Engine
	plan    engine.MemoryPlan
	file    *weights.File
	drafts  *weights.File // what guesses ahead has its weights in; nil: it needs none
	backend backend.Backend
	threads int
	saves   *cacheDir // nil: the prefix cache is not kept
	log     *slog.Logger

	settling settling

	phases []any // of the start: name and time taken, in turn, for the log
	last   time.Time
}

// did takes note of a phase of the start that has ended.
func (o *opened) did(phase string) {
	now := time.Now()
	o.phases = append(o.phases, phase, now.Sub(o.last).Round(100*time.Microsecond))
	o.last = now
}

// close ends the engine, then frees what it used.
func (o *opened) close() error {
	err := o.engine.Close()
	if o.saves != nil {
		logSaved(o.log, o.engine.Saved(), o.plan.KV.PageSize, o.saves.path)
	}
	o.settling.end() // it reads the files, and writes what is the backend's
	return errors.Join(err, o.backend.Close(), o.closeFiles())
}

func (o *opened) closeFiles() error {
	err := o.file.Close()
	if o.drafts != nil {
		err = errors.Join(err, o.drafts.Close())
	}
	return err
}

// open loads a model and starts an engine on it, to be asked for by a name; ""
// is the file's.
// The end of ctx ends it.
func open(ctx context.Context, m modelOptions, e engineOptions, name string, read *reading, log *slog.Logger) (*opened, error) {
	began := time.Now()
	f, err := m.openFile(loads[m.Load], read)
	if err != nil {
		return nil, err
	}
	log.Debug("model file open", "files", f.Paths(), "bytes", f.Bytes(), "took", time.Since(began))
	o := &opened{file: f, log: log, last: began}
	o.did("open")
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), o.closeFiles())
	}
	inMemory := o.prefetch(ctx, read)
	if err := o.start(m, e, cmp.Or(name, m.id()), log); err != nil {
		inMemory(enough)
		o.closeFiles()
		return nil, err
	}
	o.did("allocate")
	if err := errors.Join(inMemory(o.reads()), ctx.Err()); err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.did("read")
	if o.saves != nil {
		logRestored(log, o.engine.Restored(), o.plan.KV.PageSize, o.saves.path)
	}
	if s := o.engine.CacheStatus(); !s.On && e.PrefixCache {
		log.Warn("no prefix cache", "reason", s.Why)
	}
	log.Debug("engine started", "threads", o.threads, "level", o.backend.Info().Level, "took", time.Since(began))
	return o, nil
}

// howMuch of the files is waited for.
type howMuch uint8

const (
	all    howMuch = iota
	enough         // no more than has been read by now
)

// prefetch begins to bring the files into memory, beside what else there is to do. What it
// returns waits for that, and has to be called before they are closed.
func (o *opened) prefetch(ctx context.Context, read *reading) (wait func(howMuch) error) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- o.file.Prefetch(ctx, read.report) }()
	return func(of howMuch) error {
		if of == enough {
			stop()
			<-ended
			return nil
		}
		defer stop()
		return <-ended
	}
}

// reads is how much of the files is read once the model is loaded: a GPU has its own copy then.
func (o *opened) reads() howMuch {
	if _, ok := o.backend.(*cuda.Backend); ok {
		return enough
	}
	return all
}

func (o *opened) start(m modelOptions, e engineOptions, name string, log *slog.Logger) error {
	machine := host.New("/")
	if err := e.Memory.check(machine); err != nil {
		return err
	}
	options, err := e.loadOptions(machine)
	if err != nil {
		return err
	}
	if options.Template, err = m.template(); err != nil {
		return err
	}
	options.MaxQueue, options.MaxQueuedTokens, options.StallAfter = e.MaxQueue, e.MaxQueuedTokens, stallAfter
	options.GrammarTimeout = e.GrammarTimeout
	options.Phase = o.did
	options.OnPanic = func(err error) {
		log.Error("the engine's loop panicked and is started again; its running requests were told", "cause", err)
	}
	if e.ToolFormat != "auto" {
		options.Answers.Calls = answers.Format(e.ToolFormat)
	}
	if e.Thinking != "auto" {
		options.Answers.Thinking = e.Thinking
	}
	options.PrefixCache, options.PinnedShare = e.PrefixCache, e.PinnedShare
	if options.Speculation, err = e.speculateOptions.open(m); err != nil {
		return err
	}
	o.drafts, options.OnSpeculation = options.Speculation.Draft, e.logSpeculation(log)
	if o.threads, err = threads(machine, e.Threads); err != nil {
		return err
	}
	options.ID = name
	if err := o.onGPU(e, options); err != nil || o.engine != nil {
		return err
	}
	options.Speculation = e.onCPU(options.Speculation)
	if err := e.portion.check(options.Budget, options.BudgetFrom); err != nil {
		return err
	}
	b, err := e.cpuBackend(o.threads)
	if err != nil {
		return err
	}
	if err := o.load(b, options, e); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// written tells the model's files from others that were put in their place. What is
// in them the engine compares by samples.
func (o *opened) written() string {
	var all []string
	for _, path := range o.file.Paths() {
		if info, err := os.Stat(path); err == nil { // the built-in model has none
			all = append(all, fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)))
		}
	}
	return strings.Join(all, ", ")
}

// keepCache sees to it that the prefix cache outlives the process, if asked to.
func (o *opened) keepCache(to *engine.LoadOptions, e engineOptions) (err error) {
	if e.CacheDir == "" {
		return nil
	}
	if o.saves, err = newCacheDir(e.CacheDir, to.ID); err != nil {
		return err
	}
	arithmetic := o.backend.Info().Level
	if e.Deterministic {
		arithmetic += ", deterministic"
	}
	to.CacheStore, to.CacheSaveLimit = o.saves, e.CacheDirMax.bytes
	to.CacheIdentity = []engine.Named{{Name: "weir version", Value: build()}, {Name: "arithmetic", Value: arithmetic}, {Name: "model file", Value: o.written()}}
	return nil
}

// loads are the values of --load.
var loads = map[string]weights.Load{"compact": weights.Mmap, "large": weights.Mmap, "mmap": weights.Mmap, "read": weights.Read}

// openFile opens the model that the options name, or the built-in one.
func (m modelArg) openFile(load weights.Load, read *reading) (*weights.File, error) {
	if m.Model == "" {
		return weights.OpenBytes(builtin.Name, builtin.Model())
	}
	f, err := weights.Open(m.Model, weights.Options{Load: load, Progress: read.report})
	if errors.Is(err, fs.ErrNotExist) && !exists(m.Model) {
		return nil, fmt.Errorf("%s: there is no such file or folder; give a .gguf file or a Hugging Face checkpoint's folder, or leave it out for the built-in model", m.Model)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%s: weir may not read it: give this user the right to read the file and to enter its folders", m.Model)
	}
	return f, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// id is the name under which the model is served: the file's, without what
// every file has.
func (m modelArg) id() string {
	if m.Model == "" {
		return builtin.Name
	}
	name := filepath.Base(filepath.Clean(m.Model))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gguf"), ".safetensors")
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, name)
}

// checkName tells whether requests can ask for a name, and logs and metrics have it.
func checkName(name string) error {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q can't be a model's name: it has bytes that are no text", name)
	}
	return nil
}

func (m modelOptions) template() (string, error) {
	if m.ChatTemplate == "" {
		return "", nil
	}
	source, err := os.ReadFile(m.ChatTemplate)
	if err != nil {
		if format, ok := chat.Bundled(m.ChatTemplate); ok {
			return format, nil
		}
		if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(m.ChatTemplate, "./") {
			names := strings.Join(chat.BundledNames(), ", ")
			return "", fmt.Errorf("--chat-template %s: there is no such file, and of formats there are %s%s", m.ChatTemplate, names, didYouMean(strings.ToLower(m.ChatTemplate), chat.BundledNames(), "give a file or one of these"))
		}
		return "", fmt.Errorf("reading the chat template: %w", err)
	}
	if strings.TrimSpace(string(source)) == "" {
		return "", fmt.Errorf("%s is empty: no chat template; leave out --chat-template for the model's own", m.ChatTemplate)
	}
	return string(source), nil
}

// loadOptions are what the options say of memory, for this machine.
func (o memoryOptions) loadOptions(machine *host.Host) (engine.LoadOptions, error) {
	budget, from, err := o.Memory.budget(machine)
	if err != nil {
		return engine.LoadOptions{}, err
	}
	kvType, err := backend.ParseKVType(o.KVType)
	if err != nil {
		return engine.LoadOptions{}, err
	}
	return engine.LoadOptions{
		Budget: budget, BudgetFrom: from,
		Context: o.Ctx, KVType: kvType, PageSize: o.PageSize,
		Limits: sched.Limits{BatchTokens: o.batchTokens(), Running: o.MaxRunning},
	}, nil
}

// budget turns the option into bytes and says where they come from.
func (m memorySize) budget(machine *host.Host) (int64, string, error) {
	have, err := machine.Memory()
	if err != nil {
		if m.share == 0 {
			return m.bytes, "as --memory says", nil
		}
		return 0, "", fmt.Errorf("the machine's memory can't be read, so a share of it means nothing; give --memory a size such as 8GiB: %w", err)
	}
	if m.share > 0 {
		return int64(m.share * float64(have.Available())), fmt.Sprintf("%.0f%% of %s", m.share*100, have), nil
	}
	if m.from != "" {
		return m.bytes, m.from, nil
	}
	return m.bytes, fmt.Sprintf("as --memory says, of %s", have), nil
}

// check refuses what the machine can never give. (What it can't give now it may
// when it is needed: caches give way, other programs end.)
func (m memorySize) check(machine *host.Host) error {
	have, err := machine.Memory()
	if err != nil {
		return nil // then there is nothing to compare with
	}
	most := have.Total
	for _, l := range have.Limits {
		most = min(most, l.Bytes)
	}
	if m.bytes > most {
		return fmt.Errorf("--memory is %s but weir can have %s at most: %s; ask for less, or for a share such as 80%%", host.Bytes(m.bytes), host.Bytes(most), have)
	}
	return nil
}

// threads is what the user asked for, or one for each CPU that weir may use.
func threads(machine *host.Host, asked int) (int, error) {
	if asked > 0 {
		return asked, nil
	}
	cpus, err := machine.CPUs()
	if err != nil {
		return 0, fmt.Errorf("counting CPUs; give --threads: %w", err)
	}
	return max(1, cpus.Workers()), nil
}
