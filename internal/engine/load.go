package engine

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"weir/internal/backend"
	"weir/internal/chat"
	"weir/internal/llm"
	"weir/internal/model"
	"weir/internal/sched"
	"weir/internal/token"
	"weir/internal/weights"
)

// LoadOptions say how to run a checkpoint.
type LoadOptions struct {
	ID       string // the name that requests give
	Backend  backend.Backend
	Template string // chat template source to use instead of the model's own; "" for that

	Budget     int64  // bytes for weights, KV cache and scratch
	BudgetFrom string // where it comes from, for people
	Context    int    // 0: as much as fits
	KVType     backend.KVType
	PageSize   int
	Limits     sched.Limits // LogitRows 0: enough
	MaxQueue   int
	StallAfter time.Duration
	// GrammarTimeout: see Options.
	GrammarTimeout time.Duration
	// MaxQueuedTokens: see Options.
	MaxQueuedTokens int
	// Phase, if not nil, is told what has just been done of the loading.
	Phase func(name string)
	// OnPanic: see Options.
	OnPanic func(error)

	PrefixCache bool
	Answers     AnswerOptions
	PinnedShare float64 // of the pages, that pinned prefixes may hold
	// CacheStore keeps the prefix cache while no process runs, at most CacheSaveLimit
	// bytes of it; nil: nobody does. CacheIdentity is what it must have been computed
	// with besides the file and the KV cache's layout.
	CacheStore     CacheStore
	CacheSaveLimit int64
	CacheIdentity  []Named

	Speculation   Speculation
	OnSpeculation func(SpeculationStatus) // see Options
}

// promptLogitRows is how many rows of a prompt may want logits in a step beside
// the decoding sequences: prompt log probabilities are rare, and a row of logits
// is as wide as the vocabulary.
const promptLogitRows = 32

// Load plans memory, binds the model and starts an engine. f must stay open,
// and o.Backend with it, until the engine is closed.
func Load(f *weights.File, o LoadOptions) (*Engine, MemoryPlan, error) {
	var plan MemoryPlan
	e, err := load(f, o, func(p MemoryPlan, _ *Options) { plan = p })
	return e, plan, err
}

// load lets adjust see the plan and change what the engine is made from.
func load(f *weights.File, o LoadOptions, adjust func(MemoryPlan, *Options)) (*Engine, error) {
	parts, err := readParts(f, o)
	if err != nil {
		return nil, err
	}
	o.did("tokenizer")
	o.Limits = withLogitRows(o.Limits)
	m, err := model.Load(f, o.Backend, model.Options{})
	if err != nil {
		return nil, err
	}
	o.did("bind")
	in := planInput(parts.config, m, o)
	d, err := o.Speculation.load(f, parts, m, o)
	if err != nil {
		return nil, err
	}
	plan, err := PlanMemory(d.add(in, o.Backend))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	o.did("plan")
	options := parts.options(m, plan, o)
	if o.CacheStore != nil {
		options.CacheIdentity = append([]Named{{"weights", Fingerprint(f)}}, o.CacheIdentity...)
	}
	if options.Proposer, options.Draft, err = d.start(plan); err != nil {
		return nil, err
	}
	adjust(plan, &options)
	e, err := New(options)
	if err != nil && options.Proposer != nil {
		err = errors.Join(err, options.Proposer.Close())
	}
	return e, err
}

// did tells of a phase that has ended.
func (o LoadOptions) did(phase string) {
	if o.Phase != nil {
		o.Phase(phase)
	}
}

// Measure tells what memory a checkpoint takes, without starting an engine: of
// its tensors it reads vectors alone, and of o what memory depends on.
func Measure(f *weights.File, o LoadOptions) (PlanInput, error) {
	config, err := model.Inspect(f)
	if err != nil {
		return PlanInput{}, err
	}
	m, err := model.Load(f, o.Backend, model.Options{})
	if err != nil {
		return PlanInput{}, err
	}
	o.Limits = withLogitRows(o.Limits)
	in := planInput(config, m, o)
	if o.Speculation.Kind == "" {
		return in, nil
	}
	parts, err := readParts(f, o)
	if err != nil {
		return in, err
	}
	d, err := o.Speculation.load(f, parts, m, o)
	if err != nil {
		return in, err
	}
	return d.add(in, o.Backend), nil
}

func withLogitRows(l sched.Limits) sched.Limits {
	if l.LogitRows == 0 {
		l.LogitRows = l.Running + min(promptLogitRows, l.BatchTokens)
	}
	return l
}

// parts are what a checkpoint has besides tensors.
type parts struct {
	config    model.Config
	defaults  model.GenDefaults
	tokenizer *token.Tokenizer
	templates *chat.Set
}

