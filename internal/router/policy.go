package router

import (
	"slices"
	"time"
)

// State is where a model is on its way into memory and out of it.
type State string

// The states. A model goes from each to the next, and from Unloading to Unloaded;
// a load that fails leads back to Unloaded.
const (
	Unloaded  State = "unloaded"
	Loading   State = "loading"
	Loaded    State = "loaded"
	Leaving   State = "leaving"   // takes no new requests; those that run end first
	Unloading State = "unloading" // its memory is being given back
)

// view is what the policy knows of a model.
type view struct {
	state   State
	users   int       // requests that it answers
	waiting int       // requests that wait for it
	since   time.Time // when the first of those came
	used    time.Time // when it was last in use, or loaded
	loaded  time.Time
}

// rules are what the policy goes by.
type rules struct {
	loaded   int           // how many models may be in memory
	idle     time.Duration // unused so long, a model leaves; 0: never
	patience time.Duration // how long a busy model may keep another out
}

// step is what is to be done now, by the models' places in the list, and when to
// ask again if nothing happens till then (zero: not at all).
type step struct {
	load, leave []int
	again       time.Time
}

// decide is the whole policy. Models that are waited for are loaded in the order
// in which the waiting began. If there is no room, the unused model that has been
// so for the longest leaves; if all are used, then after some patience the one that
// was loaded first has to, so that no model is kept out for ever.
func decide(now time.Time, models []view, r rules) step {
	var s step
	var wanted []int
	room := r.loaded
	leaving := 0
	for i, m := range models {
		switch m.state {
		case Unloaded:
			if m.waiting > 0 {
				wanted = append(wanted, i)
			}
			continue
		case Leaving, Unloading:
			leaving++
			if m.waiting > 0 {
				wanted = append(wanted, i)
			}
		}
		room--
	}
	slices.SortStableFunc(wanted, func(a, b int) int { return models[a].since.Compare(models[b].since) })
	for _, i := range wanted {
		switch {
		case models[i].state == Unloaded && room > 0:
			room--
			s.load = append(s.load, i)
		case leaving > 0: // its room, once it is free
			leaving--
		default:
			s.makeRoom(now, models, r, models[i].since)
		}
	}
	s.dismissIdle(now, models, r)
	return s
}

// makeRoom sends a model away for one that has been waited for since then.
func (s *step) makeRoom(now time.Time, models []view, r rules, since time.Time) {
	victim, busy := -1, -1
	for i, m := range models {
		if m.state != Loaded || slices.Contains(s.leave, i) {
			continue
		}
		if m.users == 0 && (victim < 0 || m.used.Before(models[victim].used)) {
			victim = i
		}
		if busy < 0 || m.loaded.Before(models[busy].loaded) {
			busy = i
		}
	}
	if victim < 0 && busy >= 0 {
		// Those that came with it get their time, too.
		due := later(since, models[busy].loaded).Add(r.patience)
		if due.After(now) {
			s.at(due)
			return
		}
		victim = busy
	}
	if victim >= 0 {
		s.leave = append(s.leave, victim)
	}
}

// dismissIdle sends away what nobody has used for long.
func (s *step) dismissIdle(now time.Time, models []view, r rules) {
	if r.idle == 0 {
		return
	}
	for i, m := range models {
		if m.state != Loaded || m.users > 0 || slices.Contains(s.leave, i) {
			continue
		}
		if due := m.used.Add(r.idle); due.After(now) {
			s.at(due)
		} else {
			s.leave = append(s.leave, i)
		}
	}
}

func (s *step) at(t time.Time) {
	if s.again.IsZero() || t.Before(s.again) {
		s.again = t
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
