package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/model"
	"weir/internal/weights"
)

type showCmd struct {
	modelOptions
	TemplateSource bool `name:"template" help:"Print the chat template and nothing else."`
	Tensors        bool `help:"List every tensor with its type and shape."`
}

// Run prints what is in the model's files.
func (c *showCmd) Run(io streams) error {
	f, err := c.openFile()
	if err != nil {
		return err
	}
	defer f.Close()
	config, err := model.Inspect(f)
	if err != nil {
		return err
	}
	if c.TemplateSource {
		if config.ChatTemplate == "" {
			return fmt.Errorf("%s has no chat template; serve it with --chat-template FILE", f.Name())
		}
		_, err := fmt.Fprint(io.out, config.ChatTemplate)
		return err
	}
	showConfig(io.out, f, config)
	if err := showMemory(io.out, f, config); err != nil {
		return err
	}
	if c.Tensors {
		for _, t := range f.Tensors() {
			fmt.Fprintf(io.out, "%-40s %-7s %v\n", t.Name, t.TypeName(), t.Shape)
		}
	}
	return nil
}

func showConfig(w io.Writer, f *weights.File, c model.Config) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("model", "%s", cmp.Or(c.Name, f.Name()))
	line("format", "%s, %s", f.Format(), plural(len(f.Paths()), "file", "embedded in weir"))
	line("family", "%s", c.Family)
	line("parameters", "%s in %d tensors, %s", count(c.Params), len(f.Tensors()), host.Bytes(c.Bytes))
	line("types", "%s", typeList(f))
	line("layers", "%d, width %d, feed-forward %d", c.Layers, c.Width, c.FFN)
	line("attention", "%d heads of %d, %d key-value heads%s", c.Heads, c.HeadDim, c.KVHeads, window(c))
	line("rope", "base %g%s", c.RopeTheta, scaling(c.Scaling))
	line("vocabulary", "%d%s", c.Vocab, tied(c))
	if t, err := engine.Tokenizer(f); err != nil {
		line("tokeniser", "can't be used: %v", err)
	} else {
		line("tokeniser", "%d tokens", t.VocabSize())
	}
	line("context", "%d tokens", c.Context)
	line("template", "%s", template(c))
}

func plural(n int, what, none string) string {
	switch n {
	case 0:
		return none
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func window(c model.Config) string {
	if c.Window == 0 {
		return ""
	}
	return fmt.Sprintf(", sliding window of %d", c.Window)
}

func scaling(s model.Scaling) string {
	switch {
	case s.Type == model.ScalingNone && s.Divisors:
		return ", scaled by a tensor of divisors"
	case s.Type == model.ScalingNone:
		return ""
	}
	return fmt.Sprintf(", %s scaling by %g", s.Type, s.Factor)
}

func tied(c model.Config) string {
	if c.TiedEmbeddings {
		return ", output tied to the embedding"
	}
	return ""
}

func template(c model.Config) string {
	if c.ChatTemplate == "" {
		return "none: chats need --chat-template FILE; completions work"
	}
	return fmt.Sprintf("%d lines (weir show --template prints it)", 1+strings.Count(strings.TrimRight(c.ChatTemplate, "\n"), "\n"))
}

// count writes a number of parameters as people say it.
func count(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f billion", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f million", float64(n)/1e6)
	}
	return fmt.Sprint(n)
}

// typeList names the tensors' types, those with most bytes first.
func typeList(f *weights.File) string {
	bytes, tensors := map[string]int64{}, map[string]int{}
	for _, t := range f.Tensors() {
		bytes[t.TypeName()] += int64(len(t.Data))
		tensors[t.TypeName()]++
	}
	names := slices.SortedFunc(maps.Keys(bytes), func(a, b string) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), cmp.Compare(a, b))
	})
	for i, n := range names {
		names[i] = fmt.Sprintf("%s (%d tensors, %s)", n, tensors[n], host.Bytes(bytes[n]))
	}
	return strings.Join(names, ", ")
}

// showMemory tells what serving takes, and whether this machine has it.
func showMemory(w io.Writer, f *weights.File, c model.Config) error {
	b, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer b.Close()
	m, err := model.Load(f, b, model.Options{})
	if err != nil {
		return err
	}
	for _, t := range []backend.KVType{backend.KVF16, backend.KVF32} {
		var token int64
		for _, g := range m.KVGroups() {
			token += g.TokenBytes(t)
		}
		fmt.Fprintf(w, "%-12s %s for the weights, and with an %s KV cache %s a token: %s for one sequence of %d\n",
			"memory", host.Bytes(c.Bytes), t, host.Bytes(token), host.Bytes(sequenceBytes(m.KVGroups(), t, c.Context)), c.Context)
	}
	have, err := host.New("/").Memory()
	if err != nil {
		fmt.Fprintf(w, "%-12s can't be told: %v\n", "this machine", err)
		return nil
	}
	fmt.Fprintf(w, "%-12s %s\n", "this machine", have)
	return nil
}

// sequenceBytes is what one sequence of n tokens holds, windows considered.
func sequenceBytes(groups []backend.KVGroup, t backend.KVType, n int) (sum int64) {
	for _, g := range groups {
		seen := n
		if g.Window > 0 {
			seen = min(n, g.Window)
		}
		sum += int64(seen) * g.TokenBytes(t)
	}
	return sum
}
