package spec

// Cost estimates what a step takes by its rows, from the steps there were: the
// mean of those of that size where there were some, else a line through all,
// a + b*rows. The zero value is what costs nothing; [NewCost] makes one that
// assumes a further row to cost a fifth of the first.
//
// A machine has other things to do: what takes far longer than others of its size
// counts as twice as long, of the first few of a size the shortest counts, and steps
// that take longer than those of their size did move the estimates of the other sizes
// along, so that these are right when their turn comes.
type Cost struct {
	assumed float64 // share of the first row that a further one costs; 0: all is free until seen
	n, x, y float64 // sums that forget, weighted by newness
	xx, xy  float64
	sizes   [sizes]mean
}

type mean struct{ n, sum float64 }

const (
	sizes  = 65 // rows from 0 on that have a mean of their own
	forget = 0.98
	recent = 0.9 // the same for the means
	// known is how many steps of a size tell what it costs, without the line.
	known = 4
	// most is how much longer than others of its size a step may count as, and
	// mostAtFirst how much longer than at worst, while there are few of its size.
	most        = 2
	mostAtFirst = 2
	// mostOfOthers is how much longer a call may count as than those of other sizes tell.
	mostOfOthers = 3
	// along is how far other sizes go along with one.
	along = 0.5
)

// NewCost makes an estimate that starts from an assumption.
func NewCost() Cost { return Cost{assumed: 0.2} }

// Blank tells that nothing is known.
func (c *Cost) Blank() bool { return c.n == 0 }

// Seen is how much is known of steps of a size: their number, less what is forgotten.
func (c *Cost) Seen(rows int) float64 {
	if rows >= sizes {
		return 0
	}
	return c.sizes[rows].n
}

// Clip is what a step counts as.
func (c *Cost) Clip(rows int, seconds float64) float64 {
	switch {
	case c.Seen(rows) >= known-1:
		return min(seconds, most*c.Of(rows))
	case c.Seen(1) >= known-1 && c.assumed > 0:
		return min(seconds, mostAtFirst*c.AtWorst(rows, c.Of(1)))
	}
	return seconds
}

// likely bounds what took so long by what is known of other sizes, too: one call that was
// interrupted for as long as fifty steps take must not use up what a thousand earn.
func (c *Cost) likely(size int, seconds float64) float64 {
	if c.n < known-1 {
		return seconds
	}
	return min(seconds, mostOfOthers*c.Of(size))
}

// Observe records a step.
func (c *Cost) Observe(rows int, seconds float64) {
	seconds = c.Clip(rows, seconds)
	if rows < sizes {
		m := &c.sizes[rows]
		before, settled := m.sum/max(m.n, 1), m.n >= known-1
		if !settled && m.n > 0 { // the least there was, while a mean would be of few
			seconds = min(seconds, before)
			m.sum = m.n * seconds
		}
		m.n, m.sum = recent*m.n+1, recent*m.sum+seconds
		if settled && before > 0 {
			c.move(rows, 1+along*(m.sum/m.n/before-1))
		}
	}
	r := float64(rows)
	c.n, c.x, c.y = forget*c.n+1, forget*c.x+r, forget*c.y+seconds
	c.xx, c.xy = forget*c.xx+r*r, forget*c.xy+r*seconds
}

// move scales what is known of all sizes but one.
func (c *Cost) move(but int, factor float64) {
	c.y *= factor
	c.xy *= factor
	for i := range c.sizes {
		if i != but {
			c.sizes[i].sum *= factor
		}
	}
}

// Of is the estimated cost of a step.
func (c *Cost) Of(rows int) float64 {
	if rows >= sizes {
		a, b := c.line()
		return a + b*float64(rows)
	}
	m := c.sizes[rows]
	trust := max(0, 2-2*m.n/(known-1)) // how many steps the line counts as
	if trust == 0 {
		return m.sum / m.n
	}
	a, b := c.line()
	return (m.sum + trust*(a+b*float64(rows))) / (m.n + trust)
}

// AtWorst is what a step may cost that is larger than any seen: as one of a size
// that was, and each further row as much as a step of its own, which takes row
// seconds.
func (c *Cost) AtWorst(rows int, row float64) float64 {
	for seen := min(rows, sizes-1); seen > 0; seen-- {
		if c.sizes[seen].n > 0 {
			return c.Of(seen) + row*float64(rows-seen)
		}
	}
	return row * float64(rows)
}

// line fits a and b. Where the steps seen do not tell them apart (all of one
// size), the assumed proportion fills in.
func (c *Cost) line() (a, b float64) {
	a, b = 1-c.assumed, c.assumed
	if c.n == 0 {
		if c.assumed == 0 {
			return 0, 0
		}
		return a, b
	}
	if c.assumed == 0 {
		a, b = 0, 1
	}
	scale := c.y / (a*c.n + b*c.x)
	a, b = a*scale, b*scale
	spread := c.n*c.xx - c.x*c.x
	if c.n < 4 || spread < 0.05*c.n*c.n {
		return a, b
	}
	slope := (c.n*c.xy - c.x*c.y) / spread
	start := (c.y - slope*c.x) / c.n
	if slope < 0 || start < 0 { // noise
		return a, b
	}
	return start, slope
}
