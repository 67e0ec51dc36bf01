package server

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"weir/internal/llm"
)

// quotas hold each caller to what its key allows: requests and tokens a minute,
// and requests at once. They are judged by the headers, before the body is read.
//
// A minute is a bucket that fills steadily and holds a minute's worth: a caller
// may spend it in a burst, and then waits for what comes in. A request is let in
// while there are tokens left at all; what it takes is known only at its end, and
// may leave the bucket in debt.
type quotas struct {
	mu      sync.Mutex
	callers map[string]*usage
}

// usage is what a caller has used lately.
type usage struct {
	requests, tokens bucket
	running          int
}

// bucket fills with perMinute a minute, up to as much.
type bucket struct {
	level     float64
	at        time.Time
	perMinute int
}

// fill brings b up to a time. A new limit starts full.
func (b *bucket) fill(now time.Time, perMinute int) {
	if b.perMinute != perMinute {
		b.level, b.perMinute = float64(perMinute), perMinute
	} else if passed := now.Sub(b.at); passed > 0 {
		b.level = min(float64(perMinute), b.level+passed.Minutes()*float64(perMinute))
	}
	b.at = now
}

// wait is how long until the level is above n.
func (b *bucket) wait(n float64) time.Duration {
	if b.perMinute == 0 || b.level >= n {
		return 0
	}
	return time.Duration((n - b.level) / float64(b.perMinute) * float64(time.Minute))
}

// manyCallers is when those that have not been seen for a minute are forgotten.
const manyCallers = 4096

// enter lets a caller's request in, or says why not. leave must be called at its
// end, with the tokens that it took; refused says that it was let in here, but
// not further on.
func (q *quotas) enter(c *Caller, now time.Time) (leave func(tokens int, refused bool), err error) {
	if c == nil || c.Quota == (Quota{}) {
		return func(int, bool) {}, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(c.Name, now)
	u.requests.fill(now, c.Quota.Requests)
	u.tokens.fill(now, c.Quota.Tokens)
	if err := u.refusal(c.Quota); err != nil {
		return nil, err
	}
	u.running++
	u.requests.level--
	return func(tokens int, refused bool) {
		q.mu.Lock()
		defer q.mu.Unlock()
		u.running--
		u.tokens.level -= float64(tokens)
		if refused {
			u.requests.level++
		}
	}, nil
}

func (u *usage) refusal(q Quota) error {
	switch {
	case q.Concurrent > 0 && u.running >= q.Concurrent:
		return quotaError(0, "%d requests of this key run, as many as it may have at once; wait for one to end", u.running)
	case q.Requests > 0 && u.requests.level < 1:
		return quotaError(u.requests.wait(1), "this key may send %d requests a minute, and has; try again later", q.Requests)
	case q.Tokens > 0 && u.tokens.level < 1:
		return quotaError(u.tokens.wait(1), "this key may use %d tokens a minute, and has; try again later", q.Tokens)
	}
	return nil
}

func quotaError(wait time.Duration, format string, args ...any) error {
	return &llm.Error{Kind: llm.Overloaded, Code: "rate_limit_exceeded", Message: fmt.Sprintf(format, args...), RetryAfter: wait}
}

// of finds a caller's usage. The lock is held.
func (q *quotas) of(name string, now time.Time) *usage {
	if u := q.callers[name]; u != nil {
		return u
	}
	if q.callers == nil {
		q.callers = map[string]*usage{}
	}
	if len(q.callers) >= manyCallers {
		for name, u := range q.callers {
			if u.running == 0 && now.Sub(u.requests.at) > time.Minute && u.tokens.level >= 0 {
				delete(q.callers, name)
			}
		}
	}
	u := &usage{}
	q.callers[name] = u
	return u
}

// tell sets the headers by which OpenAI's clients know what is left.
func (q *quotas) tell(h http.Header, c *Caller, now time.Time) {
	if c == nil || c.Quota.Requests == 0 && c.Quota.Tokens == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.of(c.Name, now)
	for _, b := range []struct {
		name  string
		limit int
		*bucket
	}{{"requests", c.Quota.Requests, &u.requests}, {"tokens", c.Quota.Tokens, &u.tokens}} {
		if b.limit == 0 {
			continue
		}
		b.fill(now, b.limit)
		h.Set("X-RateLimit-Limit-"+b.name, strconv.Itoa(b.limit))
		h.Set("X-RateLimit-Remaining-"+b.name, strconv.Itoa(max(0, int(b.level))))
		h.Set("X-RateLimit-Reset-"+b.name, b.wait(float64(b.limit)).Round(time.Millisecond).String())
	}
}
