package jinja

import (
	"errors"
	"fmt"
)

// ErrLimit is wrapped by errors of templates that were stopped because they
// did too much: too many steps, too many bytes, too deep a recursion.
var ErrLimit = errors.New("chat template exceeds its limits")

// Error is a fault of a template, or of the values it was given: a syntax
// error, an undefined name that is used, an operation that Python refuses.
type Error struct {
	Line  int    // line of the template, from 1; 0 if unknown
	Class string // the name of the exception Jinja or Python raises
	Msg   string // the message Jinja or Python gives, for the common faults

	cause error // ErrLimit, or nil
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return "chat template: " + e.Msg
	}
	return fmt.Sprintf("chat template, line %d: %s", e.Line, e.Msg)
}

func (e *Error) Unwrap() error { return e.cause }

// RaisedError is a template's own refusal of its input: a call of
// raise_exception.
type RaisedError struct {
	Line    int // line of the template, from 1
	Message string
}

// Error returns the template's message as it stands: it is written for the user.
func (e *RaisedError) Error() string { return e.Message }

func classError(class, format string, args ...any) error {
	return &Error{Class: class, Msg: fmt.Sprintf(format, args...)}
}

func typeError(format string, args ...any) error {
	return classError("TypeError", format, args...)
}

func valueError(format string, args ...any) error {
	return classError("ValueError", format, args...)
}

func filterError(format string, args ...any) error {
	return classError("FilterArgumentError", format, args...)
}

func syntaxError(line int, format string, args ...any) error {
	return &Error{Line: line, Class: "TemplateSyntaxError", Msg: fmt.Sprintf(format, args...)}
}

// at gives an error the line of the innermost node it passed through.
func at(line int, err error) error {
	switch e := err.(type) {
	case *Error:
		if e.Line == 0 {
			e.Line = line
		}
	case *RaisedError:
		if e.Line == 0 {
			e.Line = line
		}
	}
	return err
}

// isFault reports whether err is one that Python code would see as an
// exception of one of the classes: filters with a default swallow those, but
// never a limit.
func isFault(err error, classes ...string) bool {
	e, ok := err.(*Error)
	if !ok || e.cause != nil {
		return false
	}
	for _, c := range classes {
		if e.Class == c {
			return true
		}
	}
	return false
}
