package spec

// A proposer with logits of its own is not equally sure everywhere: the key of a record
// it knows, the name in it it guesses. By how much its likeliest token's logit exceeds
// the next (the lead) tells more about a node than its depth does. So leads are put in
// classes, how often the nodes of a class come true is measured as the rest is, and a
// path ends where it is not worth another token.

// Unsure is the class of a node that no lead is known of.
const Unsure = 255

// leads are the least leads of the classes from 1 on; of the first, a node is about as
// likely as another.
var leads = [...]float32{0.5, 1, 2, 3, 4, 6, 8}

// Sureness is the class of a lead.
func Sureness(lead float32) uint8 {
	class := uint8(0)
	for _, least := range leads {
		if lead >= least {
			class++
		}
	}
	return class
}

// expected are the chances of the classes while nothing is known: those of the
// likelier of two tokens.
var expected = [len(leads) + 1]float32{0.55, 0.65, 0.75, 0.85, 0.92, 0.96, 0.99, 0.99}

// Chance is the estimated chance that a node of a class comes true, given that its
// parent has.
func (c *Control) Chance(class uint8) float64 {
	if int(class) >= len(c.sure) {
		return 1
	}
	p := expected[class]
	if c.Prior != nil {
		p = float32(c.Prior.Chance(class))
	}
	r := c.sure[class]
	return float64(min((r.held+faith*p)/(r.n+faith), 0.995))
}

// Learn takes note of how the nodes fared that were the likeliest at their place, of the
// classes sure: path lists the nodes that came true, as for Observe.
func (c *Control) Learn(t *Tree, sure []uint8, path []int32) {
	at := Root
	for step := 0; ; step++ {
		n := t.first(at)
		if n < 0 || n >= len(sure) {
			return
		}
		hit := None
		if step < len(path) {
			hit = int(path[step])
		}
		if class := int(sure[n]); class < len(c.sure) {
			r := &c.sure[class]
			r.n, r.held = r.n*keep+1, r.held*keep
			if hit == n {
				r.held++
			}
		}
		if hit == None {
			return
		}
		at = hit
	}
}

// first is the first child of a node, or None.
func (t *Tree) first(parent int) int {
	for n := max(parent, 0); n < t.Len(); n++ {
		if int(t.Parent[n]) == parent {
			return n
		}
	}
	return None
}

// Worth is the least chance with which a node is worth its row, and with which a
// proposer's further pass is: what else the engine would do with the time.
type Worth struct{ Row, Pass float64 }

// Worth of a draft in a step like l, of nodes at most so many, where the engine gives pace
// tokens a second.
func (l *Load) Worth(nodes int, pace float64) Worth {
	if nodes == 0 {
		return Worth{}
	}
	row := pace * (l.Cost.Of(l.Rows+nodes) - l.Cost.Of(l.Rows)) / float64(nodes)
	row = min(max(row, 0), mostWorth)
	return Worth{Row: row, Pass: min(row+pace*l.Drafting.Of(nodes)/float64(nodes*l.Rows), mostWorth)}
}

// mostWorth keeps what a proposer is very sure of in the draft: the estimates of costs are
// no promise.
const mostWorth = 0.9