func readParts(f *weights.File, o LoadOptions) (p parts, err error) {
	if p.config, err = model.Inspect(f); err != nil {
		return p, err
	}
	if p.defaults, err = model.Generation(f); err != nil {
		return p, err
	}
	if p.tokenizer, err = Tokenizer(f); err != nil {
		return p, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if n := p.tokenizer.VocabSize(); n > p.config.Vocab {
		return p, fmt.Errorf("%s: the tokeniser has %d tokens but the embedding has %d rows: they belong to different models; get both from one place", f.Name(), n, p.config.Vocab)
	}
	p.templates, err = chatTemplates(f, o.Template)
	return p, err
}

// Tokenizer reads the tokeniser that a checkpoint comes with.
func Tokenizer(f *weights.File) (*token.Tokenizer, error) {
	if f.Format() == weights.GGUF {
		return token.FromGGUF(f.Meta())
	}
	config, _ := f.JSON("tokenizer_config.json")
	if data, ok := f.JSON("tokenizer.json"); ok {
		return token.FromTokenizerJSON(data, config)
	}
	if data, ok := f.JSON("tokenizer.model"); ok {
		return token.FromSentencePiece(data)
	}
	return nil, fmt.Errorf("the checkpoint has no tokenizer.json and no tokenizer.model; download them from where the weights came from")
}

// chatTemplates parses the template that the user gave, or the model's own: a
// model may have another one for conversations with tools.
func chatTemplates(f *weights.File, given string) (*chat.Set, error) {
	sources, from := chat.Sources{chat.DefaultName: given}, "the template of --chat-template"
	if given == "" {
		var err error
		if sources, err = ownTemplates(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		from = f.Name() + ": the model's chat template"
	}
	if len(sources) == 0 {
		return nil, nil
	}
	set, err := sources.Parse()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return set, nil
}

// ownTemplates finds the templates that a checkpoint comes with: in a GGUF under
// tokenizer.chat_template and, named, tokenizer.chat_template.NAME; else in
// chat_template.jinja or tokenizer_config.json.
func ownTemplates(f *weights.File) (chat.Sources, error) {
	sources := chat.Sources{}
	const key = "tokenizer.chat_template"
	for _, k := range f.Meta().Keys() {
		source, isText := f.Meta().String(k)
		if name, named := strings.CutPrefix(k, key+"."); named && isText {
			sources[name] = source
		} else if k == key && isText {
			sources[chat.DefaultName] = source
		}
	}
	if data, ok := f.JSON("tokenizer_config.json"); ok {
		var err error
		if sources, err = chat.FromTokenizerConfig(data); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	if data, ok := f.JSON("chat_template.jinja"); ok {
		sources[chat.DefaultName] = string(data)
	}
	return sources, nil
}

// planInput is what m takes. Nothing else may have been loaded.
func planInput(c model.Config, m model.Model, o LoadOptions) PlanInput {
	scratch := backend.Plan{Rows: o.Limits.BatchTokens, Seqs: o.Limits.Running, LogitRows: o.Limits.LogitRows}
	m.Plan(&scratch)
	return PlanInput{
		Budget: o.Budget, BudgetFrom: o.BudgetFrom,
		ModelBytes: weightBytes(o.Backend, 0, c.Bytes), Scratch: streamBytes(o.Backend, scratch, c.Vocab),
		Groups: m.KVGroups(), KVType: o.KVType, PageSize: o.PageSize,
		Chunk: o.Limits.BatchTokens, Running: o.Limits.Running,
		ModelCtx: c.Context, Context: o.Context,
	}
}

// weightBytes is what weights take that were loaded after others of before bytes, and
// inFile in their file.
func weightBytes(b backend.Backend, before, inFile int64) int64 {
	if s, ok := b.(backend.Sizer); ok {
		return s.WeightBytes() - before
	}
	return inFile
}

// streamBytes is what a stream of the plan takes: activations and logits.
func streamBytes(b backend.Backend, p backend.Plan, vocab int) int64 {
	if s, ok := b.(backend.Sizer); ok {
		return s.StreamBytes(p)
	}
	n := int64(p.LogitRows) * int64(vocab)
	for _, a := range p.Acts {
		rows := p.Rows
		if a.Gathered {
			rows = p.LogitRows
		}
		n += int64(rows) * int64(a.Cols)
	}
	return n * 4
}

// options puts an engine's parts together.
func (p parts) options(m model.Model, plan MemoryPlan, o LoadOptions) Options {
	defaults := p.params()
	likely := ""
	if p.templates == nil {
		likely = chat.Likely(func(text string) bool { _, ok := p.tokenizer.ID(text); return ok })
	}
	return Options{
		Describe: llm.Model{
			ID: o.ID, Family: p.config.Family, Created: time.Now().Unix(),
			Context: plan.Context, Vocab: p.config.Vocab, Chat: p.templates != nil, Likely: likely,
			Bytes: p.config.Bytes, Quant: p.config.Quant, Params: p.config.Params,
			OwnedBy: "weir", MaxTopLP: 20, Defaults: &defaults,
		},
		Forward: m, Backend: o.Backend, Tokenizer: p.tokenizer, Templates: p.templates,
		EOG: p.endTokens(), KV: plan.KV, Limits: o.Limits, MaxQueue: o.MaxQueue,
		PrefixCache: o.PrefixCache, Answers: o.Answers, PinnedShare: o.PinnedShare, CacheStore: o.CacheStore, CacheSaveLimit: o.CacheSaveLimit,
		StallAfter: o.StallAfter, GrammarTimeout: o.GrammarTimeout, OnSpeculation: o.OnSpeculation,
		MaxQueuedTokens: o.MaxQueuedTokens, Preparing: max(1, runtime.GOMAXPROCS(0)), Backlog: usualBacklog, OnPanic: o.OnPanic,
	}
}

// usualBacklog is how many tokens are kept for a client that reads slowly: minutes
// of a fast stream.
const usualBacklog = 8192

// params are the API's defaults under the model's own.
func (p parts) params() llm.Params {
	d, to := p.defaults, llm.DefaultParams()
	set(&to.Temperature, d.Temperature)
	set(&to.TopK, d.TopK)
	set(&to.TopP, d.TopP)
	set(&to.MinP, d.MinP)
	set(&to.TypicalP, d.TypicalP)
	set(&to.RepetitionPenalty, d.RepetitionPenalty)
	to.MaxTokens = d.MaxNewTokens
	if d.Sample != nil && !*d.Sample {
		to.Temperature = 0
	}
	return to
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// endTokens are all ids that the files name as ending a generation.
func (p parts) endTokens() []int32 {
	ids := slices.Concat(p.tokenizer.EOG(), p.config.EOS, p.defaults.EOS)
	slices.Sort(ids)
	return slices.Compact(ids)
}
