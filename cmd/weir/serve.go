package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"weir/internal/backend"
	"weir/internal/backend/cpu"
	"weir/internal/engine"
	"weir/internal/host"
	"weir/internal/llm"
	"weir/internal/server"
)

type serveCmd struct {
	modelOptions
	engineOptions
	securityOptions
	observeOptions

	More []string `arg:"" optional:"" name:"more" help:"Further models, as FILE or NAME=FILE; requests say which they want. Each gets memory for its weights, and an equal part of the rest."`
	multiOptions
	Host         string        `help:"Address to listen on. 0.0.0.0 is every address; --keys says who may use it then." default:"127.0.0.1" placeholder:"127.0.0.1" group:"Server"`
	Port         int           `help:"Port to listen on; 0 picks a free one." default:"8080" group:"Server"`
	MaxBody      memorySize    `help:"Largest request body." default:"32MiB" group:"Server"`
	DrainTimeout time.Duration `help:"How long running requests may take to end after the first ^C or SIGTERM; 0: for ever." default:"30s" group:"Server"`
	limitOptions
	KeepAlive time.Duration `help:"How long a stream may be silent before it gets a comment, for the proxies between; 0: never." default:"15s" group:"Server"`
}

// Help is printed by kong below the command's summary.
func (*serveCmd) Help() string {
	return `Examples:

    weir serve
    weir serve model.gguf --ctx 8192 --port 9000
    weir serve path/to/checkpoint/ --memory 12GiB
    weir serve chat=large.gguf code=small.gguf --max-loaded-models 1`
}

// Validate is called by kong; it hides engineOptions' own.
func (c *serveCmd) Validate() error {
	switch {
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("--port is %d; it must be from 0 to 65535", c.Port)
	case c.MaxBody.bytes == 0:
		return errors.New("--max-body is a share; it must be a size such as 32MiB")
	case c.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout is %v; it must be positive, or 0 to wait for ever", c.DrainTimeout)
	case c.KeepAlive < 0:
		return fmt.Errorf("--keep-alive is %v; it must be positive, or 0 for never", c.KeepAlive)
	}
	if err := c.multiOptions.check(1 + len(c.More)); err != nil {
		return err
	}
	if len(c.More) > 0 && (c.ChatTemplate != "" || c.DraftModel != "" || c.Medusa != "" || c.Eagle != "" || !slices.Contains([]string{"auto", "off", "ngram"}, c.Speculate)) {
		return errors.New("--chat-template, --draft-model, --medusa, --eagle and a --speculate that needs one of them are for one model, and several are to be served; serve that one by itself")
	}
	for _, validate := range []func() error{c.limitOptions.Validate, c.securityOptions.Validate, c.observeOptions.Validate, c.engineOptions.Validate} {
		if err := validate(); err != nil {
			return err
		}
	}
	return nil
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(io streams, log *slog.Logger) error {
	// A server does not end because whoever read its log did.
	signal.Ignore(syscall.SIGPIPE)
	return c.serve(io, &service{}, log)
}

func (c *serveCmd) serve(io streams, s *service, log *slog.Logger) error {
	if err := s.secured.open(&c.securityOptions, log); err != nil {
		return err
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	s.phase.Store("starting")
	srv, err := c.newServer(s, log)
	if err != nil {
		listener.Close()
		return err
	}
	defer s.stopTracing(log)
	// The server listens while the model loads, so that probes can tell a
	// server that is loading from one that is not there.
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), listener) }()
	stopped, unwatch := c.watchSignals(io.signals, srv, s, log)
	defer unwatch()
	r := &reloader{server: srv, service: s, log: log, level: io.level, again: io.again}
	r.remember()
	defer watchReload(io, r.reload)()
	s.secured.warnOpen(io.err, listener.Addr())

	if err = c.load(io, s, log, listener.Addr()); err != nil {
		srv.Close()
		return errors.Join(err, <-served)
	}
	if err = <-served; err == nil {
		<-stopped
	}
	return errors.Join(err, s.close())
}

func (c *serveCmd) newServer(s *service, log *slog.Logger) (*server.Server, error) {
	o := c.serverOptions(s, log)
	if err := c.observeOptions.apply(&o, s); err != nil {
		return nil, err
	}
	return server.New(o, s, s)
}

func (c *serveCmd) serverOptions(s *service, log *slog.Logger) server.Options {
	o := server.DefaultOptions()
	c.limitOptions.apply(&o)
	o.MaxBody, o.DrainTimeout, o.KeepAlive = c.MaxBody.bytes, c.DrainTimeout, c.KeepAlive
	o.Version, o.Log = version(), log
	o.MaxBodies = max(o.MaxBodies, o.MaxBody)
	c.securityOptions.apply(&o, &s.secured, c.Host)
	return o
}

// load brings the model up and says what became of it.
func (c *serveCmd) load(io streams, s *service, log *slog.Logger, addr net.Addr) error {
	s.phase.Store("loading the model")
	list, err := c.models()
	if err != nil {
		return err
	}
	if err := c.route(list, io, s, log); err != nil {
		return err
	}
	if err := c.loadFirst(context.Background(), list, s); err != nil {
		return errors.Join(err, s.close())
	}
	n, err := threads(host.New("/"), c.Threads)
	if err != nil {
		return errors.Join(err, s.close())
	}
	s.phase.Store("")
	c.greet(io, s, n, addr)
	printServed(io.out, list)
	return nil
}

