package jinja

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Template is a parsed template. It is immutable: any number of renderings
// may run at once.
type Template struct {
	source string
	body   []stmt
	fn     function
	scope  scope
}

// Parse reads a template. A mistake is an *Error with its line.
func Parse(source string) (*Template, error) {
	if !utf8.ValidString(source) {
		return nil, syntaxError(1, "the template is not valid UTF-8")
	}
	body, err := parse(source)
	if err != nil {
		return nil, err
	}
	fn, sc, err := resolve(body)
	if err != nil {
		return nil, err
	}
	return &Template{source: source, body: body, fn: fn, scope: sc}, nil
}

// Source returns the text the template was parsed from.
func (t *Template) Source() string { return t.source }

// Call is one rendering.
type Call struct {
	Vars *Dict     // the variables, by name
	Size int       // bytes of the input behind Vars: the default limits grow with it
	Now  time.Time // what strftime_now formats
	Limits
}

// Render returns the template's text. Errors are *RaisedError if the
// template refused its input, else *Error.
func (t *Template) Render(c Call) (string, error) {
	limits := c.Limits.withDefaults(c.Size)
	st := &state{
		limits:  limits,
		steps:   limits.Steps,
		memory:  limits.Memory,
		vars:    c.Vars,
		now:     c.Now,
		out:     &output{root: true},
		filters: filters,
		tests:   tests,
		methods: &methods,
		frame:   &frame{slots: make([]Value, t.fn.slots)},
	}
	st.enterScope(&t.scope)
	if _, err := st.run(t.body); err != nil {
		return "", err
	}
	return st.out.b.String(), nil
}

// state is a rendering under way.
type state struct {
	limits    Limits
	steps     int // left
	memory    int // bytes left
	depth     int // open calls, recursive loops, lazy iterators
	evalDepth int // open evaluations

	vars  *Dict
	now   time.Time
	out   *output
	frame *frame

	filters map[string]filterFunc // here, for filters that call filters by name
	tests   map[string]testFunc
	methods *methodTable
}

// frame holds the variables of a function that runs.
type frame struct {
	slots []Value // nil: no value
	outer *frame  // of the function it is defined in
}

func (f *frame) at(s slot) *Value {
	for ; s.hops > 0; s.hops-- {
		f = f.outer
	}
	return &f.slots[s.idx]
}

// output collects text: the rendered one, or that of a macro or block.
type output struct {
	b    strings.Builder
	root bool
}

func (st *state) write(s string) error {
	if st.out.root {
		if st.out.b.Len()+len(s) > st.limits.Output {
			return limitError("the rendered text would exceed %d bytes", st.limits.Output)
		}
		if err := st.scan(len(s)); err != nil {
			return err
		}
	} else if err := st.alloc(2 * len(s)); err != nil { // twice: the buffer grows in leaps
		return err
	}
	st.out.b.WriteString(s)
	return nil
}

// capture runs a body and returns what it writes, and where to go then.
func (st *state) capture(body []stmt) (string, control, error) {
	outer := st.out
	st.out = &output{}
	goes, err := st.run(body)
	s := st.out.b.String()
	st.out = outer
	return s, goes, err
}

// resolveName finds a name among the rendering's variables and Jinja's globals.
func (st *state) resolveName(name string) Value {
	if v, ok := st.vars.Get(name); ok {
		return v
	}
	return globals[name] // nil if there is none
}

func (st *state) enterScope(sc *scope) {
	for i := range sc.enter {
		l := &sc.enter[i]
		switch l.kind {
		case loadName:
			st.frame.slots[l.idx] = st.resolveName(l.name)
		case loadOuter:
			st.frame.slots[l.idx] = *st.frame.at(l.from)
		case loadNothing:
			st.frame.slots[l.idx] = nil
		}
	}
}

func (st *state) leaveScope(sc *scope) {
	for _, idx := range sc.leave {
		st.frame.slots[idx] = nil
	}
}
