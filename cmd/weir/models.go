package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weir/internal/backend/cpu"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/llm"
	"weir/internal/model"
	"weir/internal/router"
	"weir/internal/weights"
)

// multiOptions are about several models, and about when a model is in memory.
type multiOptions struct {
	Name            string        `help:"Name under which requests ask for the model (default: the file's). Of several models each has its own: NAME=FILE." placeholder:"NAME" group:"Server"`
	MaxLoadedModels int           `help:"How many of several models are in memory at once; the others are loaded when they are asked for, in the place of one that is not used. 0: all, from the start." default:"0" group:"Server"`
	UnloadAfter     time.Duration `help:"How long a model that nobody uses stays in memory; it is loaded again when it is asked for; 0: for ever." default:"0" group:"Server"`
	SwapAfter       time.Duration `help:"How long a model that is always in use may keep one that is waited for out of memory." default:"30s" placeholder:"30s" group:"Server"`
}

// check is part of Validate; models is how many there are.
func (o *multiOptions) check(models int) error {
	switch {
	case o.Name != "" && models > 1:
		return errors.New("--name is for one model; of several give each its own, as in NAME=FILE")
	case o.MaxLoadedModels < 0:
		return fmt.Errorf("--max-loaded-models is %d; it must be positive, or 0 for all", o.MaxLoadedModels)
	case o.UnloadAfter < 0:
		return fmt.Errorf("--unload-after is %v; it must be positive, or 0 for never", o.UnloadAfter)
	case o.SwapAfter <= 0:
		return fmt.Errorf("--swap-after is %v; it must be positive", o.SwapAfter)
	}
	return nil
}

// served is a model that the command line names.
type served struct {
	name string
	modelOptions
	about llm.Model // what its files tell
}

