package model

import (
	"fmt"
	"math"

	"weir/internal/backend"
	"weir/internal/weights"
)

// Model is a model bound to a backend's memory. Its weights stay valid until
// the backend is closed; on a CPU they lie in the file.
type Model interface {
	Config() Config

	// KVGroups lists the layers by geometry and window. The caller keeps pages
	// for each group, and makes the KV cache from them in this order.
	KVGroups() []backend.KVGroup

	// Plan adds the activations of a forward pass to p, once, before the Stream
	// is made from it.
	Plan(p *backend.Plan)

	// Forward runs s's current batch: it stores the rows' keys and values and
	// leaves the logits of the wanted rows for s.Wait. It allocates nothing. s
	// must have been made from the plan.
	Forward(s backend.Stream)
}

// Hidden is a Model whose hidden states can be had, for heads trained on them.
type Hidden interface {
	// Last is the activation that the output matrix is multiplied with: of the
	// wanted rows, after the last norm. It can be read once Forward is done.
	Last() backend.Act
	// Tap has Forward keep, from the next Plan on, what enters those layers, counted
	// from 0; the number of layers names what leaves the last one. The stream must
	// be a backend.HostActs.
	Tap(layers []int)
	// Taps are those activations: a row for each row of the batch.
	Taps() []backend.Act
	Ends() Ends
}

// Ends are what heads share with the model that they belong to.
type Ends struct {
	Embedding backend.Weight // [vocab, width]
	Norm      backend.Weight // [width]
	Output    backend.Weight // [vocab, width]
	Eps       float32
}

// Options are the choices of Load. The zero value takes everything from the
// file.
type Options struct {
	// Scaling replaces the file's rope scaling, as users do to reach a longer
	// context than the file says; nil keeps it. With YaRN, Context grows to what
	// the factor gives.
	Scaling *Scaling
}

// family is a kind of model that weir runs.
type family struct {
	name string // model_type of config.json
	arch string // general.architecture of a GGUF; "" if that has none of its own
	hf   func(fields, *Config)
	gguf func(keys, *Config)
	bind func(*binder, Config) Model
}

func families() []family {
	return []family{
		{"llama", "llama", llamaHF, llamaGGUF, bindLlama},
		{"mistral", "", mistralHF, nil, bindMistral}, // as a GGUF it is a llama
		{"qwen2", "qwen2", qwen2HF, qwen2GGUF, bindQwen2},
		{"qwen3", "qwen3", qwen3HF, qwen3GGUF, bindQwen3},
	}
}

// Families lists the families that weir runs.
func Families() []string {
	var names []string
	for _, f := range families() {
		names = append(names, f.name)
	}
	return names
}

func familyOf(is func(family) bool) (family, bool) {
	for _, f := range families() {
		if is(f) {
			return f, true
		}
	}
	return family{}, false
}

// Inspect reads a model's configuration. It reads no tensor's data.
func Inspect(f *weights.File) (Config, error) {
	c, _, err := inspect(f)
	return c, err
}

func inspect(f *weights.File) (Config, family, error) {
	read := inspectGGUF
	if f.Format() == weights.HF {
		read = inspectHF
	}
	c, fam, err := read(f)
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return Config{}, family{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	c.reach()
	c.measure(f)
	return c, fam, nil
}

// reach widens a context that YaRN stretches and the file does not count in, as
// happens when the scaling is added by hand to a model's own configuration.
func (c *Config) reach() {
	if s := c.Scaling; s.Type == ScalingYaRN {
		c.Context = max(c.Context, int(min(s.Factor*float64(s.OriginalContext), math.MaxInt32)))
	}
}

// measure counts the tensors.
func (c *Config) measure(f *weights.File) {
	matrices := map[string]int64{}
	for _, t := range f.Tensors() {
		c.Params += int64(t.Rows()) * int64(t.Cols())
		c.Bytes += int64(len(t.Data))
		if t.Type == weights.F8E4M3 {
			c.Bytes += int64(len(t.Data)) // computed with as BF16
		}
		if len(t.Shape) > 1 {
			matrices[t.TypeName()] += int64(len(t.Data))
		}
	}
	for name, n := range matrices {
		most := matrices[c.Quant]
		if n > most || n == most && name < c.Quant {
			c.Quant = name
		}
	}
}

// Load binds a model's tensors to a backend. An error names the tensor or key
// at fault, what was expected and what to do. f must stay open until the
// backend is closed.
func Load(f *weights.File, b backend.Backend, o Options) (Model, error) {
	c, fam, err := inspect(f)
	if err != nil {
		return nil, err
	}
	if o.Scaling != nil {
		if err := o.Scaling.validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		c.Scaling = *o.Scaling
		c.reach()
	}
	bind := newBinder(f, b)
	bind.float8Block = c.Float8Block
	if o.Scaling != nil {
		bind.used["rope_freqs.weight"] = true // replaced, too
	}
	m := fam.bind(bind, c)
	if bind.leftovers(); bind.err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), bind.err)
	}
	return m, nil
}
