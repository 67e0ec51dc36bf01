package grammar

import (
	"fmt"
	"math/big"
	"strings"
)

// Numbers are written without leading zeros; how many digits they may have is
// bounded, so that no number goes on for ever. Where a number has bounds it is
// written without an exponent, so that a finite automaton can compare it exactly.
const (
	maxWhole    = 15 // digits before the point: what a float64 holds exactly
	maxFraction = 15 // digits after it
)

// bounds is what a number must be.
type bounds struct {
	integer      bool
	fractional   bool // not an integer
	lo, hi       *big.Rat
	loOut, hiOut bool // lo or hi itself is not allowed
	multiples    []*big.Rat
}

func (b *bounds) free() bool {
	return b.lo == nil && b.hi == nil && len(b.multiples) == 0 && !b.fractional
}

// digits is a bound's magnitude in decimal: whole has no leading zeros.
func digits(r *big.Rat) (whole, fraction string, err error) {
	a := new(big.Rat).Abs(r)
	const most = 60
	n, exact := a.FloatPrec()
	if !exact || n > most {
		return "", "", fmt.Errorf("a bound has more than %d digits after the point", most)
	}
	text := a.FloatString(n)
	whole, fraction, _ = strings.Cut(text, ".")
	if len(whole) > 400 {
		return "", "", fmt.Errorf("a bound has more than 400 digits")
	}
	return strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0"), nil
}

// numberChars makes the automaton of the numbers in bounds.
func numberChars(b *bounds, m *meter) (*chars, error) {
	whole, fraction := maxWhole, maxFraction
	for _, x := range []*big.Rat{b.lo, b.hi} {
		if x == nil {
			continue
		}
		w, f, err := digits(x)
		if err != nil {
			return nil, err
		}
		whole, fraction = max(whole, len(w)+1), max(fraction, len(f)+2)
	}
	d, err := patternChars(numberPattern(b, whole, fraction), anywhere, m)
	if err == nil && b.lo != nil {
		d, err = compared(d, b.lo, b.loOut, greater, m)
	}
	if err == nil && b.hi != nil {
		d, err = compared(d, b.hi, b.hiOut, less, m)
	}
	for _, x := range b.multiples {
		if err != nil {
			return nil, err
		}
		var mult *chars
		if mult, err = multipleChars(x, b.integer, m); err != nil {
			err = at("multipleOf", err)
		} else {
			d, err = combined(d, mult, both, m)
		}
	}
	return d, err
}

func numberPattern(b *bounds, whole, fraction int) string {
	integer := fmt.Sprintf(`^-?(0|[1-9][0-9]{0,%d})`, whole-1)
	switch {
	case b.fractional:
		return integer + fmt.Sprintf(`\.[0-9]{0,%d}[1-9]$`, fraction-1)
	case b.integer:
		return integer + `$`
	case b.free():
		return integer + fmt.Sprintf(`(\.[0-9]{1,%d})?([eE][+-]?[0-9]{1,2})?$`, fraction)
	}
	return integer + fmt.Sprintf(`(\.[0-9]{1,%d})?$`, fraction)
}

// order is how a number must stand to a bound.
type order int

const (
	less    order = -1
	greater order = 1
)

// compared keeps the numbers of d that stand to a bound as wanted, or, if not
// out, equal it.
func compared(d *chars, bound *big.Rat, out bool, want order, m *meter) (*chars, error) {
	whole, fraction, err := digits(bound)
	if err != nil {
		return nil, err
	}
	sign := order(bound.Sign())
	// For numbers of the bound's sign magnitudes are compared; of the others all
	// or none will do. Zero is written with either sign.
	positive, negative := &magnitude{whole: whole, fraction: fraction}, &magnitude{whole: whole, fraction: fraction}
	positive.accept = [3]bool{want == less, !out, want == greater}
	negative.accept = [3]bool{want == greater, !out, want == less}
	switch {
	case sign < 0: // positive ones are greater; magnitudes say nothing about them
		positive = allOrNone(want == greater)
	case sign > 0:
		negative = allOrNone(want == less)
	}
	c, err := signed(positive, negative, m)
	if err != nil {
		return nil, err
	}
	return combined(d, c, both, m)
}

// allOrNone accepts every number, or none.
func allOrNone(all bool) *magnitude { return &magnitude{accept: [3]bool{all, all, all}} }

// magnitude compares a number without sign to one given in digits. accept says
// whether the smaller, the equal and the greater will do.
type magnitude struct {
	whole, fraction string
	accept          [3]bool
}

// comparing is a state of the comparison: digits read, in which part, and how
// the number stands so far (0: less, 1: equal, 2: greater).
type comparing struct {
	read     int
	fraction bool
	so       int
	zero     bool // the whole part is 0
}

// next is the state after a character: a digit, or the point.
func (g *magnitude) next(s comparing, c byte) (comparing, bool) {
	if c == '.' {
		if s.fraction {
			return s, false
		}
		return comparing{fraction: true, so: g.wholeOf(s)}, true
	}
	if !s.fraction {
		if s.read == 0 && c == '0' {
			s.zero = true
			return s, true
		}
		if s.read <= len(g.whole) {
			if s.read < len(g.whole) {
				s.so = against(s.so, c, g.whole[s.read])
			}
			s.read++
		}
		return s, true
	}
	if s.read < len(g.fraction) {
		s.so = against(s.so, c, g.fraction[s.read])
		s.read++
	} else if s.so == 1 && c != '0' {
		s.so = 2
	}
	return s, true
}