// greet tells a person how to talk to the server.
func (c *serveCmd) greet(io streams, s *service, threads int, addr net.Addr) {
	models, url := s.Models(), "http://"+reachable(addr)
	model, names, which := models[0], models[0].ID, ""
	for _, m := range models[1:] {
		names, which = names+", "+m.ID, fmt.Sprintf(`"model":%q,`, model.ID)
	}
	if c.TLSCert != "" {
		url = "https://" + reachable(addr)
	}
	try := `/v1/chat/completions --json '{` + which + `"messages":[{"role":"user","content":"What are you?"}],"stream":true}'`
	note := ""
	if !model.Chat {
		note = model.ID + " has no chat template, so /v1/chat/completions needs --chat-template FILE or FORMAT" + likely(model) + "\n"
		try = `/v1/completions --json '{` + which + `"prompt":"Once upon a time","max_tokens":64,"stream":true}'`
	}
	if s.secured.keys.Ring() != nil {
		try += ` -H "Authorization: Bearer $WEIR_API_KEY"`
	}
	fmt.Fprintf(io.out, "serving %s with %s at %s/v1  (^C drains, twice stops)\n%stry   curl -N %s%s\n", names, plural(threads, "thread", ""), url, note, url, try)
}

// likely is a hint at the format that a model without a chat template may know.
func likely(m llm.Model) string {
	if m.Likely == "" {
		return ""
	}
	return fmt.Sprintf(" (its vocabulary has the marks of %s; if it was trained on chats: --chat-template %s)", m.Likely, m.Likely)
}

// reachable is an address that a client here can use: one that listens on every
// address is no address to connect to.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}

// warmUp sends a real request down the real path (on a CPU all but the tokeniser), so that the first client does
// not pay for what happens once: on a GPU a step of decoding is other kernels than a
// prompt, on a CPU a prompt of one token has touched what there is to touch. (A text
// may be ten, which take half as long again.)
func warmUp(e *engine.Engine, on backend.Backend) error {
	p := llm.DefaultParams()
	prompt, tokens := llm.Prompt(llm.Text("Hello")), 2
	if _, ok := on.(*cpu.Backend); ok {
		prompt, tokens = llm.Tokens{0}, 1
	}
	p.MaxTokens, p.Temperature, p.IgnoreEOS = &tokens, 0, true
	for _, err := range e.Generate(context.Background(), &llm.Request{ID: "warm-up", Prompt: prompt, Params: p}) {
		if err != nil {
			return err
		}
	}
	return nil
}

// watchSignals drains at the first signal, stops at the second and exits at the
// third. stopped is closed when the drain has ended; unwatch ends the watch.
func (c *serveCmd) watchSignals(signals <-chan os.Signal, srv *server.Server, s *service, log *slog.Logger) (stopped <-chan struct{}, unwatch func()) {
	ended := func() {}
	if signals == nil {
		own := make(chan os.Signal, 3)
		signal.Notify(own, os.Interrupt, syscall.SIGTERM)
		signals, ended = own, func() { signal.Stop(own) }
	}
	unwatched, done := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case first := <-signals:
			defer close(done)
			if s.starting() {
				log.Info("stopped while loading")
				os.Exit(exitCode(first)) // nothing runs that could be lost
			}
			c.drain(signals, unwatched, srv, log)
		case <-unwatched:
		}
	}()
	return done, func() {
		ended()
		close(unwatched)
	}
}

// drain lets running requests end. A signal ends them at once, another weir.
func (c *serveCmd) drain(signals <-chan os.Signal, unwatched <-chan struct{}, srv *server.Server, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for {
			select {
			case again := <-signals:
				if ctx.Err() != nil {
					os.Exit(exitCode(again))
				}
				cancel()
			case <-unwatched:
				return
			}
		}
	}()
	log.Info("draining: new requests are refused, running ones end; once more stops at once", "limit", c.limit())
	if err := srv.Drain(ctx); err != nil {
		log.Warn("stopped before every request had ended", "reason", err)
		return
	}
	log.Info("stopped")
}

func (c *serveCmd) limit() string {
	if c.DrainTimeout == 0 {
		return "none"
	}
	return c.DrainTimeout.String()
}

// exitCode is how shells report a process that a signal ended.
func exitCode(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitInterrupted
}

// listen takes the port, or says who has it and which is free.
func (c *serveCmd) listen() (net.Listener, error) {
	addr := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, c.inUse()
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listening on %s: this user may not (ports below 1024 are for root); choose another with --port: %w", addr, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listening on %s: this machine does not have that address; --host takes one of its own, 127.0.0.1 for this machine alone or 0.0.0.0 for all: %w", addr, err)
	}
	return nil, fmt.Errorf("listening on %s: %w", addr, err)
}

func (c *serveCmd) inUse() error {
	who := "another process, which can't be told"
	if h, err := host.New("/").PortHolder(c.Port); err == nil {
		who = h.String()
	}
	next := "choose another with --port"
	if free, err := host.FreePort(c.Host, c.Port); err == nil {
		next = fmt.Sprintf("stop it, or use the next free port: --port %d", free)
	}
	return fmt.Errorf("port %d is in use by %s; %s", c.Port, who, next)
}
