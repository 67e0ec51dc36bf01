package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/auth"
	"weir/internal/llm"
)

const askBody = `{"messages":[{"role":"user","content":"the secret plan"}]}`

// keyring makes a key of each scope, and the ring of them.
func keyring(t *testing.T) (secrets map[auth.Scope]string, ring *auth.Ring) {
	t.Helper()
	secrets = map[auth.Scope]string{}
	var keys []auth.Key
	for _, s := range auth.Scopes {
		secrets[s] = auth.NewSecret()
		keys = append(keys, auth.Key{Hash: auth.HashOf(secrets[s]), Caller: &auth.Caller{Name: "of-" + string(s), Scopes: []auth.Scope{s}}})
	}
	return secrets, auth.NewRing(keys...)
}

// statusOf sends a request and gives its status and raw response.
func statusOf(t *testing.T, addr, method, path, body string, headers ...string) (string, string) {
	t.Helper()
	got := send(t, addr, method, path, body, headers...)
	return strings.SplitN(got, " ", 3)[1], got
}

// TestKeys asks each route with each key: a new route is protected, or this
// fails.
func TestKeys(t *testing.T) {
	secrets, ring := keyring(t)
	f := newFake()
	s := serve(t, f, func(o *Options) { o.Keys = func() *auth.Ring { return ring } })
	open := map[string]bool{"/health": true, "/ready": true}
	for _, rt := range s.routes {
		path := strings.ReplaceAll(rt.path, "{id...}", "tiny")
		if got, whole := statusOf(t, s.addr, rt.method, path, ""); (got == "401") == open[path] {
			t.Errorf("%s without a key: %s", path, whole)
		}
		for _, scope := range auth.Scopes {
			got, whole := statusOf(t, s.addr, rt.method, path, "", "Authorization: Bearer "+secrets[scope])
			allowed := rt.scope == auth.Open || rt.scope == auth.AnyKey || rt.scope == scope || scope == auth.Admin
			if allowed == (got == "403") || got == "401" {
				t.Errorf("%s with a key for %s: %s", path, scope, whole)
			}
		}
	}
	for _, path := range []string{"/", "/nothing", "/v1/../health/x", "/healthy"} {
		if got, whole := statusOf(t, s.addr, "GET", path, ""); got != "401" && got != "307" && got != "301" {
			t.Errorf("%s tells strangers about routes: %s", path, whole)
		}
	}
	if got, _ := statusOf(t, s.addr, "PUT", "/health", ""); got != "401" {
		t.Errorf("PUT /health: %s", got)
	}
	if f.requests != nil {
		t.Errorf("a request without a body reached the backend")
	}
}

func TestKeyHeaders(t *testing.T) {
	secrets, ring := keyring(t)
	s := serve(t, newFake(), func(o *Options) { o.Keys = func() *auth.Ring { return ring } })
	key := secrets[auth.Inference]
	for header, want := range map[string]string{
		"Authorization: Bearer " + key:     "200",
		"authorization: bearer   " + key:   "200",
		"X-Api-Key: " + key:                "200",
		"Authorization: Basic " + key:      "401",
		"Authorization: " + key:            "401",
		"Authorization: Bearer " + key[1:]: "401",
		"Cookie: key=" + key:               "401",
	} {
		got, whole := statusOf(t, s.addr, "POST", "/v1/chat/completions", askBody, header)
		if got != want {
			t.Errorf("%s: %s", header, whole)
		}
		if want == "401" && (!strings.Contains(whole, "Www-Authenticate: Bearer") || !strings.Contains(whole, `"authentication_error"`)) {
			t.Errorf("%s: %s", header, whole)
		}
	}
	if got, _ := statusOf(t, s.addr, "POST", "/v1/chat/completions?api_key="+key, askBody); got != "401" {
		t.Errorf("a key in the URL is taken: %s", got)
	}
	for _, secret := range secrets {
		if strings.Contains(s.logs.String(), secret) {
			t.Error("a key is in the log")
		}
	}
	if log := s.logs.String(); !strings.Contains(log, "caller=of-inference") || strings.Contains(log, "secret plan") {
		t.Errorf("the log names no caller, or quotes what was asked:\n%s", log)
	}
}