func against(so int, c, bound byte) int {
	switch {
	case so != 1 || c == bound:
		return so
	case c < bound:
		return 0
	}
	return 2
}

// wholeOf tells how the whole part stands when it is complete.
func (g *magnitude) wholeOf(s comparing) int {
	switch {
	case s.read < len(g.whole):
		return 0
	case s.read > len(g.whole):
		return 2
	}
	return s.so
}

// accepts tells whether the number will do if it ends in s.
func (g *magnitude) accepts(s comparing) bool {
	so := s.so
	if !s.fraction {
		so = g.wholeOf(s)
	}
	if so == 1 && (!s.fraction || s.read < len(g.fraction)) && g.fractionLeft(s) {
		so = 0
	}
	return g.accept[so]
}

// fractionLeft tells whether the bound has digits that the number lacks; they
// are not all 0, since the bound's last is not.
func (g *magnitude) fractionLeft(s comparing) bool {
	if !s.fraction {
		return len(g.fraction) > 0
	}
	return s.read < len(g.fraction)
}

// signed makes the automaton that compares positive numbers one way and negative
// ones another.
func signed(positive, negative *magnitude, m *meter) (*chars, error) {
	type state struct {
		negative bool
		s        comparing
	}
	var sets []runes
	for c := '0'; c <= '9'; c++ {
		sets = append(sets, oneRune(c))
	}
	sets = append(sets, oneRune('.'), oneRune('-'))
	d := &chars{alphabet: alphabetOf(sets)}
	start := state{s: comparing{so: 1}}
	ids, list := map[state]int32{start: 0}, []state{start}
	intern := func(s state) int32 {
		id, ok := ids[s]
		if !ok {
			id = int32(len(list))
			ids[s] = id
			list = append(list, s)
		}
		return id
	}
	minus := intern(state{negative: true, s: comparing{so: 1}})
	for at := 0; at < len(list); at++ {
		s := list[at]
		g := choose(s.negative, negative, positive)
		d.accept = append(d.accept, at > 0 && int32(at) != minus && g.accepts(s.s))
		for class := range d.alphabet.count {
			to := int32(dead)
			switch r := d.alphabet.sample(class); {
			case r == '-' && at == 0:
				to = minus
			case r >= '0' && r <= '9' || r == '.':
				if next, ok := g.next(s.s, byte(r)); ok {
					to = intern(state{s.negative, next})
				}
			}
			d.trans = append(d.trans, to)
		}
		if err := m.state(1); err != nil {
			return nil, err
		}
	}
	return d.trimmed(), nil
}

// multipleChars makes the automaton of the multiples of x, by the remainder of
// what has been read.
func multipleChars(x *big.Rat, integer bool, m *meter) (*chars, error) {
	if x.Sign() <= 0 {
		return nil, fmt.Errorf("must be positive")
	}
	places, exact := x.FloatPrec()
	if !exact || places > 12 {
		return nil, fmt.Errorf("%s has more than 12 digits after the point", x.RatString())
	}
	// With so many places after the point a number is an integer of 10^-places,
	// and must be a multiple of mod.
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil)
	mod := new(big.Int).Div(new(big.Int).Mul(x.Num(), scale), x.Denom())
	if !mod.IsInt64() || mod.Int64()*int64(places+2) > 20_000 {
		return nil, fmt.Errorf("%s takes too large an automaton", x.FloatString(places))
	}
	if integer {
		places = max(places, 0)
	}
	return remainders(mod.Int64(), places, m)
}

func remainders(mod int64, places int, m *meter) (*chars, error) {
	var sets []runes
	for c := '0'; c <= '9'; c++ {
		sets = append(sets, oneRune(c))
	}
	sets = append(sets, oneRune('.'), oneRune('-'))
	d := &chars{alphabet: alphabetOf(sets)}
	// State 0 begins; then (digits after the point + 1, remainder); the part
	// before the point is 0.
	parts := int64(places + 2)
	id := func(part, rem int64) int32 { return int32(1 + part*mod + rem) }
	d.accept = make([]bool, 1+parts*mod)
	k := d.alphabet.count
	d.trans = make([]int32, len(d.accept)*k)
	if err := m.state(len(d.accept)); err != nil {
		return nil, err
	}
	for class := range k {
		r := d.alphabet.sample(class)
		for s := range d.accept {
			to := int32(dead)
			part, rem := int64(0), int64(0)
			if s > 0 {
				part, rem = int64(s-1)/mod, int64(s-1)%mod
			}
			switch {
			case r == '-' && s == 0:
				to = 0
			case r == '.' && s > 0 && part == 0:
				to = id(1, rem)
			case r >= '0' && r <= '9' && part == 0:
				to = id(0, (rem*10+int64(r-'0'))%mod)
			case r >= '0' && r <= '9' && part < parts-1:
				to = id(part+1, (rem*10+int64(r-'0'))%mod)
			case r == '0' && part == parts-1:
				to = id(part, rem)
			}
			d.trans[s*k+class] = to
			if s > 0 {
				for range int64(places) - max(part-1, 0) {
					rem = rem * 10 % mod
				}
				d.accept[s] = rem == 0
			}
		}
	}
	return d.trimmed(), nil
}
