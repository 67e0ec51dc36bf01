package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// CacheReport is what a load came to on each target.
type CacheReport struct {
	Schema   int           `json:"schema"`
	Version  string        `json:"version"`
	Time     string        `json:"time"`
	Command  string        `json:"command"`
	Settings CacheSettings `json:"settings"`
	Machine  string        `json:"machine"`
	Results  []CacheResult `json:"results"`
	// OtherCPUs are the processors that other programs took, the servers among them.
	OtherCPUs *float64 `json:"other_cpus"`
}

// CacheResult is a target's. Summaries are over the rounds.
type CacheResult struct {
	Target
	TTFT    Summary `json:"ttft_ms"`     // a round's median
	TTFT95  Summary `json:"ttft_p95_ms"` // a round's 95th percentile
	Seconds Summary `json:"seconds"`     // from a round's first request to its last token
	// CPU is the processor time of the server's process in a round, nil if it does
	// not tell (as process_cpu_seconds_total in its /metrics).
	CPU *Summary `json:"cpu_seconds"`
	// Cached is the share of prompt tokens that the server had cached, nil if it
	// does not tell.
	Cached *float64 `json:"cached"`
	// The ratios compare with the first target, round by round. CPURatio is nil where
	// one of the two does not tell.
	TTFTRatio    Ratio  `json:"ttft_ratio"`
	SecondsRatio Ratio  `json:"seconds_ratio"`
	CPURatio     *Ratio `json:"cpu_ratio"`
}

// Ratio is a median of ratios with its 95 % interval.
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func (r *cacheRun) report(d disturbance) *CacheReport {
	others, _ := d.CPUs()
	report := &CacheReport{
		Schema: 1, Version: r.Version, Time: time.Now().UTC().Format(time.RFC3339), Command: r.Command,
		Settings: r.CacheSettings, Machine: processorName(), OtherCPUs: others,
	}
	base := column(r.rounds[0])
	for i, rounds := range r.rounds {
		c := column(rounds)
		res := CacheResult{Target: r.Targets[i], TTFT: Summarize(c.ttft), TTFT95: Summarize(c.ttft95), Seconds: Summarize(c.seconds)}
		res.TTFTRatio, res.SecondsRatio = ratios(c.ttft, base.ttft), ratios(c.seconds, base.seconds)
		if c.cpuTold() {
			s := Summarize(c.cpu)
			res.CPU = &s
		}
		if c.cpuTold() && base.cpuTold() {
			ratio := ratios(c.cpu, base.cpu)
			res.CPURatio = &ratio
		}
		if c.told && c.prompt > 0 {
			share := float64(c.cached) / float64(c.prompt)
			res.Cached = &share
		}
		report.Results = append(report.Results, res)
	}
	return report
}

// columns are a target's figures, by round.
type columns struct {
	ttft, ttft95, seconds, cpu []float64
	prompt, cached             int
	told                       bool
}

// cpuTold tells whether the server told its processor time, around every round.
func (c columns) cpuTold() bool {
	return !slices.ContainsFunc(c.cpu, func(v float64) bool { return math.IsNaN(v) || v <= 0 })
}

func column(rounds []round) columns {
	c := columns{told: true}
	for _, r := range rounds {
		v := sorted(r.ttfts)
		c.ttft, c.ttft95 = append(c.ttft, quantile(v, 0.5)), append(c.ttft95, quantile(v, 0.95))
		c.seconds, c.cpu = append(c.seconds, r.took.Seconds()), append(c.cpu, r.cpu)
		c.prompt, c.cached, c.told = c.prompt+r.prompt, c.cached+r.cached, c.told && r.told
	}
	return c
}

// ratios compares rounds pairwise. The interval is that of the median over
// resampled rounds (a bootstrap); with few rounds it spans them all.
func ratios(a, b []float64) Ratio {
	each := make([]float64, len(a))
	for i := range a {
		each[i] = a[i] / b[i]
	}
	const samples = 2000
	random, medians := newGenerator("bootstrap", 0), make([]float64, samples)
	again := make([]float64, len(each))
	for i := range medians {
		for j := range again {
			again[j] = each[random.next()>>33%uint64(len(each))]
		}
		medians[i] = quantile(sorted(again), 0.5)
	}
	slices.Sort(medians)
	return Ratio{quantile(sorted(each), 0.5), quantile(medians, 0.025), quantile(medians, 0.975)}
}

// String writes the ratio and its interval.
func (r Ratio) String() string { return fmt.Sprintf("%.3f (%.3f–%.3f)", r.Median, r.Low, r.High) }

// WriteJSON writes the report for programs.
func (r *CacheReport) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

var cacheHeadings = []string{"target", "TTFT ms", "min – max", "p95 ms", "seconds", "min – max", "CPU s", "cached", "TTFT ratio", "time ratio", "CPU ratio"}

func (c *CacheResult) row() []string {
	const untold = "not told"
	cached, cpu, ratio := untold, untold, untold
	if c.Cached != nil {
		cached = percent(*c.Cached)
	}
	if c.CPU != nil {
		cpu = number(c.CPU.Median)
	}
	if c.CPURatio != nil {
		ratio = c.CPURatio.String()
	}
	span := func(s Summary) string { return number(s.Min) + " – " + number(s.Max) }
	return []string{c.Name, number(c.TTFT.Median), span(c.TTFT), number(c.TTFT95.Median), number(c.Seconds.Median), span(c.Seconds), cpu, cached, c.TTFTRatio.String(), c.SecondsRatio.String(), ratio}
}

// facts are what stands above the table.
func (r *CacheReport) facts() []string {
	s := r.Settings
	work := map[Load]string{
		SharedLoad: fmt.Sprintf("%d requests at once of %d tokens in common and %d of their own, %d each, after one that warms; %d tokens of output", s.Clients, s.Shared, s.Tail, s.Turns, s.Output),
		ChatLoad:   fmt.Sprintf("%d conversations at once of %d turns; %d tokens in common, %d of each turn, %d of each answer", s.Clients, s.Turns, s.Shared, s.Tail, s.Output),
		UniqueLoad: fmt.Sprintf("%d clients, %d requests each, of %d tokens that nobody else sends; %d tokens of output", s.Clients, s.Turns, s.Shared+s.Tail, s.Output),
	}[s.Load]
	return []string{
		"load: " + work,
		fmt.Sprintf("medians of %d rounds, targets in turns; ratios to %s by round, with 95 %% intervals; %s, %s", s.Repeat, r.Results[0].Name, r.Machine, r.Time),
	}
}

// WriteText writes the report for people.
func (r *CacheReport) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.facts() {
		fmt.Fprintln(&b, f)
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(cacheHeadings, "\t"))
	for _, res := range r.Results {
		fmt.Fprintln(t, strings.Join(res.row(), "\t"))
	}
	t.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the report as a piece of a document.
func (r *CacheReport) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`\n\n", r.Command)
	for _, f := range r.facts() {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(cacheHeadings, " | "), strings.Repeat("---|", len(cacheHeadings)))
	for _, res := range r.Results {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(res.row(), " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
