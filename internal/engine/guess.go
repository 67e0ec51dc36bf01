package engine

import (
	"math"

	"weir/internal/backend"
	"weir/internal/llm"
	"weir/internal/sched"
	"weir/internal/spec"
)

// DraftOptions say what a proposer's drafts may look like.
type DraftOptions struct {
	// Width is the most children of a node that the proposer can tell apart;
	// 0 or 1: it drafts chains.
	Width int
	// Depth is the longest path that it can make; 0: spec.MaxDepth.
	Depth int
	// Allowed are the shapes that it can make, of which every draft's is a part;
	// empty: any.
	Allowed spec.Tree
	// Always makes every draft of this shape, whether it pays or not: for
	// measuring and for tests. Empty: what pays.
	Always spec.Tree
}

// guess is the part of a sequence that is about what it says next.
type guess struct {
	ask     spec.Ask
	control spec.Control
	// forced, if not nil, adds to a draft, which is empty, what the sequence can't
	// but say next, at most room tokens: a grammar knows. The proposer is asked
	// only where it adds nothing. What is sure is the text; a model may spell it
	// in other tokens, so that it, too, is drafted only as far as that pays.
	forced  func(t *spec.Tree, room int)
	forcing spec.Control // of forced's drafts
	sure    bool         // the draft at hand is forced's

	budget spec.Budget
	// gave tokens in took seconds, of late.
	gave, took float64
	asked      int     // how often a draft was asked for
	next       int     // the node of the draft that the walk has come to, or None
	path       []int32 // the nodes that came true
	counts     guesses
}

// guesses counts, for the usage.
type guesses struct {
	drafts, tokens int32
	heldAt         [spec.MaxDepth]int32
}

// addTo adds the counts to a request's usage.
func (g *guesses) addTo(u *llm.Usage) {
	if g.drafts == 0 {
		return
	}
	if u.Guesses == nil {
		u.Guesses = &llm.Guesses{}
	}
	to := u.Guesses
	to.Drafts += int(g.drafts)
	to.Tokens += int(g.tokens)
	for depth, n := range g.heldAt {
		if n == 0 {
			break
		}
		if len(to.HeldAt) <= depth {
			to.HeldAt = append(to.HeldAt, 0)
		}
		to.HeldAt[depth] += int(n)
		to.Held += int(n)
	}
}

// guess drafts what each decoding sequence may say next, as far as that is worth
// its cost.
func (l *loop) guess() {
	l.asks, l.held, l.drafted = l.asks[:0], 0, 0
	load := l.load()
	probe := !l.always() && l.ledger.Probe(load.Rows)
	for _, s := range l.sched.Running() {
		q := l.of(s)
		g := &q.guess
		g.ask.Draft.Reset()
		g.ask.Sure, g.ask.Passes = g.ask.Sure[:0], 0
		g.next, g.path, g.sure, q.Draft = spec.None, g.path[:0], false, 0
		if q.Remaining() != 1 || q.generated() == 0 {
			continue
		}
		room := l.room(q)
		if g.forced != nil && room > 0 {
			l.force(q, load, room)
		}
		if l.proposer() == nil || g.sure || probe {
			continue
		}
		g.ask.Tokens = q.tokens
		if l.shape(q, &load, room); g.ask.Shape.Len() > 0 {
			l.asks = append(l.asks, &g.ask)
		}
	}
	l.watch(load)
	l.propose()
	for _, s := range l.sched.Running() {
		s.Draft = l.of(s).guess.ask.Draft.Len()
	}
}

// always tells that drafts are made of one shape, whether they pay or not.
func (l *loop) always() bool { return l.e.opts.Draft.Always.Len() > 0 }

// force drafts forced text, as deep as such drafts pay.
func (l *loop) force(q *sequence, load spec.Load, room int) {
	g := &q.guess
	n := min(room, spec.MaxNodes)
	if !l.always() {
		load.Room, load.Width, load.Depth, load.Allowed, load.Drafting = n, 1, 0, nil, new(spec.Cost)
		load.Left, load.Own = math.Inf(1), math.Inf(1)
		g.forcing.Prior = &l.forcing
		g.forcing.Shape(&g.ask.Shape, load)
		n = g.ask.Shape.Len()
	}
	if n > 0 {
		g.forced(&g.ask.Draft, n)
	}
	g.sure = g.ask.Draft.Len() > 0
}

// load is what the step looks like without drafts.
func (l *loop) load() spec.Load {
	o := &l.e.opts.Draft
	load := spec.Load{Rows: l.sched.RunningSeqs(), Cost: &l.ledger.Cost, Drafting: &l.ledger.Drafting, Width: max(1, o.Width), Depth: o.Depth, Left: l.ledger.Left()}
	if o.Allowed.Len() > 0 {
		load.Allowed = &o.Allowed
	}
	return load
}

// lookAfter is the number of drafts of a sequence of which one is made whatever its tokens
// are worth, so that an estimate that is too low is found out.
const lookAfter = 16

// shape sets the shape of q's next draft, and takes from the load what that may lose.
func (l *loop) shape(q *sequence, load *spec.Load, room int) {
	g := &q.guess
	if l.always() {
		g.ask.Shape.Copy(&l.e.opts.Draft.Always, room)
		return
	}
	load.Room, load.Own, load.Reading = room, g.budget.Left(), 0
	load.Length = min(float64(room), l.ledger.Length())
	g.control.Prior = &l.experience
	if !g.control.Idle() {
		load.Reading = l.ledger.Reading(l.behind(&g.ask), load.Rows)
	}
	if g.control.Shape(&g.ask.Shape, *load); g.ask.Shape.Len() > 0 {
		g.ask.Odds, g.ask.Worth = &g.control, spec.Worth{}
		g.asked++
		if g.took > 0 && g.asked%lookAfter != 0 {
			g.ask.Worth = load.Worth(g.ask.Shape.Len(), g.gave/g.took)
		}
		load.Left -= load.Risk(&g.ask.Shape) + load.Reading
	}
}

