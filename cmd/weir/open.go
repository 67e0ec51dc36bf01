package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/builtin"
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
	backend backend.Backend
	threads int
}

// close ends the engine, then frees what it used.
func (o *opened) close() error {
	return errors.Join(o.engine.Close(), o.backend.Close(), o.file.Close())
}

// open loads a model and starts an engine on it, to be asked for by a name; ""
// is the file's.
func open(m modelOptions, e engineOptions, name string, log *slog.Logger) (*opened, error) {
	began := time.Now()
	f, err := m.openFile()
	if err != nil {
		return nil, err
	}
	log.Debug("model file open", "files", f.Paths(), "bytes", f.Bytes(), "took", time.Since(began))
	o := &opened{file: f}
	if err := o.start(m, e, cmp.Or(name, m.id())); err != nil {
		f.Close()
		return nil, err
	}
	log.Debug("engine started", "threads", o.threads, "took", time.Since(began))
	return o, nil
}

func (o *opened) start(m modelOptions, e engineOptions, name string) error {
	machine := host.New("/")
	options, err := loadOptions(machine, m, e)
	if err != nil {
		return err
	}
	if o.threads, err = threads(machine, e.Threads); err != nil {
		return err
	}
	if o.backend, err = cpu.New(cpu.Options{Threads: o.threads}); err != nil {
		return err
	}
	options.Backend, options.ID = o.backend, name
	if o.engine, o.plan, err = engine.Load(o.file, options); err != nil {
		return errors.Join(err, o.backend.Close())
	}
	return nil
}

// openFile opens the model that the options name, or the built-in one.
func (m modelOptions) openFile() (*weights.File, error) {
	if m.Model == "" {
		return weights.OpenBytes(builtin.Name, builtin.Model())
	}
	load := weights.Mmap
	if m.Load == "read" {
		load = weights.Read
	}
	f, err := weights.Open(m.Model, weights.Options{Load: load})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no such file or folder; give a .gguf file or a Hugging Face checkpoint's folder, or leave it out for the built-in model", m.Model)
	}
	return f, err
}

// id is the name under which the model is served: the file's, without what
// every file has.
func (m modelOptions) id() string {
	if m.Model == "" {
		return builtin.Name
	}
	name := filepath.Base(filepath.Clean(m.Model))
	return strings.TrimSuffix(strings.TrimSuffix(name, ".gguf"), ".safetensors")
}

func (m modelOptions) template() (string, error) {
	if m.ChatTemplate == "" {
		return "", nil
	}
	source, err := os.ReadFile(m.ChatTemplate)
	if err != nil {
		return "", fmt.Errorf("reading the chat template: %w", err)
	}
	return string(source), nil
}

func loadOptions(machine *host.Host, m modelOptions, e engineOptions) (engine.LoadOptions, error) {
	source, err := m.template()
	if err != nil {
		return engine.LoadOptions{}, err
	}
	budget, from, err := e.Memory.budget(machine)
	if err != nil {
		return engine.LoadOptions{}, err
	}
	kvType, err := backend.ParseKVType(e.KVType)
	if err != nil {
		return engine.LoadOptions{}, err
	}
	return engine.LoadOptions{
		Template: source,
		Budget:   budget, BudgetFrom: from,
		Context: e.Ctx, KVType: kvType, PageSize: e.PageSize,
		Limits:   sched.Limits{BatchTokens: e.BatchTokens, Running: e.MaxRunning},
		MaxQueue: e.MaxQueue, StallAfter: stallAfter,
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
	if m.share == 0 {
		return m.bytes, fmt.Sprintf("as --memory says; %s", have), nil
	}
	return int64(m.share * float64(have.Available())), fmt.Sprintf("%.0f%% of %s", m.share*100, have), nil
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
