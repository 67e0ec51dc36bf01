package llm

import (
	"fmt"
	"time"
)

// Kind classes errors by what a caller can do about them. A dialect maps it to
// a status code.
type Kind int

// The kinds of failure.
const (
	Internal     Kind = iota // weir's own fault: 500
	Invalid                  // the request is wrong: 400
	TooLong                  // the prompt does not fit the context: 400
	Unauthorized             // no key, or a wrong one: 401
	Forbidden                // the key does not allow it: 403
	NotFound                 // no such model or route: 404
	TooLarge                 // the body is over the limit: 413
	Overloaded               // the queue is full; try again later: 429
	Unavailable              // loading, draining or dead: 503
	Timeout                  // a deadline passed: 504
	Canceled                 // the caller went away: nobody to tell
)

// String names the kind for logs.
func (k Kind) String() string {
	names := [...]string{"internal", "invalid", "too_long", "unauthorized", "forbidden",
		"not_found", "too_large", "overloaded", "unavailable", "timeout", "canceled"}
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return names[k]
}

// Error is a failure that a client may see.
type Error struct {
	Kind    Kind
	Message string // what happened, why, what to do; shown to the client
	Param   string // the request's field at fault, if one is
	Code    string // a stable word for programs, if the dialect has one
	Err     error  // the cause, for logs; not shown

	// RetryAfter is when trying again may help, for Overloaded and Unavailable;
	// 0: not known.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Invalidf makes an error about a request's field.
func Invalidf(param, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Param: param, Message: fmt.Sprintf(format, args...)}
}
