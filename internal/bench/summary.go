package bench

import (
	"math"
	"slices"
)

// Summary is what repeated measurements came to.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Q1     float64 `json:"q1"` // first quartile
	Q3     float64 `json:"q3"` // third quartile
}

// Summarize orders the values; none give the zero Summary.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	v := sorted(values)
	return Summary{Median: quantile(v, 0.5), Min: v[0], Max: v[len(v)-1], Q1: quantile(v, 0.25), Q3: quantile(v, 0.75)}
}

// Spread is the quartiles' distance as a share of the median: half of the
// measurements lie within it.
func (s Summary) Spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Q3 - s.Q1) / s.Median
}

func sorted(values []float64) []float64 { return slices.Sorted(slices.Values(values)) }

// quantile interpolates between the two values nearest to rank q*(n-1).
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(math.Floor(at))
	j := min(i+1, len(sorted)-1)
	return sorted[i] + (sorted[j]-sorted[i])*(at-float64(i))
}
