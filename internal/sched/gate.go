package sched

import (
	"fmt"
	"time"
)

// Gate decides who is let in: it bounds the sequences that are accepted and not
// yet answered, and the tokens of prompts that are accepted and not yet
// computed. It counts; it holds nobody. Times are handed in, and only grow. A
// Gate is not safe for concurrent use.
//
// A caller may not take all. While others are here, or were turned away a moment
// ago, it gets at most greed times the room that is then left, by its share: with
// one that takes all it can get, a fifth stays free for the others, and as many
// as do so end up with equal parts. (The usual dynamic threshold of shared
// buffers. Fixed quotas would waste what nobody else asks for.)
type Gate struct {
	limits  GateLimits
	in      Demand // the sum of all
	callers map[string]*guest
	left    meter // sequences that ended
	done    meter // tokens of prompts that were computed
	busy    time.Duration
	last    time.Duration
	owed    int // sequences that were told to come again, and not yet been made up for
	owedTok int
}

// GateLimits bound a gate.
type GateLimits struct {
	Places int // sequences
	Tokens int // of prompts, not yet computed
}

// Validate tells what is wrong with l.
func (l GateLimits) Validate() error {
	if l.Places < 1 || l.Tokens < 1 {
		return fmt.Errorf("a gate for %d sequences and %d tokens lets nobody in", l.Places, l.Tokens)
	}
	return nil
}

// Demand is what a request takes.
type Demand struct {
	Caller string
	Share  int // 0 is 1
	Places int
	Tokens int
}

// guest is what a caller holds.
type guest struct {
	places, tokens int
	refused        time.Duration // when last; 0: not since it was forgotten
}

// Refusal says why a request is not let in.
type Refusal struct {
	Reason Reason
	// Wait is when there may be room, by the rate at which there became some
	// lately. 0: nothing has ended yet, so that it is not known.
	Wait time.Duration
}

// Reason is what there is no room for.
type Reason string

// The reasons of refusals.
const (
	NoPlaces Reason = "places" // too many sequences
	NoTokens Reason = "tokens" // too many tokens of prompts
	NoShare  Reason = "share"  // the caller has its part, and others are here
)

const (
	greed = 4
	// remembered is how long a caller who was turned away still counts as here.
	remembered = 30 * time.Second
	// longestWait bounds Refusal.Wait: what is measured now says little about
	// later.
	longestWait = time.Minute
)

// NewGate makes a gate.
func NewGate(l GateLimits) *Gate {
	return &Gate{limits: l, callers: map[string]*guest{}}
}

// SetLimits changes the limits. Who is in stays.
func (g *Gate) SetLimits(l GateLimits) { g.limits = l }

// Limits are the gate's.
func (g *Gate) Limits() GateLimits { return g.limits }

// In is what is inside.
func (g *Gate) In() (places, tokens int) { return g.in.Places, g.in.Tokens }

// Enter lets d in, or says why not.
func (g *Gate) Enter(now time.Duration, d Demand) *Refusal {
	g.tick(now)
	reason := g.refuses(now, d)
	if reason != "" {
		return g.refuse(now, d, reason)
	}
	c := g.guest(d.Caller)
	c.places += d.Places
	c.tokens += d.Tokens
	g.in.Places += d.Places
	g.in.Tokens += d.Tokens
	return nil
}

// refuses tells what speaks against d. Alone anybody fits, or what is larger
// than a limit would never be served.
func (g *Gate) refuses(now time.Duration, d Demand) Reason {
	places, tokens := g.limits.Places-g.in.Places, g.limits.Tokens-g.in.Tokens
	switch {
	case g.in.Places > 0 && d.Places > places:
		return NoPlaces
	case g.in.Tokens > 0 && d.Tokens > tokens:
		return NoTokens
	case !g.others(now, d.Caller):
		return ""
	}
	c := g.guest(d.Caller)
	part := greed * max(1, d.Share)
	if c.places > 0 && c.places+d.Places > part*(places-d.Places) || c.tokens > 0 && c.tokens+d.Tokens > part*(tokens-d.Tokens) {
		return NoShare
	}
	return ""
}

// others tells whether another caller is here or was turned away lately.
func (g *Gate) others(now time.Duration, caller string) bool {
	for name, c := range g.callers {
		if name != caller && (c.places > 0 || c.refused > 0 && now-c.refused < remembered) {
			return true
		}
	}
	return false
}

