package sched

// A caller is charged for each row that a step computes for it, divided by its
// share. Among the waiting sequences of the highest priority, that of the caller
// who has been charged least is admitted next: a virtual token counter for each
// caller, as in "Fairness in Serving Large Language Models" (Sheng et al., 2024).
// Rows and not requests are counted, as those differ a thousandfold.
const (
	// A decoded token reads all weights for one row, a prompt's shares that with
	// the rest of its chunk.
	prefillCharge = 1
	decodeCharge  = 2
	// chargeUnit keeps the division by shares exact enough.
	chargeUnit = 720720
)

// manyAccounts is when accounts of callers who have nothing here are dropped.
const manyAccounts = 1024

// account is what a caller has been charged.
type account struct {
	charged int64
	seqs    int    // waiting or running
	passed  uint64 // the round of admission in which all of its sequences await others
}

// open finds q's account. A caller who comes back does not bring what was saved
// while it was away: it starts no lower than the least charged of those here.
func (s *Scheduler) open(q *Seq) {
	a := s.accounts[q.Caller]
	if a == nil {
		s.dropAccounts()
		a = &account{}
		s.accounts[q.Caller] = a
	}
	if a.seqs == 0 {
		a.charged = max(a.charged, s.leastCharged())
	}
	a.seqs++
	q.account = a
}

// leastCharged is the lowest charge of the callers who have sequences here, 0 if
// none has.
func (s *Scheduler) leastCharged() int64 {
	least, found := int64(0), false
	for _, a := range s.accounts {
		if a.seqs > 0 && (!found || a.charged < least) {
			least, found = a.charged, true
		}
	}
	return least
}

func (s *Scheduler) dropAccounts() {
	if len(s.accounts) < manyAccounts {
		return
	}
	for name, a := range s.accounts {
		if a.seqs == 0 {
			delete(s.accounts, name)
		}
	}
}

// charge is for n rows that are planned for q.
func charge(q *Seq, n int) { chargeRows(q, q.at(), q.at()+n, 1) }

// chargeRows charges for rows [from, to), or takes that back: times is 1 or -1.
func chargeRows(q *Seq, from, to int, times int64) {
	if q.account == nil {
		return
	}
	decoded := max(0, to-max(q.Prompt, from))
	cost := (to-from-decoded)*prefillCharge + decoded*decodeCharge
	q.account.charged += times * (int64(cost) * chargeUnit / int64(max(1, q.Share)))
}

// nextWaiting is who is admitted next: of the highest priority, the oldest of the
// caller who has been charged least. A caller whose turn it was and whose
// sequence did not fit stays the next, or others would take the pages that it
// waits for. nil: all await others.
func (s *Scheduler) nextWaiting() *Seq {
	var next *Seq
	for _, q := range s.waiting {
		switch {
		case q.Priority != s.waiting[0].Priority:
			return next
		case q.account.passed == s.round:
		case q.account == s.blocked:
			return q
		case next == nil || q.account.charged < next.account.charged:
			next = q
		}
		if len(s.accounts) < 2 {
			return next
		}
	}
	return next
}
