package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/chat"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/model"
	"weir/internal/weights"
)

type showCmd struct {
	modelArg
	TemplateSource bool `name:"template" help:"Print the chat template and nothing else." group:"Output"`
	Tensors        bool `help:"List every tensor with its type and shape too." group:"Output"`
	memoryOptions
}

// Help is printed by kong below the command's summary.
func (*showCmd) Help() string {
	return `The options under Engine are those of serve: with them, show tells what they would come to.

    weir show model.gguf
    weir show model.gguf --memory 8GiB --ctx 32768
    weir show --template model.gguf`
}

// Run prints what is in the model's files.
func (c *showCmd) Run(io streams) error {
	f, err := c.openFile(weights.Mmap, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.TemplateSource {
		return showTemplate(io.out, f)
	}
	var page strings.Builder
	known := c.describe(&page, f)
	if _, err := fmt.Fprint(io.out, page.String()); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return known
}

func showTemplate(w io.Writer, f *weights.File) error {
	config, err := model.Inspect(f)
	if err != nil {
		return err
	}
	if config.ChatTemplate == "" {
		return fmt.Errorf("%s has no chat template; serve it with --chat-template FILE or FORMAT", f.Name())
	}
	if _, err = fmt.Fprint(w, config.ChatTemplate); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// describe writes all that can be told. A model that weir can't run still has a
// file to describe; the error then says why it can't.
func (c *showCmd) describe(w io.Writer, f *weights.File) error {
	config, err := model.Inspect(f)
	showFile(w, f, config.Name)
	if err == nil {
		showConfig(w, f, config)
		err = c.showMemory(w, f, config.Context)
	}
	if c.Tensors {
		fmt.Fprintln(w)
		for _, t := range f.Tensors() {
			fmt.Fprintf(w, "%-40s %-7s %v\n", t.Name, t.TypeName(), t.Shape)
		}
	}
	return err
}

// item writes a line of the page.
func item(w io.Writer, name, format string, args ...any) {
	fmt.Fprintf(w, "%-11s  %s\n", name, fmt.Sprintf(format, args...))
}

func showFile(w io.Writer, f *weights.File, name string) {
	item(w, "model", "%s", cmp.Or(name, f.Name()))
	item(w, "format", "%s, %s, %d tensors, %s", f.Format(), plural(len(f.Paths()), "file", "embedded in weir"), len(f.Tensors()), host.Bytes(f.Bytes()))
	for i, t := range typeList(f) {
		item(w, []string{"types", ""}[min(i, 1)], "%s", t)
	}
}

func showConfig(w io.Writer, f *weights.File, c model.Config) {
	item(w, "family", "%s, %s parameters", c.Family, count(c.Params))
	item(w, "layers", "%d, width %d, feed-forward %d", c.Layers, c.Width, c.FFN)
	item(w, "attention", "%d heads of %d, %d key-value heads%s", c.Heads, c.HeadDim, c.KVHeads, window(c))
	item(w, "rope", "base %s%s", strconv.FormatFloat(c.RopeTheta, 'f', -1, 64), scaling(c.Scaling))
	item(w, "vocabulary", "%d%s", c.Vocab, tied(c))
	if t, err := engine.Tokenizer(f); err != nil {
		item(w, "tokeniser", "can't be used: %v", err)
	} else {
		item(w, "tokeniser", "%d tokens", t.VocabSize())
	}
	item(w, "context", "%d tokens", c.Context)
	item(w, "template", "%s", template(c))
	item(w, "sampling", "%s", sampling(f))
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
	in := ""
	if c.Windowed != nil {
		n := 0
		for _, w := range c.Windowed {
			if w {
				n++
			}
		}
		in = fmt.Sprintf(" in %d layers", n)
	}
	return fmt.Sprintf(", sliding window of %d%s", c.Window, in)
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
		return "none: chats need --chat-template FILE or FORMAT; completions work"
	}
	if _, err := chat.Parse(c.ChatTemplate); err != nil {
		return fmt.Sprintf("can't be used: %v; give another with --chat-template FILE or FORMAT", err)
	}
	lines := 1 + strings.Count(strings.TrimRight(c.ChatTemplate, "\n"), "\n")
	return plural(lines, "line", "") + " (weir show --template prints it)"
}

// sampling lists what the model's makers want where a request does not say.
func sampling(f *weights.File) string {
	d, err := model.Generation(f)
	if err != nil {
		return fmt.Sprintf("can't be read: %v", err)
	}
	var parts []string
	add := func(name string, v *float64) {
		if v != nil {
			parts = append(parts, fmt.Sprintf("%s %g", name, *v))
		}
	}
	if d.Sample != nil && !*d.Sample {
		parts = append(parts, "greedy")
	}
	add("temperature", d.Temperature)
	if d.TopK != nil {
		parts = append(parts, fmt.Sprintf("top-k %d", *d.TopK))
	}
	add("top-p", d.TopP)
	add("min-p", d.MinP)
	add("typical-p", d.TypicalP)
	add("repetition penalty", d.RepetitionPenalty)
	if d.MaxNewTokens != nil {
		parts = append(parts, fmt.Sprintf("at most %d tokens", *d.MaxNewTokens))
	}
	if parts == nil {
		return "no defaults in the file: temperature 1"
	}
	return strings.Join(parts, ", ") + " (the model's defaults)"
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
func typeList(f *weights.File) []string {
	bytes, tensors := map[string]int64{}, map[string]int{}
	for _, t := range f.Tensors() {
		bytes[t.TypeName()] += int64(len(t.Data))
		tensors[t.TypeName()]++
	}
	names := slices.SortedFunc(maps.Keys(bytes), func(a, b string) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), cmp.Compare(a, b))
	})
	for i, n := range names {
		names[i] = fmt.Sprintf("%s (%s, %s)", n, plural(tensors[n], "tensor", ""), host.Bytes(bytes[n]))
		if n == weights.F8E4M3.String() {
			names[i] += ", computed with as BF16"
		}
	}
	return names
}

