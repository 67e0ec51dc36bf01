// Package lint holds the project to its own rules: what may import what, and
// what a file may contain. It is all tests; `go test ./internal/lint` runs them.
//
// Each ban states its reason, and a failure prints it. A rule that is wrong for
// a file gets an exception beside the rule, with a reason; an exception that
// nothing needs any more fails too.
package lint
