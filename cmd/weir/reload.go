package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"weir/internal/server"
)

// reloaded are the options that a server takes over while it runs, when it is
// told to read its settings again. The others need a restart: what memory was
// planned for, and what sockets were made with.
var reloaded = []string{
	"allow-hosts", "cors-origins", "drain-timeout", "first-token-timeout", "keep-alive", "log-content", "log-level",
	"max-body", "max-concurrent", "max-queue", "max-queued-tokens", "queue-timeout", "requests-per-minute",
	"stream-interval", "timeout", "tokens-per-minute", "write-timeout",
}

// setting is a command line as it was parsed, with the value of each option.
type setting struct {
	cli    *cli
	values map[string]string
}

// parseSetting reads the command line, the environment and the file.
func parseSetting(args, env []string) (*setting, error) {
	settings, err := loadSettings(args, env)
	if err != nil {
		return nil, err
	}
	s := &setting{cli: new(cli), values: map[string]string{}}
	parser, _, err := newParser(s.cli, streams{out: io.Discard, err: io.Discard}, settings)
	if err != nil {
		return nil, err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, errors.New(settings.explain(err, parser.Model))
	}
	for _, f := range ctx.Flags() {
		s.values[f.Name] = fmt.Sprint(f.Target.Interface())
	}
	return s, nil
}

// changed names the options that differ, those that can be taken over and those
// that can't.
func (s *setting) changed(next *setting) (taken, fixed []string) {
	for name, value := range next.values {
		if s.values[name] == value {
			continue
		}
		if slices.Contains(reloaded, name) {
			taken = append(taken, name)
		} else {
			fixed = append(fixed, name)
		}
	}
	slices.Sort(taken)
	slices.Sort(fixed)
	return taken, fixed
}

// reloader takes over changed settings.
type reloader struct {
	server  *server.Server
	service *service
	log     *slog.Logger
	level   *slog.LevelVar // of the log; nil: it stays
	now     *setting
	again   func() (*setting, error) // nil: there is nothing to read
}

// remember takes the settings as they are for those in use.
func (r *reloader) remember() {
	if r.again == nil {
		return
	}
	if s, err := r.again(); err == nil { // it was right a moment ago
		r.now = s
	}
}

// reload reads the settings again. A mistake in them changes nothing.
func (r *reloader) reload() {
	r.service.secured.reloadAndTell(r.log)
	if r.again == nil {
		return
	}
	next, err := r.again()
	if err != nil {
		r.log.Warn("the settings are wrong: those in use stay", "reason", err)
		return
	}
	if r.now == nil {
		r.now = next
		return
	}
	taken, fixed := r.now.changed(next)
	if len(taken) > 0 {
		if err := r.take(next); err != nil {
			r.log.Warn("the settings can't be taken over: those in use stay", "reason", err)
			return
		}
	}
	for _, name := range taken {
		r.now.values[name] = next.values[name]
	}
	r.log.Info("the settings are read again", "changed", taken)
	if len(fixed) > 0 {
		r.log.Warn("these settings changed, too, but need a restart", "options", fixed)
	}
}

func (r *reloader) take(next *setting) error {
	c := &next.cli.Serve
	if err := r.server.Reload(c.serverOptions(r.service, r.log)); err != nil {
		return err
	}
	if r.level != nil {
		r.level.Set(next.cli.logLevel())
	}
	r.service.limits.set(c.MaxQueue, c.MaxQueuedTokens)
	var all error
	r.service.each(func(m *opened) { all = errors.Join(all, m.engine.SetQueue(c.MaxQueue, c.MaxQueuedTokens)) })
	return all
}
