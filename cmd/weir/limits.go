package main

import (
	"fmt"
	"time"

	"weir/internal/llm"
	"weir/internal/server"
)

// limitOptions bound what requests may take.
type limitOptions struct {
	Timeout           time.Duration `help:"How long a request may take in all; one may ask for less with its field timeout or the header X-Request-Timeout; 0: for ever." default:"0s" placeholder:"10m" group:"Limits"`
	QueueTimeout      time.Duration `help:"How long a request may wait for its computation to begin; 0: for ever." default:"5m" group:"Limits"`
	FirstTokenTimeout time.Duration `help:"How long a request may wait for its first token; 0: for ever." default:"0s" placeholder:"2m" group:"Limits"`
	WriteTimeout      time.Duration `help:"How long a client may take to receive what is written to it before it is cut off." default:"30s" group:"Limits"`
	RequestsPerMinute int           `help:"Requests a minute of all who have no key; 0: no limit. Keys have their own limits." default:"0" group:"Limits"`
	TokensPerMinute   int           `help:"Tokens a minute, of prompts and answers, of all who have no key; 0: no limit." default:"0" group:"Limits"`
	MaxConcurrent     int           `help:"Requests at once of all who have no key; 0: no limit but --max-queue." default:"0" group:"Limits"`
	StreamInterval    int           `help:"Tokens in a chunk of a stream; 1 sends each as it comes." default:"1" group:"Limits"`
	H2C               bool          `name:"h2c" help:"Serve HTTP/2 without TLS, too, to clients that know of it." group:"Limits"`
}

// Validate is called by those who embed the options.
func (o *limitOptions) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"timeout", o.Timeout}, {"queue-timeout", o.QueueTimeout}, {"first-token-timeout", o.FirstTokenTimeout}} {
		if d.value < 0 {
			return fmt.Errorf("--%s is %v; it must be positive, or 0 for no limit", d.name, d.value)
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"requests-per-minute", o.RequestsPerMinute}, {"tokens-per-minute", o.TokensPerMinute}, {"max-concurrent", o.MaxConcurrent}} {
		if n.value < 0 {
			return fmt.Errorf("--%s is %d; it must be positive, or 0 for no limit", n.name, n.value)
		}
	}
	switch {
	case o.WriteTimeout <= 0:
		return fmt.Errorf("--write-timeout is %v; it must be positive: a client that reads nothing would hold its place for ever", o.WriteTimeout)
	case o.StreamInterval < 1 || o.StreamInterval > 1024:
		return fmt.Errorf("--stream-interval is %d; it must be from 1 to 1024", o.StreamInterval)
	}
	return nil
}

func (o *limitOptions) apply(to *server.Options) {
	to.Deadlines = llm.Deadlines{Queue: o.QueueTimeout, FirstToken: o.FirstTokenTimeout, Total: o.Timeout}
	to.WriteTimeout = o.WriteTimeout
	to.Quota = server.Quota{Requests: o.RequestsPerMinute, Tokens: o.TokensPerMinute, Concurrent: o.MaxConcurrent}
	to.StreamInterval, to.H2C = o.StreamInterval, o.H2C
}
