package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/llm"
)

// closeGrace is how long Close lets streams tell their clients why they end.
const closeGrace = 2 * time.Second

// errStopping is the cause of the contexts that Close cancels.
var errStopping = errors.New("the server is stopping")

// Server serves a backend over HTTP. Its methods may be called by any goroutine.
type Server struct {
	options atomic.Pointer[Options]
	backend Backend
	health  Health
	log     *slog.Logger
	routes  []route
	mux     *http.ServeMux
	http    *http.Server

	quotas    quotas
	texts     atomic.Int64 // requests about text that run or wait
	bodyBytes atomic.Int64 // held of the bodies of all requests

	running            sightings
	connections        atomic.Int64 // open now
	connectionsRefused atomic.Int64

	draining atomic.Bool
	base     context.Context // of every request; ends with errStopping
	cancel   context.CancelCauseFunc
	stopOnce sync.Once
	stopped  chan struct{} // closed when Drain or Close has done its work

	now   func() time.Time // of responses' dates; tests have their own
	newID func() string
}

// New makes a server. The error is about the options.
func New(o Options, b Backend, h Health) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Server{backend: b, health: h, log: o.Log, stopped: make(chan struct{}), now: time.Now, newID: randomID}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.options.Store(&o)
	s.base, s.cancel = context.WithCancelCause(context.Background())
	o.Metrics.Attach(s.snapshot)
	s.routes = s.table()
	s.mux = newMux(s.routes)
	s.http = &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return s.base },
		MaxHeaderBytes:    o.MaxHeader,
		ReadHeaderTimeout: o.HeaderTimeout,
		IdleTimeout:       o.IdleTimeout,
		// Not ReadTimeout and WriteTimeout: they bound a whole request, and the
		// first one's end cancels a context that is still being answered.
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig: o.TLS,
		Protocols: o.protocols(),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			boundSendBuffer(c, o.SendBuffer)
			return ctx
		},
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: o.WriteTimeout, PingTimeout: o.WriteTimeout},
	}
	return s, nil
}

// opts are the options as they are now.
func (s *Server) opts() *Options { return s.options.Load() }

// Reload changes the options of a server that runs; requests that are being
// answered keep theirs where it matters to them. What a server is made
// with for good stays: see withFixed.
func (s *Server) Reload(o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	s.options.Store(new(o.withFixed(s.opts())))
	return nil
}

func randomID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Serve answers the listener's connections until Drain or Close has done its
// work, and then returns nil. The end of ctx is a Close. The listener is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	if err := s.listen(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %v: %w", l.Addr(), err)
	}
	<-s.stopped
	return nil
}

// Drain stops listening, refuses new requests and waits for those that run. When
// ctx or the drain timeout ends first, it closes the server and says so.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	if s.opts().DrainTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opts().DrainTimeout)
		defer cancel()
	}
	err := s.http.Shutdown(ctx)
	s.Close()
	if err != nil {
		return fmt.Errorf("drain: requests were still running and have been cut off: %w", err)
	}
	return nil
}

// Close ends everything that runs: streams get an error event, and whoever is
// left after a moment loses the connection.
func (s *Server) Close() {
	s.stopOnce.Do(func() {
		s.draining.Store(true)
		s.cancel(errStopping)
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close() // what it could complain of is gone anyway
		}
		close(s.stopped)
	})
}

// refusal is why a request is not taken, nil if it is.
func (s *Server) refusal() error {
	if s.draining.Load() {
		return &llm.Error{Kind: llm.Unavailable, Code: "draining",
			Message: "weir is shutting down and takes no new requests: try another server, or this one later"}
	}
	return nil
}
