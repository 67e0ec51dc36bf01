package server

import "context"

// Caller is who sends a request: an API key by its name, and what it may use.
// Whoever checks keys puts one into the request's context with [WithCaller],
// before the routes see the request; without keys everybody is the one caller
// without a name.
type Caller struct {
	// Name stands for the key in logs, metrics and fair shares. It is never the
	// key itself. "": no key was asked for.
	Name string
	// Share is how much the caller gets beside others when there is not enough
	// for all, against 1 for most. 0 is 1.
	Share int
	// Quota bounds what the caller may ask for.
	Quota Quota
}

// Quota bounds a caller. 0 is no bound.
type Quota struct {
	Requests   int // a minute
	Tokens     int // a minute, of prompts and answers
	Concurrent int // requests at once
}

type callerKey struct{}

// WithCaller gives a context that tells who asks.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf tells who asks; nil if nobody has said.
func CallerOf(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}
