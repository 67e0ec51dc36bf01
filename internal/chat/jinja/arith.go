package jinja

import (
	"math"
	"math/big"
	"math/bits"
	"strings"
)

func overflow() error {
	return classError("OverflowError", "integer overflow: the result does not fit in 64 bits")
}

func unsupported(op string, l, r Value) error {
	if op == "**" {
		op = "** or pow()"
	}
	return typeError("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(l), typeName(r))
}

// arithmetic is Python's l op r.
func (st *state) arithmetic(op string, l, r Value) (Value, error) {
	if s, ok := asString(l); ok {
		switch op {
		case "+":
			return st.addString(l, r)
		case "%":
			return st.percent(s, isMarkup(l), r)
		}
	}
	for _, v := range []Value{l, r} {
		if u, ok := v.(*Undefined); ok {
			return nil, u.fail(st)
		}
	}
	if isNumber(l) && isNumber(r) {
		return numeric(op, l, r)
	}
	switch op {
	case "+":
		return st.addSequences(l, r)
	case "*":
		if n, ok := asInt(r); ok && isSequence(l) {
			return st.repeat(l, n)
		}
		if n, ok := asInt(l); ok && isSequence(r) {
			return st.repeat(r, n)
		}
		if isSequence(l) || isSequence(r) {
			other := r
			if !isSequence(l) {
				other = l
			}
			switch {
			case isMarkup(l):
				return nil, typeError("'%s' object cannot be interpreted as an integer", typeName(r))
			case isMarkup(r):
				return nil, typeError("'%s' object cannot be interpreted as an integer", typeName(l))
			}
			return nil, typeError("can't multiply sequence by non-int of type '%s'", typeName(other))
		}
	}
	return nil, unsupported(op, l, r)
}

func (st *state) addString(l, r Value) (Value, error) {
	b, ok := asString(r)
	if !ok {
		if u, isUndefined := r.(*Undefined); isUndefined {
			return nil, u.fail(st)
		}
		if isMarkup(l) {
			return nil, unsupported("+", l, r)
		}
		return nil, typeError("can only concatenate str (not \"%s\") to str", typeName(r))
	}
	if !isMarkup(l) && !isMarkup(r) {
		return st.concat(l, b)
	}
	// One of the two is marked as safe HTML: the other one is escaped.
	a, _ := asString(l)
	if !isMarkup(l) {
		a = escapeHTML(a)
	}
	if !isMarkup(r) {
		b = escapeHTML(b)
	}
	if err := st.alloc(len(a) + len(b)); err != nil {
		return nil, err
	}
	return &text{s: a + b, safe: true}, nil
}

func (st *state) addSequences(l, r Value) (Value, error) {
	join := func(a, b []Value) ([]Value, error) {
		if err := st.alloc(product(len(a)+len(b), bytesPerValue)); err != nil {
			return nil, err
		}
		return append(append(make([]Value, 0, len(a)+len(b)), a...), b...), nil
	}
	switch x := l.(type) {
	case *List:
		y, ok := r.(*List)
		if !ok {
			return nil, typeError("can only concatenate list (not \"%s\") to list", typeName(r))
		}
		items, err := join(x.items, y.items)
		return &List{items}, err
	case *Tuple:
		y, ok := r.(*Tuple)
		if !ok {
			return nil, typeError("can only concatenate tuple (not \"%s\") to tuple", typeName(r))
		}
		items, err := join(x.items, y.items)
		return &Tuple{items: items}, err
	}
	return nil, unsupported("+", l, r)
}

func isSequence(v Value) bool {
	switch v.(type) {
	case string, *text, *List, *Tuple:
		return true
	}
	return false
}

func (st *state) repeat(v Value, n int64) (Value, error) {
	count := int(min(max(n, 0), 1<<40))
	if s, ok := asString(v); ok {
		if err := st.alloc(product(len(s), count)); err != nil {
			return nil, err
		}
		if s == "" {
			count = 0
		}
		if isMarkup(v) {
			return &text{s: strings.Repeat(s, count), safe: true}, nil
		}
		return strings.Repeat(s, count), nil
	}
	items, err := st.list(v)
	if err != nil {
		return nil, err
	}
	if err := st.alloc(product(product(len(items), count), bytesPerValue)); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		count = 0
	}
	out := make([]Value, 0, len(items)*count)
	for range count {
		out = append(out, items...)
	}
	if _, ok := v.(*Tuple); ok {
		return &Tuple{items: out}, nil
	}
	return &List{out}, nil
}

// sign is Python's -v or +v.
func (st *state) sign(op string, v Value) (Value, error) {
	if u, ok := v.(*Undefined); ok {
		return nil, u.fail(st)
	}
	if n, ok := asInt(v); ok {
		if op == "+" {
			return n, nil
		}
		if n == math.MinInt64 {
			return nil, overflow()
		}
		return -n, nil
	}
	switch x := v.(type) {
	case float64:
		if op == "-" {
			x = -x
		}
		return x, nil
	case *big.Int:
		if op == "-" {
			return shrink(new(big.Int).Neg(x)), nil
		}
		return x, nil
	}
	return nil, typeError("bad operand type for unary %s: '%s'", op, typeName(v))
}