// showMemory tells what serving takes for some lengths of context, and what
// this machine can serve.
func (c *showCmd) showMemory(w io.Writer, f *weights.File, longest int) error {
	b, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer b.Close()
	options, err := c.loadOptions(host.New("/"))
	if err != nil {
		return err
	}
	options.Backend = b
	need, err := engine.Measure(f, options)
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	item(w, "memory", "weights %s, activations and logits %s, and the KV cache:", host.Bytes(need.ModelBytes), host.Bytes(need.Scratch))
	kvTypes := []backend.KVType{backend.KVF16, backend.KVQ8, backend.KVQ4, backend.KVF32}
	fmt.Fprintf(w, "%13s%10s", "", "context")
	for _, t := range kvTypes {
		fmt.Fprintf(w, "%17s", "in all, "+t.String()+" KV")
	}
	fmt.Fprintln(w)
	for _, n := range contexts(longest, c.Ctx) {
		fmt.Fprintf(w, "%13s%10d", "", n)
		for _, need.KVType = range kvTypes {
			fmt.Fprintf(w, "%17s", host.Bytes(need.Needs(n)))
		}
		fmt.Fprintln(w)
	}
	need.KVType = options.KVType
	item(w, "budget", "%s, %s", host.Bytes(need.Budget), need.BudgetFrom)
	plan, err := engine.PlanMemory(need)
	if err != nil {
		item(w, "within it", "%v", err)
		return nil
	}
	item(w, "within it", "a context of %d with an %s KV cache: %s", plan.Context, need.KVType, atOnce(plan))
	return nil
}

func atOnce(p engine.MemoryPlan) string {
	if p.Sequences < 2 {
		return "one sequence of that length at a time, or shorter ones together"
	}
	return fmt.Sprintf("%d sequences of that length at once", int(p.Sequences))
}

// contexts are lengths worth showing: some on the way to the longest, that
// itself, and what the user asks about.
func contexts(longest, asked int) []int {
	list := []int{longest}
	for n := 1 << 20; n >= 256 && len(list) < 4; n /= 4 {
		if n < longest {
			list = append(list, n)
		}
	}
	if asked > 0 {
		list = append(list, asked)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
