package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/auth"
)

// TestKeyAndServe makes a key as a user does, serves with it, and replaces it
// while the server runs.
func TestKeyAndServe(t *testing.T) {
	nowhere(t)
	file := filepath.Join(t.TempDir(), "keys.yaml")
	newKey := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(append([]string{"key", "new", "--file", file}, args...), streams{out: &out, err: &errs}, nil); code != exitOK {
			t.Fatalf("weir key new: %d %s", code, &errs)
		}
		return strings.TrimSpace(out.String())
	}
	first := newKey("alice")
	s := serve(t, "--keys", file)
	ask := func(key string) int {
		t.Helper()
		r, err := http.NewRequest("GET", s.url+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		status, _ := answerTo(t)(s.http.Do(r))
		return status
	}
	if ask(first) != 200 || ask("") != 401 || ask(first+"x") != 401 {
		t.Error("the key is not what decides")
	}
	if status, _ := s.get(t, "/health"); status != 200 {
		t.Errorf("/health without a key: %d", status)
	}
	if !strings.Contains(s.out.String(), `-H "Authorization: Bearer $WEIR_API_KEY"`) {
		t.Errorf("the example does not tell of the key:\n%s", s.out)
	}
	second := newKey("alice", "--expires", "1h")
	if err := s.service.secured.reload(); err != nil {
		t.Fatal(err)
	}
	if ask(first) != 200 || ask(second) != 200 {
		t.Error("both keys hold while one replaces the other")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(first)) || bytes.Contains(text, []byte(second)) {
		t.Errorf("the file has keys in the clear:\n%s", text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 && filepath.Separator == '/' {
		t.Errorf("others may read the file: %v %v", info.Mode(), err)
	}
}

func TestKeyNew(t *testing.T) {
	nowhere(t)
	for _, c := range []struct {
		args []string
		in   string
		code int
		err  string
	}{
		{[]string{"bob", "--scopes", "metrics,debug"}, "", exitOK, "scopes: [metrics, debug]"},
		{[]string{"bob", "--stdin"}, "a-key-that-nobody-can-guess-0123456789\n", exitOK, auth.HashOf("a-key-that-nobody-can-guess-0123456789").String()},
		{[]string{"bob", "--stdin"}, "short\n", exitError, "can be guessed"},
		{[]string{"bob", "--scopes", "all"}, "", exitUsage, `"all" is no scope`},
		{[]string{"two words"}, "", exitUsage, "1 to 64"},
		{[]string{"bob", "--expires", "-1h"}, "", exitUsage, "must be positive"},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"key", "new"}, c.args...), streams{in: strings.NewReader(c.in), out: &out, err: &errs}, nil)
		if code != c.code || !strings.Contains(errs.String(), c.err) {
			t.Errorf("%v: %d %s, want %d %s", c.args, code, &errs, c.code, c.err)
		}
		if made := strings.HasPrefix(out.String(), "weir-"); made != (code == exitOK && c.in == "") {
			t.Errorf("%v prints %q", c.args, &out)
		}
	}
}

func TestAllowedHosts(t *testing.T) {
	for _, c := range []struct {
		allow wordList
		keys  bool
		host  string
		want  []string
	}{
		{nil, false, "127.0.0.1", []string{"localhost", "127.0.0.1", "::1", "127.0.0.1"}},
		{nil, false, "localhost", []string{"localhost", "127.0.0.1", "::1", "localhost"}},
		{nil, true, "127.0.0.1", nil},
		{nil, false, "0.0.0.0", nil},
		{wordList{"*"}, false, "127.0.0.1", nil},
		{wordList{"Weir.Local"}, true, "127.0.0.1", []string{"localhost", "127.0.0.1", "::1", "weir.local"}},
	} {
		o := securityOptions{AllowHosts: c.allow}
		if got := o.hosts(c.keys, c.host); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestWarnOpen(t *testing.T) {
	ring, err := auth.Single(auth.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := auth.Watch("", ring, nil)
	for _, c := range []struct {
		ip   string
		keys *auth.Watcher
		want string
	}{{"127.0.0.1", nil, ""}, {"10.0.0.1", nil, "without a key"}, {"::", nil, "without a key"}, {"10.0.0.1", keys, "without TLS"}, {"::1", keys, ""}} {
		var b bytes.Buffer
		(&secured{keys: c.keys}).warnOpen(&b, &net.TCPAddr{IP: net.ParseIP(c.ip), Port: 1})
		if c.want == "" && b.Len() > 0 || !strings.Contains(b.String(), c.want) {
			t.Errorf("%+v: %q", c, &b)
		}
	}
}

func TestSecurityOptions(t *testing.T) {
	nowhere(t)
	for flag, want := range map[string]string{
		"--tls-cert=x":                       "belong together",
		"--max-connections=0":                "at least 1",
		"--cors-origins=chat.example.com":    "an origin is a scheme",
		"--cors-origins=https://a.example/":  "without a path",
		"--api-key=short":                    "can be guessed",
		"--keys=/nonexistent/keys.yaml":      "reading the keys",
		"--tls-cert=/no/c --tls-key=/no/key": "reading the TLS certificate",
	} {
		var errs bytes.Buffer
		code := run(append([]string{"serve", "--port", "0"}, strings.Fields(flag)...), streams{out: &errs, err: &errs}, nil)
		if code == exitOK || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: %d %s", flag, code, &errs)
		}
	}
	c := parse(t, []string{"serve"}, nil, "cors-origins: [https://a.example, https://b.example]\nallow-hosts: one, two\n").Serve
	if !slices.Equal(c.CORSOrigins, wordList{"https://a.example", "https://b.example"}) || !slices.Equal(c.AllowHosts, wordList{"one", "two"}) {
		t.Errorf("lists: %q %q", c.CORSOrigins, c.AllowHosts)
	}
}

// TestServeTLS: the certificate's files are all that TLS needs.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, _ := x509.MarshalPKCS8PrivateKey(private)
	if err := firstError(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := &secured{}
	c := parse(t, []string{"serve", "--tls-cert", cert, "--tls-key", key}, nil, "").Serve
	if err := s.open(&c.securityOptions, newLogger(&cli{LogLevel: "info"}, &bytes.Buffer{}, new(slog.LevelVar))); err != nil || s.certificate == nil || s.certificate.Config().MinVersion == 0 {
		t.Errorf("no TLS: %v", err)
	}
}
