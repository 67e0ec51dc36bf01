package sched

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/kv"
)

var rewrite = flag.Bool("rewrite", false, "write the plans that the scheduler makes into testdata")

// TestScripts runs testdata/*.txt: lines of commands, each step followed by the
// plan it must print. See world.do for the commands.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *rewrite {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("plans differ; run with -rewrite and look at the diff. got:\n%s", got)
			}
		})
	}
}

// runScript repeats the script's commands and puts the plans it gets under each.
func runScript(t *testing.T, script string) string {
	var out strings.Builder
	w := &world{t: t, names: map[*Seq]string{}, seqs: map[string]*Seq{}}
	for lines := bufio.NewScanner(strings.NewReader(script)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue // an expected plan
		}
		fmt.Fprintln(&out, line)
		if line != "" && line[0] != '#' {
			out.WriteString(w.do(strings.Fields(line)))
		}
	}
	return out.String()
}

// world is a scheduler with a pretended engine: every sequence that has been
// computed to its end generates a token a step until it is removed.
type world struct {
	t      *testing.T
	limits Limits
	cache  *kv.Cache
	s      *Scheduler
	names  map[*Seq]string
	seqs   map[string]*Seq
	next   uint64
}

func (w *world) do(cmd []string) string {
	opt := map[string]int{}
	for _, o := range cmd[1:] {
		if k, v, ok := strings.Cut(o, "="); ok {
			opt[k], _ = strconv.Atoi(v)
		}
	}
	switch cmd[0] {
	case "limits": // limits tokens= running= logits= page= pages= window= cache=1
		w.limits = Limits{BatchTokens: opt["tokens"], Running: opt["running"], LogitRows: max(opt["logits"], opt["running"])}
		if err := w.limits.Validate(); err != nil {
			w.t.Fatal(err)
		}
		w.cache = kv.New(opt["page"], []kv.Group{{Pages: opt["pages"], Window: opt["window"]}})
		if opt["cache"] == 1 {
			w.cache.EnablePrefixCache(kv.PrefixOptions{})
		}
		w.s = New(w.limits, w.cache)
	case "add": // add NAME prompt= prio= logits=1, caller= share=, or, to share prefixes, text=a*40,b*8
		w.next++
		var tokens []int32
		for _, o := range cmd[2:] {
			if text, ok := strings.CutPrefix(o, "text="); ok {
				tokens = spell(text)
				opt["prompt"] = len(tokens)
			}
		}
		q := &Seq{Tokens: tokens, Priority: opt["prio"], Arrival: w.next, Length: opt["prompt"], Prompt: opt["prompt"], AllLogits: opt["logits"] == 1, Share: opt["share"]}
		if n := opt["caller"]; n > 0 {
			q.Caller = fmt.Sprint(n)
		}
		w.seqs[cmd[1]], w.names[q] = q, cmd[1]
		w.s.Add(q)
	case "remove":
		w.s.Remove(w.seqs[cmd[1]])
		delete(w.seqs, cmd[1])
	case "fork": // fork CHILD PARENT: as after the parent's prompt
		w.next++
		parent := w.seqs[cmd[2]]
		child := &Seq{Arrival: w.next, Length: parent.Prompt, Prompt: parent.Prompt}
		w.seqs[cmd[1]], w.names[child] = child, cmd[1]
		copies, ok := w.s.Fork(child, parent, parent.Prompt-1)
		return fmt.Sprintf("  forked %v, %d cells to copy\n", ok, len(copies))
	case "step":
		return w.step()
	default:
		w.t.Fatalf("unknown command %q", cmd)
	}
	return ""
}

// spell makes tokens of letters with counts.
func spell(text string) []int32 {
	var tokens []int32
	for part := range strings.SplitSeq(text, ",") {
		letter, times, _ := strings.Cut(part, "*")
		n, _ := strconv.Atoi(times)
		for range n {
			tokens = append(tokens, int32(letter[0]))
		}
	}
	return tokens
}

// generate gives a sequence its next token.
func (q *Seq) generate() {
	q.Length++
	if q.Tokens != nil {
		q.Tokens = append(q.Tokens, int32('.'))
	}
}

func (w *world) step() string {
	var out strings.Builder
	p := w.s.Next()
	for _, q := range p.Preempted {
		fmt.Fprintf(&out, "  preempted %s\n", w.names[q])
	}
	for _, i := range p.Items {
		fmt.Fprintf(&out, "  %s [%d,%d)\n", w.names[i.Seq], i.From, i.To)
	}
	w.settle(p)
	fmt.Fprintf(&out, "  waiting %d, running %d, free pages %d\n", w.s.Waiting(), w.s.RunningSeqs(), w.cache.FreePages(0))
	return out.String()
}

func (w *world) settle(p *Plan) {
	for _, i := range p.Items {
		w.s.Advance(i)
		if i.Seq.Remaining() == 0 {
			i.Seq.generate()
		}
		if held := i.Draft / 2; held > 0 { // half of the guesses come true
			for range held {
				i.Seq.generate()
			}
			w.s.Advance(Item{Seq: i.Seq, From: i.To, To: i.To + held})
		}
	}
}

func (w *world) check() {
	var holders []*kv.Seq
	for _, q := range w.seqs {
		holders = append(holders, &q.KV)
	}
	if err := w.cache.Check(holders); err != nil {
		w.t.Fatal(err)
	}
}

// TestRandom runs random loads under a shortage of pages and checks every plan:
// within its limits, no row computed twice or skipped, the oldest of the
// highest priority always advances, everybody ends.
func TestRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 60 {
		randomLoad(t, rng)
	}
}

