package sched

// Whom to admit next. Without a prefix cache that is the head of the queue. With
// one, order matters: a prefix that is warm now may be evicted before its next
// user's turn, and one that a running sequence is just computing would be
// computed again by everybody who starts meanwhile. So, among the sequences of the
// head's priority and caller:
//
//   - Who finds much more of its tokens in the cache than those before it goes
//     first, but no sequence is overtaken more than maxOvertaken times.
//   - Who would compute what a running sequence is about to have computed waits
//     for it. Running sequences always advance, so this ends; and the other would
//     have taken the step's tokens first anyway, so it costs nothing.
//
// A sequence that has been overtaken so often, or that comes back after a
// preemption (somebody watches it stand still), goes at once, warm or not.
const (
	// lookAhead is how many of the queue are looked at for a warm one.
	lookAhead = 64
	// worthwhile is how many tokens more must be warm, or be about to be.
	worthwhile = 32
	// maxOvertaken bounds how many overtake a sequence.
	maxOvertaken = 16
)

// Counts tell what the policy did.
type Counts struct {
	Overtaken int64 // times that a sequence was overtaken by a warmer one
	Awaited   int64 // sequences that waited for a prefix that another was computing
}

// Counts returns them.
func (s *Scheduler) Counts() Counts { return s.counts }

func (q *Seq) due() bool { return q.overtaken >= maxOvertaken || q.admitted }

// candidate is who should be admitted next of the head's caller; nil: all who
// could be await others.
func (s *Scheduler) candidate(head *Seq) *Seq {
	if !s.cache.Caches() {
		return head
	}
	var best *Seq
	looked := 0
	for _, q := range s.waiting {
		if q.account != head.account {
			continue
		}
		if looked++; looked > lookAhead {
			return best
		}
		switch {
		case q.Priority != head.Priority:
			return best
		case q.due():
			return q
		case s.awaits(q):
		case best == nil || s.warm(q) >= s.warm(best)+worthwhile:
			best = q
		}
	}
	return best
}

// overtake takes note that q goes before those older than it.
func (s *Scheduler) overtake(q *Seq) {
	for _, older := range s.waiting {
		if older == q {
			return
		}
		if older.Priority == q.Priority && older.account == q.account {
			older.overtaken++
			s.counts.Overtaken++
		}
	}
}

// warm is how many tokens of q the prefix cache has in whole pages.
func (s *Scheduler) warm(q *Seq) int {
	if q.Tokens == nil || q.AllLogits {
		return 0
	}
	if v := s.cache.Version(); q.warmAt != v || q.warmAt == 0 {
		q.warmTokens, q.warmAt = s.cache.Peek(&q.warmEnd, q.prefix(), q.Length-1), v
	}
	return q.warmTokens
}

// awaits tells whether q should wait for a running sequence that is computing a
// prefix of q's.
func (s *Scheduler) awaits(q *Seq) bool {
	if q.Tokens == nil || q.AllLogits {
		return false
	}
	if q.awaited.computes(q.awaitedTo) {
		return true
	}
	q.awaited = nil
	need := s.warm(q) + worthwhile
	for _, r := range s.prompts {
		if r.Salt != q.Salt {
			continue
		}
		if min(len(q.Tokens), len(r.Tokens)) < need || q.Tokens[need-1] != r.Tokens[need-1] {
			continue // without comparing all before it
		}
		same := min(common(q.Tokens, r.Tokens), q.Length-1) / s.cache.PageSize() * s.cache.PageSize()
		if r.computes(same) && same >= need {
			q.awaited, q.awaitedTo = r, same
			s.counts.Awaited++
			return true
		}
	}
	return false
}

// findPrompts lists the running sequences whose prompts others may await. They are few
// beside those that decode, and each of many who wait is compared with all of them.
func (s *Scheduler) findPrompts() {
	s.prompts = s.prompts[:0]
	if !s.cache.Caches() {
		return
	}
	for _, r := range s.running {
		s.notePrompt(r)
	}
}

func (s *Scheduler) notePrompt(r *Seq) {
	if r.Tokens != nil && r.Length-r.Computed > 1 { // a step that has begun may be computing it
		s.prompts = append(s.prompts, r)
	}
}

// computes tells whether q runs and will have computed its first n tokens.
func (q *Seq) computes(n int) bool { return q != nil && q.state == running && q.Computed < n }

// common is the length of the longest common prefix.
func common(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Nearest is what the prefix cache had that was most like a sequence.
type Nearest struct {
	Common int     // tokens that they have in common
	Theirs []int32 // how the other goes on; none: it does not
}

// nearestTokens is how many tokens of Theirs are of use to a reader.
const nearestTokens = 32