// room is how many guesses could still be of use to q: the step draws one token
// besides.
func (l *loop) room(q *sequence) int {
	return min(*q.req.params.MaxTokens-q.generated(), l.e.opts.Describe.Context-len(q.tokens)) - 1
}

// propose asks for the drafts of a step and learns what drafting costs.
func (l *loop) propose() {
	if len(l.asks) == 0 {
		return
	}
	depth, behind := 0, 0
	for _, a := range l.asks {
		depth = max(depth, a.Shape.MaxDepth())
		behind += l.behind(a)
	}
	began := l.e.clock()
	l.e.opts.Proposer.Propose(l.asks)
	l.prune()
	passes := 0
	for _, a := range l.asks {
		passes = max(passes, a.Passes)
	}
	if passes > 0 {
		depth = passes
	}
	l.ledger.Guessed(depth, behind, (l.e.clock() - began).Seconds())
}

// see keeps the hidden state of a wanted row, which the last token of q was drawn
// from, for a proposer that guesses from it.
func (l *loop) see(q *sequence, row int) {
	if l.host != nil {
		q.guess.ask.Hidden = append(q.guess.ask.Hidden[:0], l.host.ReadAct(l.last, row)...)
	}
}

// observe shows what the step computed to a proposer that follows hidden states.
func (l *loop) observe(p *sched.Plan) {
	watcher, ok := l.proposer().(spec.Watcher)
	broke := l.ledger.Left() < 0 && !l.always()
	if !ok || l.host == nil || broke { // after a gap it begins anew
		return
	}
	began := l.e.clock()
	read := func(tap, row int) []float32 { return l.host.ReadAct(l.taps[tap], row) }
	first := 0
	for _, item := range p.Items {
		n := item.To - item.From
		if q := l.of(item.Seq); q != nil {
			l.seen = l.seen[:0]
			for i := range n {
				l.seen = append(l.seen, first+i)
			}
			for _, node := range q.guess.path {
				l.seen = append(l.seen, first+n+int(node))
			}
			q.guess.ask.Tokens = q.tokens
			watcher.Observe(&q.guess.ask, item.From, l.seen, read)
		}
		first += n + item.Draft
	}
	l.ledger.Watched((l.e.clock() - began).Seconds())
}

// descend follows the draft to the child that came true, if one did.
func (l *loop) descend(q *sequence, node int, id int32) {
	g := &q.guess
	if n := g.ask.Draft.Len(); node == spec.Root && n > 0 {
		g.counts.drafts++
		g.counts.tokens += int32(n)
		l.e.stats.drafts.Add(1)
		l.e.stats.guessed.Add(int64(n)) // before any of them is counted as held
	}
	if g.next = g.ask.Draft.Child(node, id); g.next >= 0 {
		g.path = append(g.path, int32(g.next))
		// Deeper ones, which a grammar makes, count as the deepest.
		depth := min(len(g.path), spec.MaxDepth) - 1
		if !g.sure {
			l.held++
		}
		g.counts.heldAt[depth]++
		l.e.stats.held[depth].Add(1)
	}
}

// settleGuesses takes over the keys and values of guesses that came true, and
// learns from the others. Cells of wrong guesses are written again later.
func (l *loop) settleGuesses(p *sched.Plan) {
	for _, item := range p.Items {
		if item.Draft == 0 {
			continue
		}
		q := l.of(item.Seq)
		if q == nil { // it ended in this step: what held is known, what would have is not
			continue
		}
		g := &q.guess
		if g.sure {
			g.forcing.Observe(&g.ask.Draft, g.path)
			l.forcing.Observe(&g.ask.Draft, g.path)
		} else {
			g.control.Observe(&g.ask.Draft, g.path)
			l.experience.Observe(&g.ask.Draft, g.path)
			g.control.Learn(&g.ask.Draft, g.ask.Sure, g.path)
			l.experience.Learn(&g.ask.Draft, g.ask.Sure, g.path)
		}
		if len(g.path) > 0 {
			l.keepBranch(q, item)
			l.sched.Accept(item, len(g.path))
		}
	}
}

// keepBranch has the branch that came true copied to where it belongs. A node
// lies as far from its place as nodes of other branches stand before it, so the
// copies, in order, never read what one has written.
func (l *loop) keepBranch(q *sequence, item sched.Item) {
	for depth, node := range q.guess.path {
		if int(node) == depth {
			continue
		}
		for g := range l.cache.Groups() {
			l.copies = append(l.copies, backend.Copy{
				Group: g,
				From:  l.cache.Cell(&q.KV, g, item.To+int(node)),
				To:    l.cache.Cell(&q.KV, g, item.To+depth),
			})
		}
	}
}

// forget tells the proposer that a sequence has ended or lost its pages.
func (l *loop) forget(q *sequence) {
	if p := l.proposer(); p != nil && q.guess.ask.State != nil {
		p.Forget(&q.guess.ask)
	}
}

// proposer is who guesses, or nil.
func (l *loop) proposer() spec.Proposer {
	if l.mute {
		return nil
	}
	return l.e.opts.Proposer
}
