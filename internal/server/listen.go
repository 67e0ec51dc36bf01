package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxStreams are open at once on one HTTP/2 connection. Go's own default, 250, is
// enough to keep a queue full from a single client.
const maxStreams = 250

// listen answers the listener's connections, encrypted if the options say so.
func (s *Server) listen(l net.Listener) error {
	bounded := &boundedListener{Listener: l, max: int64(s.opts().MaxConnections), open: &s.connections, refused: &s.connectionsRefused}
	if s.opts().TLS != nil {
		return s.http.ServeTLS(bounded, "", "")
	}
	return s.http.Serve(bounded)
}

// boundSendBuffer keeps the kernel from holding much of what a client does not
// read: a slow reader is noticed sooner, and many cost little memory.
func boundSendBuffer(c net.Conn, bytes int) {
	for bytes > 0 {
		switch wrapped := c.(type) {
		case *tls.Conn:
			c = wrapped.NetConn()
		case *boundedConn:
			c = wrapped.Conn
		case interface{ SetWriteBuffer(int) error }:
			_ = wrapped.SetWriteBuffer(bytes) // it is a bound on others, not on us
			return
		default:
			return
		}
	}
}

// boundedListener closes what comes beyond a number of open connections. Leaving
// them in the kernel's queue instead would make probes wait behind whoever opens
// connections and says nothing.
type boundedListener struct {
	net.Listener
	max     int64
	open    *atomic.Int64
	refused *atomic.Int64
}

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.max {
			return &boundedConn{Conn: c, open: l.open}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		_ = c.Close() // whoever opened it need not be told twice
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

// Close implements [net.Conn].
func (c *boundedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// Certificate is a TLS certificate of files that may change while it is used.
type Certificate struct {
	cert, key string
	report    func(error)

	current atomic.Pointer[tls.Certificate]
	looked  atomic.Int64
	mu      sync.Mutex
	seen    [2]time.Time
}

// LoadCertificate reads a certificate. It is read again when one of its files
// changes, within a second of the next connection; a pair that is wrong then is
// reported, and the old one stays.
func LoadCertificate(cert, key string, report func(error)) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, report: report}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Config is the TLS configuration that uses the certificate.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now(), nil },
	}
}

func (c *Certificate) now() *tls.Certificate {
	now, last := time.Now().UnixNano(), c.looked.Load()
	if (now-last >= int64(time.Second) || now < last) && c.looked.CompareAndSwap(last, now) {
		if c.changed() {
			if err := c.Reload(); err != nil && c.report != nil {
				c.report(err)
			}
		}
	}
	return c.current.Load()
}

func (c *Certificate) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times() != c.seen
}

// times tells when the files were changed; zero for one that can't be seen.
func (c *Certificate) times() (t [2]time.Time) {
	for i, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			t[i] = info.ModTime()
		}
	}
	return t
}

// Reload reads the files now. When that fails the certificate stays as it was.
func (c *Certificate) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.times()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("reading the TLS certificate %s and its key %s: %w", c.cert, c.key, err)
	}
	c.current.Store(&pair)
	return nil
}