func randomLoad(t *testing.T, rng *rand.Rand) {
	const longest = 60
	page, running := 1<<rng.IntN(5), 1+rng.IntN(8)
	l := Limits{BatchTokens: running + rng.IntN(40), Running: running, LogitRows: running + rng.IntN(8)}
	window := 0
	if rng.IntN(3) == 0 {
		window = 1 + rng.IntN(30)
	}
	pages := (longest+page-1)/page + 2 + rng.IntN(20)
	w := &world{t: t, limits: l, names: map[*Seq]string{}, seqs: map[string]*Seq{}}
	w.cache = kv.New(page, []kv.Group{{Pages: pages}, {Pages: pages, Window: window}})
	cached := w.cache.EnablePrefixCache(kv.PrefixOptions{OneClass: true}) // not with a window
	w.s = New(l, w.cache)
	left := map[*Seq]int{} // the length at which it ends
	for step := 0; step < 4000; step++ {
		if step < 100 && rng.IntN(3) == 0 {
			name := fmt.Sprint("r", step)
			prompt := 1 + rng.IntN(longest-10)
			what := fmt.Sprint("prompt=", prompt)
			if cached {
				what = fmt.Sprintf("text=%c*%d,%c*%d", 'a'+rune(rng.IntN(3)), prompt, 'x'+rune(rng.IntN(2)), rng.IntN(longest-10-prompt+1))
			}
			w.do([]string{"add", name, what, fmt.Sprint("prio=", rng.IntN(3)), fmt.Sprint("logits=", rng.IntN(2)),
				fmt.Sprint("caller=", rng.IntN(3)), fmt.Sprint("share=", rng.IntN(3))})
			prompt = w.seqs[name].Prompt
			left[w.seqs[name]] = prompt + 1 + rng.IntN(10)
		}
		w.checkedStep(left, rng)
		if step >= 100 && len(w.seqs) == 0 {
			break
		}
	}
	if len(w.seqs) > 0 {
		t.Fatalf("%d sequences never ended: limits %+v page %d pages %d", len(w.seqs), l, page, pages)
	}
	for g := range 2 {
		if w.cache.FreePages(g) != w.cache.Pages(g) {
			t.Fatal("pages leaked")
		}
	}
}

func (w *world) checkedStep(left map[*Seq]int, rng *rand.Rand) {
	t := w.t
	for q := range left {
		q.Draft = rng.IntN(4)
	}
	p := w.s.Next()
	w.checkPlan(p)
	w.check()
	w.settle(p)
	for q, end := range left {
		if q.Length >= end && q.Remaining() == 1 || rng.IntN(200) == 0 {
			w.s.Remove(q)
			delete(w.seqs, w.names[q])
			delete(left, q)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func (w *world) checkPlan(p *Plan) {
	tokens, logits := 0, 0
	for _, i := range p.Items {
		if i.From != i.Seq.Computed || i.To <= i.From || i.To > i.Seq.Length || i.Seq.KV.Cells() < i.To+i.Draft || i.Draft > 0 && i.To != i.Seq.Length {
			w.t.Errorf("item %s [%d,%d) with %d computed of %d, %d cells", w.names[i.Seq], i.From, i.To, i.Seq.Computed, i.Seq.Length, i.Seq.KV.Cells())
		}
		if slices.Contains(p.Preempted, i.Seq) {
			w.t.Errorf("%s is preempted and planned", w.names[i.Seq])
		}
		tokens += i.To - i.From + i.Draft
		logits += logitRows(i.Seq, i.To-i.From) + i.Draft
	}
	for _, q := range w.s.waiting {
		if q.overtaken > maxOvertaken {
			w.t.Errorf("%s was overtaken %d times", w.names[q], q.overtaken)
		}
	}
	if tokens > w.limits.BatchTokens || logits > w.limits.LogitRows || w.s.RunningSeqs() > w.limits.Running {
		w.t.Errorf("%d tokens, %d logits, %d running exceed %+v", tokens, logits, w.s.RunningSeqs(), w.limits)
	}
	if len(w.s.running) > 0 && !slices.ContainsFunc(p.Items, func(i Item) bool { return i.Seq == w.s.running[0] }) && tokens < w.limits.BatchTokens && logits < w.limits.LogitRows {
		w.t.Errorf("the oldest sequence %s did not advance", w.names[w.s.running[0]])
	}
	if len(w.seqs) > 0 && len(p.Items) == 0 && len(p.Preempted) == 0 {
		w.t.Errorf("nothing planned with %d sequences", len(w.seqs))
	}
}

func TestLimitsValidate(t *testing.T) {
	for _, l := range []Limits{{}, {BatchTokens: 1}, {BatchTokens: 1, Running: 2, LogitRows: 2}, {BatchTokens: 4, Running: 4, LogitRows: 3}} {
		if l.Validate() == nil {
			t.Errorf("%+v passes", l)
		}
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	cache := kv.New(16, []kv.Group{{Pages: 100}})
	s := New(Limits{BatchTokens: 64, Running: 8, LogitRows: 8}, cache)
	for i := range 8 {
		s.Add(&Seq{Arrival: uint64(i), Length: 3, Prompt: 3})
	}
	step := func() {
		p := s.Next()
		for _, i := range p.Items {
			s.Advance(i)
			i.Seq.Length++
		}
	}
	step()
	step()
	// A page every 16 steps is appended to a table; 10 steps stay within one.
	if a := testing.AllocsPerRun(10, step); a > 0 {
		t.Fatalf("%v allocations a step", a)
	}
}