// shrink returns n as an int64 if it is one.
func shrink(n *big.Int) Value {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

// toFloat converts a number; those beyond a float's range are infinite.
func toFloat(v Value) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	}
	n, ok := asInt(v)
	return float64(n), ok
}

func numeric(op string, l, r Value) (Value, error) {
	a, aInt := asInt(l)
	b, bInt := asInt(r)
	if aInt && bInt {
		return integral(op, a, b)
	}
	x, _ := toFloat(l)
	y, _ := toFloat(r)
	_, lFloat := l.(float64)
	_, rFloat := r.(float64)
	if !lFloat && !rFloat && op != "/" {
		return nil, overflow() // an int beyond 64 bits can be passed on, not computed with
	}
	return floating(op, x, y)
}

func zeroDivision(msg string) error { return classError("ZeroDivisionError", "%s", msg) }

func integral(op string, a, b int64) (Value, error) {
	switch op {
	case "+":
		c := a + b
		if (c > a) != (b > 0) && b != 0 {
			return nil, overflow()
		}
		return c, nil
	case "-":
		c := a - b
		if (c < a) != (b > 0) && b != 0 {
			return nil, overflow()
		}
		return c, nil
	case "*":
		return multiply(a, b)
	case "/":
		if b == 0 {
			return nil, zeroDivision("division by zero")
		}
		if exact := int64(1) << 53; -exact < a && a < exact && -exact < b && b < exact {
			return float64(a) / float64(b), nil
		}
		f, _ := new(big.Rat).SetFrac64(a, b).Float64() // rounded once
		return f, nil
	case "//", "%":
		if b == 0 && op == "%" {
			return nil, zeroDivision("integer modulo by zero")
		}
		if b == 0 {
			return nil, zeroDivision("integer division or modulo by zero")
		}
		if a == math.MinInt64 && b == -1 {
			if op == "%" {
				return int64(0), nil
			}
			return nil, overflow()
		}
		q, m := a/b, a%b
		if m != 0 && (m < 0) != (b < 0) {
			q, m = q-1, m+b
		}
		if op == "%" {
			return m, nil
		}
		return q, nil
	}
	return power(a, b)
}

func multiply(a, b int64) (Value, error) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	switch {
	case high != 0 || low > 1<<63 || low == 1<<63 && !negative:
		return nil, overflow()
	case negative:
		return -int64(low), nil
	}
	return int64(low), nil
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

func power(a, b int64) (Value, error) {
	if b < 0 {
		if a == 0 {
			return nil, zeroDivision("0.0 cannot be raised to a negative power")
		}
		return math.Pow(float64(a), float64(b)), nil
	}
	var out Value = int64(1)
	var base Value = a
	for {
		var err error
		if b&1 == 1 {
			if out, err = multiply(out.(int64), base.(int64)); err != nil {
				return nil, err
			}
		}
		if b >>= 1; b == 0 {
			return out, nil
		}
		if base, err = multiply(base.(int64), base.(int64)); err != nil {
			return nil, err
		}
	}
}

func floating(op string, x, y float64) (Value, error) {
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "/":
		if y == 0 {
			return nil, zeroDivision("float division by zero")
		}
		return x / y, nil
	case "//", "%":
		if y == 0 {
			if op == "%" {
				return nil, zeroDivision("float modulo")
			}
			return nil, zeroDivision("float floor division by zero")
		}
		q, m := floorDivide(x, y)
		if op == "%" {
			return m, nil
		}
		return q, nil
	}
	switch {
	case x == 0 && y < 0:
		return nil, zeroDivision("0.0 cannot be raised to a negative power")
	case x < 0 && y != math.Trunc(y) && !math.IsInf(y, 0):
		return nil, valueError("complex numbers are not supported")
	}
	out := math.Pow(x, y)
	if math.IsInf(out, 0) && !math.IsInf(x, 0) && !math.IsInf(y, 0) {
		return nil, classError("OverflowError", "(34, 'Numerical result out of range')")
	}
	return out, nil
}

// floorDivide is Python's divmod of floats.
func floorDivide(x, y float64) (quotient, modulus float64) {
	m := math.Mod(x, y)
	q := (x - m) / y
	if m != 0 {
		if (y < 0) != (m < 0) {
			m += y
			q--
		}
	} else {
		m = math.Copysign(0, y)
	}
	if q == 0 {
		return math.Copysign(0, x/y), m
	}
	floor := math.Floor(q)
	if q-floor > 0.5 {
		floor++
	}
	return floor, m
}
