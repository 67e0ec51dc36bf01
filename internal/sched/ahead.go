package sched

// flight is how far a sequence will be when the step that is being computed is done.
// It is zero but while Ahead plans.
type flight struct {
	rows  int  // tokens that the step computes
	draws int  // 1: and one that it draws
	ends  bool // with that
}

// Ahead plans into next the step after p while p is still being computed, as Next will
// once p is settled: sequences go on by the tokens that p computes and draws, those that
// end with it for sure do not, and who waits is admitted where there is a place. It
// reports false, and leaves everything as it is, where more is to be decided than that:
// there are guesses in p, or pages are missing.
//
// What ends in p otherwise has rows too many in next. Its pages are free once p is settled,
// and nobody writes there before the step after next.
func (s *Scheduler) Ahead(p, next *Plan, ends func(*Seq) bool) bool {
	defer s.land(p)
	if !s.fly(p, ends) {
		return false
	}
	s.plan, s.ahead, s.short = next, true, false
	next.reset()
	if s.planRunning(); s.short {
		for _, i := range next.Items {
			chargeRows(i.Seq, i.From, i.To, -1)
		}
		return false
	}
	s.admit()
	return len(next.Items) > 0
}

// fly makes p's sequences what they will be.
func (s *Scheduler) fly(p *Plan, ends func(*Seq) bool) bool {
	for _, i := range p.Items {
		q := i.Seq
		switch {
		case i.Draft > 0:
			return false
		case q.state != running: // it has ended since
			continue
		}
		q.flight.rows = i.To - i.From
		if i.To == q.Length {
			q.flight.draws = 1
			if q.flight.ends = ends(q); q.flight.ends {
				s.ending++
			}
		}
	}
	return true
}

// land undoes fly.
func (s *Scheduler) land(p *Plan) {
	for _, i := range p.Items {
		i.Seq.flight = flight{}
	}
	s.ahead, s.ending = false, 0
}
