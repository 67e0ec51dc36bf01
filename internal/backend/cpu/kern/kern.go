// Package kern has the CPU kernels: C functions for one instruction-set level
// each, compiled by tools/kerngen into Go assembly. What is committed here
// builds with Go alone; c/ holds the sources.
//
// A Level is what a machine's processor can run. Kernels come in two kinds:
//
//   - exact ones give the same bits as package cpu's portable loops, so that a
//     machine's level does not change what a model says;
//   - fast ones use the level's own arithmetic (fused products, integers) and
//     are held to a stated error.
//
// A kernel runs to its end without Go being able to interrupt it, so callers
// hand it pieces that take well under half a millisecond; otherwise a garbage
// collection would wait for it.
package kern

import "fmt"

// Level is an instruction-set level. The zero value has no kernels: the
// portable loops do everything.
type Level uint8

// The levels, each above the one before it on its architecture.
const (
	Portable Level = iota
	AVX2           // amd64 with AVX2, FMA and F16C
	AVX512         // and AVX-512 F, BW, VL, DQ and VNNI
)

var names = map[Level]string{Portable: "portable", AVX2: "avx2", AVX512: "avx512"}

func (l Level) String() string { return names[l] }

// ParseLevel reads what --cpu-level takes; it must be one that this machine can
// run.
func ParseLevel(s string) (Level, error) {
	var have []string
	for _, l := range Levels() {
		if l.String() == s {
			return l, nil
		}
		have = append(have, l.String())
	}
	for _, name := range names {
		if name == s {
			return Portable, fmt.Errorf("this machine's processor can't run level %s; it runs %v", s, have)
		}
	}
	return Portable, fmt.Errorf("%q is no level of the processor; this machine runs %v", s, have)
}

// Best is the highest level that this machine can run.
func Best() Level {
	l := Levels()
	return l[len(l)-1]
}

// Dots computes, exactly, Out[r*LdO+i] = dot(row r of X, row i of W) for r < Rows
// and i < N. X's rows are LdX floats apart, W's Cols. A row of products is
// summed as package cpu's dot sums it.
type Dots struct {
	X, W, Out               *float32
	Cols, Rows, N, LdX, LdO int64
}

// Axpy computes, exactly, Y[i] += F*X[i] for i < N.
type Axpy struct {
	Y, X *float32
	N    int64
	F    float32
}
