package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// parseInt is Python's int(s, base).
func parseInt(s string, base int) (Value, bool) {
	s = strings.TrimFunc(s, isSpace)
	if base != 0 && (base < 2 || base > 36) {
		return nil, false
	}
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || digits == "" || len(digits) > maxDigits {
		return nil, false
	}
	prefix := ""
	if len(digits) > 2 && digits[0] == '0' {
		switch digits[1] | 0x20 {
		case 'x':
			prefix = "x"
		case 'o':
			prefix = "o"
		case 'b':
			prefix = "b"
		}
	}
	if of := map[string]int{"x": 16, "o": 8, "b": 2}[prefix]; prefix != "" && (base == 0 || base == of) {
		base = of
		digits = strings.TrimPrefix(digits[2:], "_")
	}
	if base == 0 {
		base = 10
		if len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0_") != "" {
			return nil, false
		}
	}
	if !singleUnderscores(digits) {
		return nil, false
	}
	n, ok := new(big.Int).SetString(strings.ReplaceAll(digits, "_", ""), base)
	if !ok {
		return nil, false
	}
	if s[0] == '-' {
		n.Neg(n)
	}
	return shrink(n), true
}

// singleUnderscores reports whether underscores stand between digits only.
func singleUnderscores(s string) bool {
	return s != "" && s[0] != '_' && s[0] != '+' && s[0] != '-' && s[len(s)-1] != '_' && !strings.Contains(s, "__")
}

// parseFloat is Python's float(s).
func parseFloat(s string) (float64, bool) {
	s = strings.TrimFunc(s, isSpace)
	if strings.ContainsAny(s, "xXpP") {
		return 0, false // Go reads hexadecimal floats, Python does not
	}
	if strings.Contains(s, "_") {
		for i := range s {
			if s[i] == '_' && (i == 0 || i+1 == len(s) || !isDecimal(s[i-1]) || !isDecimal(s[i+1])) {
				return 0, false
			}
		}
		s = strings.ReplaceAll(s, "_", "")
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// truncateFloat is int(f) of a finite float.
func truncateFloat(f float64) Value {
	n, _ := new(big.Float).SetFloat64(math.Trunc(f)).Int(nil)
	return shrink(n)
}

// formatFixed writes a float with so many decimals.
func formatFixed(f float64, decimals int) string {
	return strconv.FormatFloat(f, 'f', decimals, 64)
}

// roundNumber is Python's round(v, precision): to even where both neighbours
// are equally near.
func roundNumber(v Value, precision int) (Value, error) {
	if n, ok := asInt(v); ok {
		return roundInt(n, precision)
	}
	f, ok := v.(float64)
	if !ok {
		return v, nil
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0) || precision > 340:
		return f, nil
	case precision < -310:
		return math.Copysign(0, f), nil
	case precision >= 0:
		out, err := strconv.ParseFloat(formatFixed(f, precision), 64)
		if err != nil {
			return f, nil
		}
		return out, nil
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-precision)), nil)
	q := halfToEven(new(big.Rat).SetFloat64(f), scale)
	out, _ := new(big.Float).SetInt(q.Mul(q, scale)).Float64()
	if out == 0 {
		out = math.Copysign(0, f)
	}
	return out, nil
}

func roundInt(n int64, precision int) (Value, error) {
	if precision >= 0 {
		return n, nil
	}
	if precision < -19 {
		return int64(0), nil
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-precision)), nil)
	q := halfToEven(new(big.Rat).SetInt64(n), scale)
	if q.Mul(q, scale); !q.IsInt64() {
		return nil, overflow()
	}
	return q.Int64(), nil
}

// halfToEven is x/scale rounded to the nearest integer.
func halfToEven(x *big.Rat, scale *big.Int) *big.Int {
	x = new(big.Rat).Quo(x, new(big.Rat).SetInt(scale))
	twice := new(big.Int).Lsh(x.Num(), 1)
	q := new(big.Int).Add(twice, x.Denom())
	den2 := new(big.Int).Lsh(x.Denom(), 1)
	m := new(big.Int)
	q.DivMod(q, den2, m)
	if m.Sign() == 0 && q.Bit(0) == 1 { // exactly between two integers
		q.Sub(q, big.NewInt(1))
	}
	return q
}
