package sched

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestGateScript runs testdata/gate/gate.txt: lines of commands, each followed by
// what it must print.
func TestGateScript(t *testing.T) {
	const file = "testdata/gate/gate.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := &gateWorld{in: map[string]Demand{}}
	for lines := bufio.NewScanner(strings.NewReader(string(want))); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line != "" && line[0] != '#' {
			fmt.Fprintln(&out, "  "+w.do(t, strings.Fields(line)))
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if out.String() != string(want) {
		t.Errorf("got:\n%s", out.String())
	}
}

type gateWorld struct {
	g  *Gate
	in map[string]Demand
}

func (w *gateWorld) do(t *testing.T, cmd []string) string {
	at, d := 0, Demand{}
	for _, o := range cmd[1:] {
		for name, to := range map[string]*int{"at": &at, "places": &d.Places, "tokens": &d.Tokens, "share": &d.Share} {
			if v, ok := strings.CutPrefix(o, name+"="); ok {
				if _, err := fmt.Sscan(v, to); err != nil {
					t.Fatal(err)
				}
			}
		}
		if v, ok := strings.CutPrefix(o, "caller="); ok {
			d.Caller = v
		}
	}
	now := time.Duration(at) * time.Second
	var r *Refusal
	switch cmd[0] {
	case "limits":
		w.g = NewGate(GateLimits{Places: d.Places, Tokens: d.Tokens})
	case "enter":
		if r = w.g.Enter(now, d); r == nil {
			w.in[cmd[1]] = d
		}
	case "computed":
		held := w.in[cmd[1]]
		w.g.Computed(now, held.Caller, held.Tokens)
		held.Tokens = 0
		w.in[cmd[1]] = held
	case "settle":
		held := w.in[cmd[1]]
		r = w.g.Settle(now, held.Caller, held.Tokens, d.Tokens)
		held.Tokens = d.Tokens
		w.in[cmd[1]] = held
	case "leave":
		w.g.Leave(now, w.in[cmd[1]])
		delete(w.in, cmd[1])
	default:
		t.Fatalf("unknown command %q", cmd)
	}
	places, tokens := w.g.In()
	state := fmt.Sprintf("in: %d places, %d tokens", places, tokens)
	if r != nil {
		return fmt.Sprintf("refused: %s, come in %v; %s", r.Reason, r.Wait, state)
	}
	return state
}

// TestGateRandom compares random traffic with plain sums: what is in never
// exceeds the limits unless it came alone, and nothing is left when all have
// gone.
func TestGateRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	l := GateLimits{Places: 20, Tokens: 500}
	g := NewGate(l)
	var in []Demand
	now := time.Duration(0)
	for range 20000 {
		now += time.Duration(rng.IntN(1000)) * time.Millisecond
		if len(in) > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(len(in))
			if d := &in[i]; rng.IntN(3) == 0 {
				g.Computed(now, d.Caller, d.Tokens)
				d.Tokens = 0
				continue
			}
			g.Leave(now, in[i])
			in = append(in[:i], in[i+1:]...)
			continue
		}
		d := Demand{Caller: fmt.Sprint(rng.IntN(4)), Share: rng.IntN(3), Places: 1 + rng.IntN(5), Tokens: rng.IntN(200)}
		r := g.Enter(now, d)
		if r == nil {
			in = append(in, d)
		} else if r.Wait < 0 || r.Wait > longestWait {
			t.Fatalf("come in %v", r.Wait)
		}
		places, tokens := 0, 0
		for _, d := range in {
			places += d.Places
			tokens += d.Tokens
		}
		if p, k := g.In(); p != places || k != tokens || p > l.Places && len(in) > 1 || k > l.Tokens {
			t.Fatalf("the gate counts %d places and %d tokens, there are %d and %d of %+v", p, k, places, tokens, l)
		}
	}
	for _, d := range in {
		g.Leave(now, d)
	}
	g.Leave(now+2*remembered, Demand{})
	if p, k := g.In(); p != 0 || k != 0 {
		t.Errorf("%d places and %d tokens are left of nobody", p, k)
	}
}

// TestGateSharesUnderLoad lets a greedy caller and a modest one knock in turn
// while places become free: once the modest one is known it finds room.
func TestGateSharesUnderLoad(t *testing.T) {
	g := NewGate(GateLimits{Places: 100, Tokens: 1 << 20})
	one := func(caller string) Demand { return Demand{Caller: caller, Places: 1, Tokens: 10} }
	greedy, modest, refused := 0, 0, 0
	for round := range 1000 {
		now := time.Duration(round) * 10 * time.Millisecond
		for range 50 {
			if g.Enter(now, one("greedy")) == nil {
				greedy++
			}
		}
		if g.Enter(now, one("modest")) == nil {
			modest++
		} else if round > 10 {
			refused++
		}
		if greedy > 0 {
			g.Leave(now, one("greedy"))
			greedy--
		}
		if modest > 5 {
			g.Leave(now, one("modest"))
			modest--
		}
	}
	if refused > 20 {
		t.Errorf("the modest caller was refused %d times of 1000", refused)
	}
}

func TestGateLimitsValidate(t *testing.T) {
	for _, l := range []GateLimits{{}, {Places: 1}, {Tokens: 1}} {
		if l.Validate() == nil {
			t.Errorf("%+v passes", l)
		}
	}
}
