package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"weir/internal/host"
)

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// headings are the table's columns.
var headings = []string{"test", "tokens/s", "min – max", "ms", "GB/s", "of read", "GFLOP/s", "of peak", "floor ms", "overhead", "noise"}

// row is a result's line of the table.
func (res *Result) row() []string {
	noise := "ok"
	if res.Noisy {
		noise = "noisy"
	}
	floor := fmt.Sprintf("%s memory", number(res.Floor.MemoryMs))
	if res.Floor.ComputeMs > res.Floor.MemoryMs {
		floor = fmt.Sprintf("%s compute", number(res.Floor.ComputeMs))
	}
	return []string{
		res.Name, number(res.TokensPerSecond.Median), number(res.TokensPerSecond.Min) + " – " + number(res.TokensPerSecond.Max),
		number(res.StepMs.Median), number(res.GBps.Median), percent(res.ReadShare.Median), number(res.Gflops.Median), percent(res.PeakShare.Median),
		floor, fmt.Sprintf("%s (%s µs)", percent(res.Overhead.Share), number(res.Overhead.StepUs)), noise,
	}
}

// number writes three digits or a little more.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// millions writes a number of parameters.
func millions(n int64) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.2f billion", float64(n)/1e9)
	}
	return fmt.Sprintf("%.2f million", float64(n)/1e6)
}

func percent(share float64) string {
	if share < 0.1 {
		return fmt.Sprintf("%.1f%%", 100*share)
	}
	return fmt.Sprintf("%.0f%%", 100*share)
}

// facts are what stands above the table: name and value.
func (r *Report) facts() [][2]string {
	m, e, l := r.Model, r.Engine, r.Limits
	arithmetic := e.Level
	if e.Deterministic {
		arithmetic += ", deterministic"
	}
	return [][2]string{
		{"model", fmt.Sprintf("%s (%s), %s, %s parameters, %s, %s read a decode step", m.Name, m.Source, m.Quant, millions(m.Parameters), host.Bytes(m.Bytes), host.Bytes(m.StepBytes))},
		{"machine", fmt.Sprintf("%s, %d processors, %s/%s", r.Machine.Processor, r.Machine.Processors, r.Machine.OS, r.Machine.Arch)},
		{"device", e.Device},
		{"engine", fmt.Sprintf("weir %s, level %s, %d threads, %s KV cache in pages of %d, up to %d rows a step", r.Version, arithmetic, e.Threads, e.KVType, e.PageSize, e.BatchTokens)},
		{"memory", fmt.Sprintf("reads %s GB/s (%s – %s; %s, %s of random bytes)", number(l.ReadGBps.Median), number(l.ReadGBps.Min), number(l.ReadGBps.Max), l.ReadMethod, host.Bytes(l.ReadBytes))},
		{"arithmetic", fmt.Sprintf("%s GFLOP/s (%s – %s; %s)", number(l.Gflops.Median), number(l.Gflops.Min), number(l.Gflops.Max), l.ArithmeticMethod)},
		{"method", fmt.Sprintf("medians of %d rounds after one that warms up; decode: %d tokens after %d; %s", r.Settings.Repeat, r.Settings.Generate, r.Settings.Depth, r.Time)},
		{"cache", fmt.Sprintf("%d of %d prompt tokens were found in the prefix cache (%s)", r.PrefixCache.Hit, r.PrefixCache.Queried, percent(r.PrefixCache.Rate()))},
		{"others", r.Noise.String()},
	}
}

// String says what else ran.
func (n Noise) String() string {
	if n.OtherCPUs == nil {
		return "what other processes did is not known here, or the run was too short to tell"
	}
	s := fmt.Sprintf("took %.2f processors, the hypervisor %.2f", *n.OtherCPUs, *n.StolenCPUs)
	if n.LoadBefore != nil && n.LoadAfter != nil {
		s += fmt.Sprintf("; load average %.1f before, %.1f after", *n.LoadBefore, *n.LoadAfter)
	}
	if n.Noisy {
		s += "; some figures are NOISY"
	}
	return s
}

// notes are what stands below the table.
func (r *Report) notes() []string {
	var notes []string
	for _, res := range r.Results {
		if res.Noisy {
			notes = append(notes, fmt.Sprintf("%s is noisy: %s.", res.Name, res.NoisyReason))
		}
	}
	if s := r.Served; s != nil {
		notes = append(notes, fmt.Sprintf("%d streams through the server have %s of the engine's own speed (%s – %s) beside the same clients' work.",
			r.Settings.Served, percent(s.Median), percent(s.Min), percent(s.Max)))
	}
	if r.Structured != nil {
		notes = append(notes, r.Structured.String())
	}
	if r.Model.StepBytes < cacheSized {
		notes = append(notes, fmt.Sprintf("Weights of %s may stay in the processor's caches, so shares of the memory's bandwidth say little and may pass 100%%.", host.Bytes(r.Model.StepBytes)))
	}
	return notes
}

// cacheSized is how much some processors' caches hold.
const cacheSized = 512 << 20

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.facts() {
		fmt.Fprintf(&b, "%-11s %s\n", f[0], f[1])
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Results) > 0 {
		fmt.Fprintln(t, strings.Join(headings, "\t"))
	}
	for _, res := range r.Results {
		fmt.Fprintln(t, strings.Join(res.row(), "\t"))
	}
	t.Flush()
	for i, l := range r.Loads {
		if i == 0 {
			if len(r.Results) > 0 {
				fmt.Fprintln(t)
			}
			fmt.Fprintln(t, strings.Join(loadHeadings, "\t"))
		}
		fmt.Fprintln(t, strings.Join(l.row(), "\t"))
	}
	t.Flush()
	if r.Offline != nil {
		if len(r.Results)+len(r.Loads) > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "%s\n%s\n", strings.Join(offlineHeadings, "\t"), strings.Join(r.Offline.row(), "\t"))
	}
	t.Flush()
	for i, n := range r.notes() {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintln(&b, n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the report as a piece of a document.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	if r.Command != "" {
		fmt.Fprintf(&b, "`%s`\n\n", r.Command)
	}
	for _, f := range r.facts() {
		fmt.Fprintf(&b, "- %s: %s\n", f[0], f[1])
	}
	if len(r.Results) > 0 {
		fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(headings, " | "), strings.Repeat("---|", len(headings)))
	}
	for _, res := range r.Results {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(res.row(), " | "))
	}
	for i, l := range r.Loads {
		if i == 0 {
			fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(loadHeadings, " | "), strings.Repeat("---|", len(loadHeadings)))
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(l.row(), " | "))
	}
	if r.Offline != nil {
		fmt.Fprintf(&b, "\n| %s |\n|%s\n| %s |\n", strings.Join(offlineHeadings, " | "), strings.Repeat("---|", len(offlineHeadings)), strings.Join(r.Offline.row(), " | "))
	}
	for i, n := range r.notes() {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "- %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
