package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"weir/internal/auth"
	"weir/internal/server"
)

// securityOptions say who may use a server, and over what.
type securityOptions struct {
	Keys           string   `help:"File of keys that requests must present; read again when it changes. 'weir key new' makes keys." placeholder:"FILE" group:"Security"`
	APIKey         string   `name:"api-key" help:"One key that may do everything. Give it as WEIR_API_KEY: other users of the machine see command lines." placeholder:"KEY" group:"Security"`
	TLSCert        string   `name:"tls-cert" help:"File with the TLS certificate and those that lead to its root; read again when it changes." placeholder:"FILE" group:"Security"`
	TLSKey         string   `name:"tls-key" help:"File with the certificate's private key." placeholder:"FILE" group:"Security"`
	CORSOrigins    wordList `name:"cors-origins" help:"Origins of web pages that may read answers, such as https://chat.example.com, with commas between; * is any." placeholder:"ORIGINS" group:"Security"`
	AllowHosts     wordList `help:"Names under which the server may be asked, with commas between; * is any. Default: any if it has keys or listens beyond this machine, else this machine's own, so that web pages elsewhere can't reach it through a visitor's browser." placeholder:"NAMES" group:"Security"`
	MaxConnections int      `help:"Connections open at once; further ones are closed at once." default:"8192" group:"Security"`
	LogContent     bool     `help:"Put what requests ask and what is answered into the log." group:"Security"`
}

// Validate is called by those who embed the options.
func (o *securityOptions) Validate() error {
	switch {
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key belong together; give both or none")
	case o.MaxConnections < 1:
		return fmt.Errorf("--max-connections is %d; it must be at least 1", o.MaxConnections)
	}
	for _, origin := range o.CORSOrigins {
		if origin != "*" && (!strings.Contains(origin, "://") || strings.HasSuffix(origin, "/")) {
			return fmt.Errorf("--cors-origins has %q; an origin is a scheme and a host such as https://chat.example.com, without a path", origin)
		}
	}
	return nil
}

// wordList is words with commas between; in a file, a list as well.
type wordList []string

func parseWords(s string) (wordList, error) {
	var words wordList
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words, nil
}

// secured is what the security options came to.
type secured struct {
	keys        *auth.Watcher
	certificate *server.Certificate // nil: no TLS
}

// open reads the files that the options name.
func (s *secured) open(o *securityOptions, log *slog.Logger) error {
	var single *auth.Ring
	var err error
	if o.APIKey != "" {
		if single, err = auth.Single(o.APIKey); err != nil {
			return fmt.Errorf("--api-key: %w", err)
		}
	}
	warn := func(err error) { log.Warn("a file changed and is wrong: what was in use stays", "reason", err) }
	if s.keys, err = auth.Watch(o.Keys, single, warn); err != nil {
		return err
	}
	if o.TLSCert != "" {
		s.certificate, err = server.LoadCertificate(o.TLSCert, o.TLSKey, warn)
	}
	return err
}

// apply tells the server.
func (o *securityOptions) apply(to *server.Options, s *secured, host string) {
	to.Keys = s.keys.Ring
	if s.certificate != nil {
		to.TLS = s.certificate.Config()
	}
	to.Origins, to.MaxConnections, to.LogContent = o.CORSOrigins, o.MaxConnections, o.LogContent
	to.Hosts = o.hosts(s.keys.Ring() != nil, host)
}

// hosts are the names that the server answers to; none is any.
func (o *securityOptions) hosts(keys bool, host string) []string {
	local := []string{"localhost", "127.0.0.1", "::1"}
	switch {
	case slices.Contains(o.AllowHosts, "*"):
		return nil
	case len(o.AllowHosts) > 0:
		names := local
		for _, n := range o.AllowHosts {
			names = append(names, strings.ToLower(n))
		}
		return names
	case keys || !isLoopback(host):
		return nil
	}
	return append(local, strings.ToLower(host))
}

// isLoopback tells whether only this machine reaches a listener on host.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// reload reads the files again, at once.
func (s *secured) reload() error {
	var err error
	if s.certificate != nil {
		err = s.certificate.Reload()
	}
	return errors.Join(s.keys.Reload(), err)
}