// TestProbesTellNoReason: who has no key learns the state, not what it comes from.
func TestProbesTellNoReason(t *testing.T) {
	secrets, ring := keyring(t)
	s := serve(t, newFake(), func(o *Options) { o.Keys = func() *auth.Ring { return ring } })
	s.health.live = &llm.Error{Message: "panicked at a place in the source"}
	if got, whole := statusOf(t, s.addr, "GET", "/health", ""); got != "503" || strings.Contains(whole, "panicked") {
		t.Errorf("without a key: %s", whole)
	}
	if got, whole := statusOf(t, s.addr, "GET", "/health", "", "X-Api-Key: "+secrets[auth.Metrics]); got != "503" || !strings.Contains(whole, "panicked") {
		t.Errorf("with one: %s", whole)
	}
}

// TestWithKey: what the file says of a key reaches who limits.
func TestWithKey(t *testing.T) {
	c := CallerOf(withKey(t.Context(), &auth.Caller{Name: "a", Limits: auth.Limits{RequestsPerMinute: 1, TokensPerMinute: 2, Concurrent: 3, Share: 4}}))
	if c == nil || *c != (Caller{Name: "a", Share: 4, Quota: Quota{Requests: 1, Tokens: 2, Concurrent: 3}}) {
		t.Errorf("got %+v", c)
	}
	if CallerOf(withKey(t.Context(), nil)) != nil {
		t.Error("without keys nobody is known")
	}
}

func TestLogContent(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.LogContent = true })
	send(t, s.addr, "POST", "/v1/chat/completions", askBody)
	if log := s.logs.String(); !strings.Contains(log, "secret plan") || !strings.Contains(log, "Hello, dear world!") {
		t.Errorf("asked for, but not in the log:\n%s", log)
	}
}

// TestHosts: a page of another name, which its owner made lead here, gets nothing.
func TestHosts(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.Hosts = []string{"localhost", "127.0.0.1", "::1"} })
	for host, want := range map[string]string{
		"localhost": "200", "LocalHost:8080": "200", "127.0.0.1:1": "200", "[::1]:80": "200", "[::1]": "200",
		"evil.example": "421", "evil.example:8080": "421", "localhost.evil.example": "421", "": "421", "127.0.0.1.nip.io": "421",
	} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /v1/models HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		c.Close()
		if got := strings.SplitN(string(b), " ", 3)[1]; got != want {
			t.Errorf("host %q: %s", host, b)
		}
	}
}

func TestCORS(t *testing.T) {
	secrets, ring := keyring(t)
	serveFor := func(t *testing.T, origins ...string) string {
		return serve(t, newFake(), func(o *Options) { o.Keys, o.Origins = func() *auth.Ring { return ring }, origins }).addr
	}
	preflight := []string{"Origin: https://chat.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"}
	t.Run("off", func(t *testing.T) {
		if got := send(t, serveFor(t), "OPTIONS", "/v1/chat/completions", "", preflight...); strings.Contains(got, "Access-Control") || strings.HasPrefix(got, "HTTP/1.1 2") {
			t.Errorf("nobody asked for CORS: %s", got)
		}
	})
	t.Run("one", func(t *testing.T) {
		checkOneOrigin(t, serveFor(t, "https://chat.example"), secrets[auth.Inference], preflight)
	})
	t.Run("any", func(t *testing.T) {
		if got := send(t, serveFor(t, "*"), "GET", "/v1/models", "", "Origin: https://anyone"); !strings.Contains(got, "Access-Control-Allow-Origin: *\r\n") {
			t.Errorf("any origin: %s", got)
		}
	})
}