// models lists what is to be served, after a look into the files of several.
func (c *serveCmd) models() ([]served, error) {
	if len(c.More) == 0 {
		m := c.argument(c.Model)
		m.name = cmp.Or(c.Name, m.name)
		return []served{m}, checkName(m.name)
	}
	var list []served
	for _, arg := range append([]string{c.Model}, c.More...) {
		if arg == "" {
			return nil, errors.New("one of the models is empty; give each a file")
		}
		m := c.argument(arg)
		var err error
		if m.about, err = m.look(); err == nil {
			err = checkName(m.name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// argument reads FILE or NAME=FILE.
func (c *serveCmd) argument(arg string) served {
	m := served{modelOptions: c.modelOptions}
	m.Model = arg
	if name, path, named := strings.Cut(arg, "="); named && name != "" && path != "" && !exists(arg) {
		m.name, m.Model = name, path
	}
	m.name = cmp.Or(m.name, m.id())
	return m
}

// look tells what a model's files say. It reads no weights.
func (m served) look() (llm.Model, error) {
	f, err := m.openFile(weights.Mmap, nil)
	if err != nil {
		return llm.Model{}, err
	}
	defer f.Close()
	config, err := model.Inspect(f)
	if err != nil {
		return llm.Model{}, err
	}
	return llm.Model{ID: m.name, Family: config.Family, Created: time.Now().Unix(), OwnedBy: "weir", Vocab: config.Vocab,
		Chat: config.ChatTemplate != "", Quant: config.Quant, Params: config.Params, Bytes: config.Bytes}, nil
}

// portion is what a model may have of the memory that several share: its weights,
// and as much beside them as each other gets. However few of them are in memory at
// once, any so many fit.
type portion struct {
	weights int64
	largest int64 // weights of those that need the most, together
	loaded  int   // at once
	whole   memorySize
}

// of is the portion of so much.
func (p *portion) of(all int64) int64 {
	if p.loaded == 1 {
		return all
	}
	return p.weights + (all-p.largest)/int64(p.loaded)
}

// check tells whether the models that are loaded together leave a model, which has so
// much, anything beside its weights.
func (p *portion) check(budget int64, from string) error {
	if p == nil || p.loaded == 1 || budget > p.weights {
		return nil
	}
	return fmt.Errorf("the weights of %d models together, %s, leave no memory for anything else (%s); keep fewer in memory at once with --max-loaded-models, or raise --memory", p.loaded, host.Bytes(p.largest), from)
}

// portions shares memory out among models of which so many are loaded at once.
func portions(list []served, loaded int, whole memorySize) []*portion {
	if loaded <= 0 || loaded > len(list) {
		loaded = len(list)
	}
	var sizes []int64
	for _, m := range list {
		sizes = append(sizes, m.about.Bytes)
	}
	slices.Sort(sizes)
	largest := int64(0)
	for _, s := range sizes[len(sizes)-loaded:] {
		largest += s
	}
	var out []*portion
	for _, m := range list {
		out = append(out, &portion{weights: m.about.Bytes, largest: largest, loaded: loaded, whole: whole})
	}
	return out
}

// hosting is what the models of one process share.
type hosting struct {
	pool   *cpu.Pool
	budget int64 // of all models together
	from   string
	parts  map[string]*portion // by model's name
}

// newHosting is for several models; nil for one, which has everything.
func (c *serveCmd) newHosting(list []served) (*hosting, error) {
	if len(list) == 1 {
		return nil, nil
	}
	machine := host.New("/")
	if err := c.Memory.check(machine); err != nil {
		return nil, err
	}
	h := &hosting{parts: map[string]*portion{}}
	n, err := threads(machine, c.Threads)
	if err == nil {
		h.budget, h.from, err = c.Memory.budget(machine)
	}
	if err != nil {
		return nil, err
	}
	for i, p := range portions(list, c.MaxLoadedModels, c.Memory) {
		h.parts[list[i].name] = p
	}
	h.pool = cpu.NewPool(n)
	return h, nil
}

// fit gives a model's options what is its own.
func (h *hosting) fit(e engineOptions, m served) engineOptions {
	if h == nil {
		return e
	}
	e.pool, e.portion = h.pool, h.parts[m.name]
	from := h.from
	if n := e.portion.loaded; n > 1 {
		from = fmt.Sprintf("its weights and an equal part of what those of %d models leave of %s, %s", n, host.Bytes(h.budget), h.from)
	}
	e.Memory = memorySize{bytes: max(1, e.portion.of(h.budget)), from: from}
	return e
}

func (h *hosting) close() {
	if h != nil {
		h.pool.Close()
	}
}

// loadedModel is a model in memory, as the router has it.
type loadedModel struct {
	*engine.Engine
	*opened
}

// Close gives everything back.
func (m loadedModel) Close() error { return m.opened.close() }

// limits of the queue change while the server runs.
type limits struct{ queue, tokens atomic.Int64 }

func (l *limits) set(queue, tokens int) {
	l.queue.Store(int64(queue))
	l.tokens.Store(int64(tokens))
}

// route makes the router of the models that are served.
func (c *serveCmd) route(list []served, io streams, s *service, log *slog.Logger) (err error) {
	if s.shared, err = c.newHosting(list); err != nil {
		return err
	}
	s.limits.set(c.MaxQueue, c.MaxQueuedTokens)
	var models []router.Model
	for _, m := range list {
		m.about.ID = m.name
		to := router.Model{
			About: m.about,
			Open:  func(ctx context.Context) (router.Engine, error) { return c.bringUp(ctx, m, io, s, log) },
		}
		if len(list) > 1 { // else none leaves for it
			to.Check = func() error { _, err := m.look(); return err }
		}
		models = append(models, to)
	}
	r, err := router.New(router.Options{
		Loaded: c.MaxLoadedModels, Idle: c.UnloadAfter, Patience: c.SwapAfter, Waiting: c.MaxQueue,
		Report: func(model string, state router.State, took time.Duration, err error) {
			s.moved(log, model, state, took, err)
		},
	}, models)
	if err != nil {
		s.shared.close()
		return err
	}
	s.models.Store(r)
	return nil
}

// bringUp loads a model until it has answered a request.
func (c *serveCmd) bringUp(ctx context.Context, m served, to streams, s *service, log *slog.Logger) (router.Engine, error) {
	began := time.Now()
	tell := func(what string) {}
	if s.starting() {
		tell = func(what string) { s.phase.Store(what) }
		tell("loading the model")
	}
	e := s.shared.fit(c.engineOptions, m)
	e.MaxQueue, e.MaxQueuedTokens = int(s.limits.queue.Load()), int(s.limits.tokens.Load())
	o, err := open(ctx, m.modelOptions, e, m.name, newReading(to.err, tell, log), log)
	if err != nil {
		return nil, err
	}
	if s.starting() {
		fmt.Fprint(to.out, o.plan)
	}
	tell("warming up")
	if err := warmUp(o.engine, o.backend); err != nil {
		return nil, errors.Join(fmt.Errorf("the warm-up request failed: %w", err), o.close())
	}
	o.did("warm-up")
	o.settle(m.Load, e.portion, log.Info)
	log.Info("ready", append([]any{"model", m.name, "took", time.Since(began).Round(time.Millisecond)}, o.phases...)...)
	return loadedModel{o.engine, o}, nil
}

// moved is told by the router what has become of a model.
func (s *service) moved(log *slog.Logger, model string, state router.State, took time.Duration, err error) {
	switch {
	case err != nil && s.starting(), errors.Is(err, context.Canceled): // it ends with that, or has ended
	case err != nil:
		log.Error("a model could not be loaded, or not be given back in order", "model", model, "reason", err)
	case state == router.Unloaded:
		log.Info("unloaded", "model", model, "took", took.Round(time.Millisecond))
	}
}

// loadFirst loads what is in memory from the start.
func (c *serveCmd) loadFirst(ctx context.Context, list []served, s *service) error {
	first := len(list)
	if c.MaxLoadedModels > 0 {
		first = min(first, c.MaxLoadedModels)
	}
	for _, m := range list[:first] {
		err := s.models.Load().Load(ctx, m.name)
		var e *llm.Error
		if errors.As(err, &e) && e.Err != nil {
			return e.Err // the router's words are for clients
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printServed tells a person of several models.
func printServed(w io.Writer, list []served) {
	if len(list) == 1 {
		return
	}
	for _, m := range list {
		note := ""
		if !m.about.Chat {
			note = ", no chat template: chats must bring a chat_template"
		}
		fmt.Fprintf(w, "  %s: %s of weights%s\n", m.name, host.Bytes(m.about.Bytes), note)
	}
}