type keyCmd struct {
	New keyNewCmd `cmd:"" help:"Make a key: print it once, and add its hash to a file of keys."`
}

type keyNewCmd struct {
	Name    string        `arg:"" help:"Who the key is for. Keys of the same name share their limits, so that a new one can replace an old one without a gap."`
	File    string        `help:"File to add it to; made if it is not there. Without it the entry is printed, to be added by hand." placeholder:"FILE"`
	Scopes  wordList      `help:"What the key is good for, with commas between: inference, metrics, debug, admin." default:"inference"`
	Expires time.Duration `help:"How long the key is valid, such as 2160h; 0: for ever." default:"0"`
	Stdin   bool          `help:"Take the key from standard input instead of making one."`
}

// Run makes the key.
func (c *keyNewCmd) Run(io streams) error {
	scopes, err := auth.ParseScopes(c.Scopes)
	if err != nil {
		return codedError{fmt.Errorf("--scopes: %w", err), exitUsage}
	}
	if c.Expires < 0 {
		return codedError{fmt.Errorf("--expires is %v; it must be positive, or 0 for never", c.Expires), exitUsage}
	}
	secret, err := c.secret(io)
	if err != nil {
		return err
	}
	var expires time.Time
	if c.Expires > 0 {
		expires = time.Now().Add(c.Expires)
	}
	entry, err := auth.Entry(c.Name, auth.HashOf(secret), scopes, expires)
	if err != nil {
		return codedError{err, exitUsage}
	}
	if c.File == "" {
		fmt.Fprintf(io.err, "The file of --keys needs these lines:\n\n%s\nThe key, which is nowhere kept:\n", entry)
	} else {
		if err := auth.Append(c.File, entry); err != nil {
			return fmt.Errorf("adding the key: %w", err)
		}
		fmt.Fprintf(io.err, "Added to %s. A server that uses the file takes the key within a second.\nThe key, which is nowhere kept:\n", c.File)
	}
	if !c.Stdin {
		fmt.Fprintln(io.out, secret)
	}
	return nil
}

// secret makes a key or takes the user's.
func (c *keyNewCmd) secret(from streams) (string, error) {
	if !c.Stdin {
		return auth.NewSecret(), nil
	}
	text, err := io.ReadAll(io.LimitReader(from.in, 4096))
	if err != nil {
		return "", fmt.Errorf("reading the key: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if _, err := auth.Single(secret); err != nil {
		return "", err
	}
	return secret, nil
}

// warnOpen warns of a server that everybody can use.
func (s *secured) warnOpen(w io.Writer, addr net.Addr) {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && !tcp.IP.IsLoopback() && s.keys.Ring() == nil {
		fmt.Fprintf(w, "weir: listening beyond this machine without a key: whoever reaches %s can use the model; make a key with `weir key new NAME --file keys.yaml` and serve with --keys keys.yaml, or keep it behind a firewall\n", addr)
	}
	if ok && !tcp.IP.IsLoopback() && s.keys.Ring() != nil && s.certificate == nil {
		fmt.Fprintf(w, "weir: listening beyond this machine without TLS: whoever is on the way to %s can read the keys; give --tls-cert and --tls-key, or put a proxy with TLS before it\n", addr)
	}
}

// watchReload reloads at each signal that asks for it, until the returned function
// is called.
func watchReload(io streams, reload func()) (stop func()) {
	signals := io.reload
	unwatch := func() {}
	if signals == nil && io.signals == nil && len(reloadOn) > 0 {
		own := make(chan os.Signal, 1)
		signal.Notify(own, reloadOn...)
		signals, unwatch = own, func() { signal.Stop(own) }
	}
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				reload()
			case <-stopped:
				return
			}
		}
	}()
	return func() {
		unwatch()
		close(stopped)
		<-done
	}
}

func (s *secured) reloadAndTell(log *slog.Logger) {
	if err := s.reload(); err != nil {
		log.Warn("reloading failed: what was in use stays", "reason", err)
		return
	}
	log.Info("keys and certificate are read again")
}
