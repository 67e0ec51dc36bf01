package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"weir/internal/auth"
	"weir/internal/llm"
	"weir/internal/metrics"
	"weir/internal/trace"
)

// Options configure a server. Start from [DefaultOptions].
type Options struct {
	// MaxBody is the largest request body, in bytes. Larger ones get 413.
	MaxBody int64
	// MaxBodies bounds the bytes of all requests' bodies that are held at once.
	// More get 429.
	MaxBodies int64
	// MaxHeader is the most bytes of a request's line and headers.
	MaxHeader int
	// HeaderTimeout is how long a client may take to send the headers.
	HeaderTimeout time.Duration
	// BodyTimeout is how long a client may take to send the body.
	BodyTimeout time.Duration
	// IdleTimeout is how long a connection without a request stays open.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may take to receive what is written.
	// It bounds each write, not the response: a slow stream may last for ever.
	WriteTimeout time.Duration
	// HeaderDelay is how long the headers of a stream wait for its first event.
	// Until they are sent, an error still has a status of its own; once they
	// are, a client knows that it waits for a model and not for the network.
	HeaderDelay time.Duration
	// KeepAlive is how long a stream may be silent before it gets a comment,
	// for the proxies between. 0: never.
	KeepAlive time.Duration
	// DrainTimeout is how long Drain waits for running requests. 0: for ever.
	DrainTimeout time.Duration
	// PromptsAtOnce is how many prompts of one completion request are with the
	// backend at a time, or choices if each has several, so that one request
	// cannot fill its queue.
	PromptsAtOnce int

	// Deadlines bound every request; one may ask for less, not for more.
	Deadlines llm.Deadlines
	// Quota bounds callers that have no key.
	Quota Quota
	// StreamInterval is how many tokens of a choice a chunk of a stream has, but
	// for the first and the last. 1: each is sent as it comes.
	StreamInterval int
	// H2C serves HTTP/2 without encryption, to clients that know of it.
	H2C bool
	// SendBuffer bounds what the kernel holds of an answer that its client does
	// not read, in bytes for each connection. 0: what the system does by itself,
	// which may be megabytes.
	SendBuffer int

	// Keys gives the keys that are valid now; nil, or a nil ring: none are set, and
	// everybody may do everything.
	Keys func() *auth.Ring
	// OpenMetrics lets /metrics be read without a key, by scrapers that have none.
	OpenMetrics bool
	// Hosts are the names that a request's Host header may have; empty: any. They
	// keep a web page whose own name leads to this machine from using a server
	// that has no keys.
	Hosts []string
	// Origins are those of the web pages that may read answers (CORS); "*" is any.
	Origins []string
	// TLS, if not nil, is what connections are encrypted with.
	TLS *tls.Config
	// MaxConnections are open at once; further ones are closed at once.
	MaxConnections int
	// LogContent puts requests' bodies and answers' texts into the log.
	LogContent bool

	// Metrics counts; nil: nothing is counted, and there is no /metrics.
	Metrics *metrics.Metrics
	// Tracer makes spans; nil: there are none.
	Tracer *trace.Tracer
	// Sequences gives what engines compute at the moment, for /debug/requests; nil:
	// that is not known.
	Sequences func(context.Context) ([]Sequence, error)

	// Version is what /version answers, and part of system_fingerprint.
	Version string
	// Log gets a line for each request, never its text. nil: no log.
	Log *slog.Logger
}

// DefaultOptions returns what suits most.
func DefaultOptions() Options {
	return Options{
		MaxBody:       32 << 20,
		MaxBodies:     256 << 20,
		MaxHeader:     64 << 10,
		HeaderTimeout: 10 * time.Second,
		BodyTimeout:   time.Minute,
		IdleTimeout:   2 * time.Minute,
		WriteTimeout:  30 * time.Second,
		HeaderDelay:   time.Second,
		KeepAlive:     15 * time.Second,
		DrainTimeout:  30 * time.Second,
		PromptsAtOnce: 64,
		Deadlines:     llm.Deadlines{Queue: 5 * time.Minute},
		SendBuffer:    256 << 10,

		StreamInterval: 1,
		Version:        "dev",

		MaxConnections: 8192,
	}
}

// Validate tells what is wrong with the options.
func (o Options) Validate() error {
	for _, n := range []struct {
		name  string
		value int64
	}{{"max body", o.MaxBody}, {"stream interval", int64(o.StreamInterval)}, {"max header", int64(o.MaxHeader)}, {"prompts at once", int64(o.PromptsAtOnce)}, {"max connections", int64(o.MaxConnections)}} {
		if n.value < 1 {
			return fmt.Errorf("server: %s is %d: it must be at least 1", n.name, n.value)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"header timeout", o.HeaderTimeout}, {"body timeout", o.BodyTimeout}, {"idle timeout", o.IdleTimeout}, {"write timeout", o.WriteTimeout}} {
		if d.value <= 0 {
			return fmt.Errorf("server: %s is %v: it must be more than 0, or a dead client would hold a connection for ever", d.name, d.value)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"header delay", o.HeaderDelay}, {"keep alive", o.KeepAlive}, {"drain timeout", o.DrainTimeout},
		{"queue timeout", o.Deadlines.Queue}, {"first token timeout", o.Deadlines.FirstToken}, {"timeout", o.Deadlines.Total}} {
		if d.value < 0 {
			return fmt.Errorf("server: %s is %v: it must not be negative", d.name, d.value)
		}
	}
	switch {
	case o.MaxBodies < o.MaxBody:
		return fmt.Errorf("server: %d bytes for all bodies do not hold one of the largest, %d bytes", o.MaxBodies, o.MaxBody)
	case o.SendBuffer < 0:
		return fmt.Errorf("server: send buffer is %d: it must not be negative", o.SendBuffer)
	case o.Quota.Requests < 0 || o.Quota.Tokens < 0 || o.Quota.Concurrent < 0:
		return fmt.Errorf("server: a quota is negative: %+v", o.Quota)
	}
	return nil
}

// withFixed gives the options with what cannot change while a server runs: what
// its listener and connections were made with, and what its answers are known
// by.
func (o Options) withFixed(old *Options) Options {
	o.MaxHeader, o.HeaderTimeout, o.IdleTimeout = old.MaxHeader, old.HeaderTimeout, old.IdleTimeout
	o.TLS, o.MaxConnections, o.H2C, o.SendBuffer = old.TLS, old.MaxConnections, old.H2C, old.SendBuffer
	o.Keys, o.Version, o.Log = old.Keys, old.Version, old.Log
	o.Metrics, o.Tracer, o.Sequences, o.OpenMetrics = old.Metrics, old.Tracer, old.Sequences, old.OpenMetrics
	return o
}

func (o Options) protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true) // over TLS
	p.SetUnencryptedHTTP2(o.H2C)
	return p
}