// refuse tells d when to come again. Those told before it come before it, or all
// would come at the same moment and all but one in vain.
func (g *Gate) refuse(now time.Duration, d Demand, reason Reason) *Refusal {
	g.guest(d.Caller).refused = max(now, 1)
	r := &Refusal{Reason: reason}
	if reason == NoTokens {
		g.owedTok += d.Tokens
		r.Wait = g.done.wait(g.busy, g.in.Tokens+g.owedTok-g.limits.Tokens)
	} else {
		g.owed += d.Places
		r.Wait = g.left.wait(g.busy, max(g.in.Places-g.limits.Places, 0)+g.owed)
	}
	if r.Wait > longestWait {
		// The line of those who were sent away is as long as it can get.
		r.Wait = longestWait
		g.owed = min(g.owed, g.left.count(g.busy, longestWait))
		g.owedTok = min(g.owedTok, g.done.count(g.busy, longestWait))
	}
	return r
}

// Settle replaces tokens that were a guess by what they turned out to be. If
// there is no room for them d must leave.
func (g *Gate) Settle(now time.Duration, caller string, guessed, actual int) *Refusal {
	g.tick(now)
	c := g.guest(caller)
	c.tokens += actual - guessed
	g.in.Tokens += actual - guessed
	if actual > guessed && g.in.Tokens > g.limits.Tokens && g.in.Tokens > actual {
		r := g.refuse(now, Demand{Caller: caller, Tokens: actual}, NoTokens)
		return r
	}
	return nil
}

// Computed records that tokens of a prompt wait no longer.
func (g *Gate) Computed(now time.Duration, caller string, tokens int) {
	g.tick(now)
	g.done.add(g.busy, tokens)
	g.owedTok = max(0, g.owedTok-tokens)
	g.guest(caller).tokens -= tokens
	g.in.Tokens -= tokens
}

// Leave gives back what d holds. Its tokens are those that were not computed.
func (g *Gate) Leave(now time.Duration, d Demand) {
	g.tick(now)
	g.left.add(g.busy, d.Places)
	g.owed = max(0, g.owed-d.Places)
	c := g.guest(d.Caller)
	c.places -= d.Places
	c.tokens -= d.Tokens
	g.in.Places -= d.Places
	g.in.Tokens -= d.Tokens
	if c.places == 0 && (c.refused == 0 || now-c.refused >= remembered) {
		delete(g.callers, d.Caller)
	}
}

// Withdraw takes back what Enter let in, as if it had never come.
func (g *Gate) Withdraw(d Demand) {
	c := g.guest(d.Caller)
	c.places -= d.Places
	c.tokens -= d.Tokens
	g.in.Places -= d.Places
	g.in.Tokens -= d.Tokens
	if c.places == 0 && c.refused == 0 {
		delete(g.callers, d.Caller)
	}
}

func (g *Gate) guest(caller string) *guest {
	c := g.callers[caller]
	if c == nil {
		c = &guest{}
		g.callers[caller] = c
	}
	return c
}

// tick counts the time in which somebody is inside: rates are by it, so that a
// quiet hour is not taken for slowness.
func (g *Gate) tick(now time.Duration) {
	if g.in.Places > 0 {
		g.busy += now - g.last
	}
	g.last = now
}

// meter measures the rate of the latest departures.
type meter struct {
	at    [64]time.Duration
	n     [64]int
	sum   int
	total int // of departures ever
}

func (m *meter) add(at time.Duration, n int) {
	i := m.total % len(m.at)
	m.sum += n - m.n[i]
	m.at[i], m.n[i] = at, n
	m.total++
}

// span is the time that the departures in the meter took.
func (m *meter) span(now time.Duration) time.Duration {
	if m.total == 0 {
		return 0
	}
	oldest := time.Duration(0) // the first began when there was somebody
	if m.total > len(m.at) {
		oldest = m.at[m.total%len(m.at)]
	}
	return now - oldest
}

// wait is how long n more take at that rate; 0 if it is not known.
func (m *meter) wait(now time.Duration, n int) time.Duration {
	if m.sum == 0 || n <= 0 {
		return 0
	}
	return time.Duration(float64(m.span(now)) / float64(m.sum) * float64(n))
}

// count is how many leave in a time.
func (m *meter) count(now, in time.Duration) int {
	span := m.span(now)
	if span <= 0 {
		return 0
	}
	return int(float64(m.sum) * float64(in) / float64(span))
}
