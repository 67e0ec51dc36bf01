// Package jinja interprets the Jinja templates that language models ship as
// their chat templates, giving the same text as Hugging Face Transformers:
// Jinja's sandboxed environment with trimmed blocks, loop controls, a
// generation tag, and a tojson filter that is json.dumps.
//
// A template goes through four stages, a file or two each:
//
//	lex.go      text -> tokens, with Jinja's white-space control
//	parse*.go   tokens -> tree (ast.go)
//	scope.go    names -> numbered slots, by Jinja's static scoping rules
//	exec.go, eval.go   the tree is walked, once a rendering
//
// Values (value.go) behave as Python's: strings are sequences of code
// points, dictionaries keep their order, and what is printed is what Python
// prints. Nothing a template can reach is mutable except namespaces,
// cyclers and joiners, as in Jinja's immutable sandbox; so values need no
// copying, and only a namespace can contain itself.
//
// A template is untrusted. It reaches no file, no clock but the one it is
// given, and no randomness. The work it does, the bytes it makes, and the
// depth to which it nests are bounded (budget.go); what exceeds a bound is an
// error with the template's line, as is every other mistake in it.
package jinja
