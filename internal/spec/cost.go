package spec

// Cost estimates what a step takes by its rows, from the steps there were: the
// mean of those of that size where there were some lately, else a line through
// all, a + b*rows. The zero value is what costs nothing; [NewCost] makes one
// that assumes a further row to cost a fifth of the first.
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
	// trust is how many steps of a size the line counts as.
	trust = 4
)

// NewCost makes an estimate that starts from an assumption.
func NewCost() Cost { return Cost{assumed: 0.2} }

// Observe records a step.
func (c *Cost) Observe(rows int, seconds float64) {
	r := float64(rows)
	c.n, c.x, c.y = forget*c.n+1, forget*c.x+r, forget*c.y+seconds
	c.xx, c.xy = forget*c.xx+r*r, forget*c.xy+r*seconds
	if rows < sizes {
		m := &c.sizes[rows]
		m.n, m.sum = 0.9*m.n+1, 0.9*m.sum+seconds
	}
}

// Of is the estimated cost of a step.
func (c *Cost) Of(rows int) float64 {
	a, b := c.line()
	line := a + b*float64(rows)
	if rows >= sizes {
		return line
	}
	m := c.sizes[rows]
	return (m.sum + trust*line) / (m.n + trust)
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
