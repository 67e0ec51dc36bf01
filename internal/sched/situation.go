package sched

import "fmt"

// Situation tells people where a sequence stands. It costs a walk through the
// queue, and changes nothing.
type Situation struct {
	State string // "running", "waiting" or "outside"
	Pages int    // held, of all groups
	Ahead int    // waiting sequences that came before
	Why   string // why it waits; "" if it does not
}

// Situation gives where q stands.
func (s *Scheduler) Situation(q *Seq) Situation {
	switch q.state {
	case running:
		return Situation{State: "running", Pages: q.KV.Held()}
	case waiting:
		ahead := 0
		for ahead < len(s.waiting) && s.waiting[ahead] != q {
			ahead++
		}
		return Situation{State: "waiting", Pages: q.KV.Held(), Ahead: ahead, Why: s.whyWaiting(q, ahead)}
	}
	return Situation{State: "outside"}
}

func (s *Scheduler) whyWaiting(q *Seq, ahead int) string {
	gaveWay := ""
	if q.Preemptions > 0 {
		gaveWay = "it gave way when pages ran out; "
	}
	size := s.cache.PageSize()
	need, free := (q.Length+size)/size, s.cache.FreePages(0)
	switch {
	case len(s.running) >= s.limits.Running:
		return gaveWay + fmt.Sprintf("all %d places of running sequences are taken", s.limits.Running)
	case need > free:
		return gaveWay + fmt.Sprintf("it needs up to %d pages and %d are free", need, free)
	case ahead > 0:
		return gaveWay + fmt.Sprintf("%d came before it", ahead)
	}
	return gaveWay + "it is next: the steps are full of running sequences' tokens"
}