func checkOneOrigin(t *testing.T, addr, key string, preflight []string) {
	got := send(t, addr, "OPTIONS", "/v1/chat/completions", "", preflight...)
	for _, want := range []string{"HTTP/1.1 204", "Access-Control-Allow-Origin: https://chat.example\r\n", "Access-Control-Allow-Headers: Authorization,", "Access-Control-Allow-Methods: GET, HEAD, POST", "Vary: Origin"} {
		if !strings.Contains(got, want) {
			t.Errorf("preflight has no %q:\n%s", want, got)
		}
	}
	got = send(t, addr, "POST", "/v1/chat/completions", askBody, "Origin: https://chat.example", "X-Api-Key: "+key)
	if !strings.Contains(got, "Access-Control-Allow-Origin: https://chat.example\r\n") || !strings.Contains(got, "Access-Control-Expose-Headers") || strings.Contains(got, "Credentials") {
		t.Errorf("an allowed origin: %s", got)
	}
	for _, origin := range []string{"https://chat.example.evil", "null", "http://chat.example", "https://CHAT.example"} {
		got := send(t, addr, "POST", "/v1/chat/completions", askBody, "Origin: "+origin)
		if strings.Contains(got, "Access-Control-Allow-Origin") {
			t.Errorf("origin %s: %s", origin, got)
		}
	}
	if got := send(t, addr, "OPTIONS", "/v1/chat/completions", "", "Origin: https://chat.example"); !strings.HasPrefix(got, "HTTP/1.1 401") {
		t.Errorf("OPTIONS that is no preflight: %s", got)
	}
}

// writeCertificate makes a self-signed certificate for 127.0.0.1.
func writeCertificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "weir test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// secure starts a server with TLS and gives what changes its certificate.
func secure(t *testing.T, g llm.Generator) (*testServer, *Certificate, func(serial int64)) {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	c, err := LoadCertificate(cert, key, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, g, func(o *Options) { o.TLS = c.Config() })
	return s, c, func(serial int64) { writeCertificate(t, cert, key, serial) }
}

// serialOf gives the serial number of the certificate that a server shows.
func serialOf(t *testing.T, addr string) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificateReload(t *testing.T) {
	s, c, change := secure(t, newFake())
	if got := serialOf(t, s.addr); got != 1 {
		t.Fatalf("certificate %d", got)
	}
	change(2)
	c.looked.Store(0) // as a second later
	c.seen = [2]time.Time{}
	if got := serialOf(t, s.addr); got != 2 {
		t.Errorf("the certificate was replaced by 2, the server shows %d", got)
	}
	var reports []error
	c.report = func(err error) { reports = append(reports, err) }
	if err := os.WriteFile(c.cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.looked.Store(0)
	c.seen = [2]time.Time{}
	if got := serialOf(t, s.addr); got != 2 || len(reports) != 1 {
		t.Errorf("a wrong file: certificate %d, reports %v", got, reports)
	}
	if _, err := LoadCertificate(c.cert, c.key, nil); err == nil {
		t.Error("a wrong file is taken")
	}
	if _, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is taken")
	}
}

// TestHTTP2 streams over HTTP/2, which TLS negotiates.
func TestHTTP2(t *testing.T) {
	s, _, _ := secure(t, newFake())
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Post("https://"+s.addr+"/v1/chat/completions", "application/json", strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.ProtoMajor != 2 || !strings.HasSuffix(string(b), "data: [DONE]\n\n") || r.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Errorf("%s %v: %s", r.Proto, err, b)
	}
}

// TestMaxConnections: what comes beyond the bound is closed, and probes are
// answered again as soon as a place is free.
func TestMaxConnections(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.MaxConnections = 2 })
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		io.WriteString(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a third connection is answered: %v", err)
	}
	c.Close()
	if n := s.connectionsRefused.Load(); n != 1 {
		t.Errorf("%d connections counted as refused", n)
	}
	held[0].Close()
	if !eventually(func() bool { return s.connections.Load() == 1 }) {
		t.Error("a closed connection keeps its place")
	}
	if got := send(t, s.addr, "GET", "/health", ""); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("got %q", got)
	}
	held[1].Close()
}
