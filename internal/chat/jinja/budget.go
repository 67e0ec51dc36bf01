package jinja

import "fmt"

// Limits bound what one rendering may do. Zero fields take their defaults.
//
// The default bounds grow with the input, because honest templates do work
// in proportion to it: a conversation of a million tokens must render.
type Limits struct {
	Steps  int // nodes evaluated, plus a step for every 64 bytes a string operation reads
	Output int // bytes of the rendered text
	Memory int // bytes of all strings, lists and dictionaries made on the way, dead ones included
	Depth  int // nested macro calls, recursive loops and lazy iterators
}

const (
	defaultSteps  = 5_000_000
	defaultOutput = 16 << 20
	defaultMemory = 64 << 20
	defaultDepth  = 200 // about where CPython's own recursion limit stops Jinja's macros

	stepsPerInputByte  = 16
	outputPerInputByte = 4
	memoryPerInputByte = 64

	// maxEvalDepth bounds nested evaluations over all macro calls, so that
	// Go's stack stays at a few megabytes.
	maxEvalDepth = 20_000
	// maxValueDepth bounds the nesting of values that are printed, compared
	// or hashed.
	maxValueDepth = 500

	bytesPerStep  = 64 // read in the time of a step by operations that search bytes
	walkedPerStep = 16 // and by those that go from character to character
	bytesPerValue = 16 // a list's element
	bytesPerEntry = 64 // a dictionary's
)

// withDefaults fills in the bounds for a rendering whose variables took
// inputBytes of JSON.
func (l Limits) withDefaults(inputBytes int) Limits {
	fill := func(p *int, base, perByte int) {
		if *p == 0 {
			*p = base + perByte*inputBytes
		}
	}
	fill(&l.Steps, defaultSteps, stepsPerInputByte)
	fill(&l.Output, defaultOutput, outputPerInputByte)
	fill(&l.Memory, defaultMemory, memoryPerInputByte)
	fill(&l.Depth, defaultDepth, 0)
	return l
}

func limitError(format string, args ...any) error {
	return &Error{Class: "LimitError", Msg: fmt.Sprintf(format, args...), cause: ErrLimit}
}

// tick spends n steps.
func (st *state) tick(n int) error {
	st.steps -= n
	if st.steps < 0 {
		st.steps = 0
		return limitError("the template takes more than %d steps: it loops too long over too much", st.limits.Steps)
	}
	return nil
}

// scan spends the steps of an operation that reads n bytes.
func (st *state) scan(n int) error { return st.tick(n / bytesPerStep) }

// walk spends the steps of an operation that looks at each character of n bytes.
func (st *state) walk(n int) error { return st.tick(n / walkedPerStep) }

// alloc spends n bytes. It is called before the memory is taken.
func (st *state) alloc(n int) error {
	if n < 0 || n > st.memory {
		return limitError("the template makes more than %d bytes of intermediate values", st.limits.Memory)
	}
	st.memory -= n
	return st.scan(n)
}

// product multiplies two sizes for alloc, saturating.
func product(a, b int) int {
	if a <= 0 || b <= 0 {
		return 0
	}
	const most = 1 << 50
	if a > most/b {
		return most
	}
	return a * b
}

// enter counts one more level of macro calls, recursive loops or lazy
// iterators; each is left with st.leave.
func (st *state) enter() error {
	if st.depth >= st.limits.Depth {
		return limitError("maximum recursion depth exceeded: more than %d nested macro calls, recursive loops or lazy filters", st.limits.Depth)
	}
	st.depth++
	return nil
}

func (st *state) leave() { st.depth-- }

// descend counts one more level of a value that is walked.
func descend(depth int) error {
	if depth > maxValueDepth {
		return limitError("a value is nested more than %d levels deep", maxValueDepth)
	}
	return nil
}
