package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Why a key is not taken.
var (
	ErrUnknown = errors.New("the key is not known")
	ErrExpired = errors.New("the key has expired")
)

// entry is a key as the file has it.
type entry struct {
	Name    string   `yaml:"name"`
	Hash    string   `yaml:"hash"`
	Scopes  []string `yaml:"scopes"`
	Expires string   `yaml:"expires"`
	Limits  struct {
		RequestsPerMinute int `yaml:"requests-per-minute"`
		TokensPerMinute   int `yaml:"tokens-per-minute"`
		Concurrent        int `yaml:"concurrent"`
		Share             int `yaml:"share"`
	} `yaml:"limits"`
}

// maxFile is the largest file of keys, in bytes, and maxKeys how many it may
// have: each is compared with for each request.
const (
	maxFile = 4 << 20
	maxKeys = 10_000

	maxShare = 1000
)

// Parse reads a file of keys: a YAML list of them.
//
//   - name: alice
//     hash: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//     scopes: [inference]
//     expires: 2027-01-01T00:00:00Z     # may be left out
//     limits: {requests-per-minute: 60, tokens-per-minute: 100000, concurrent: 4, share: 1}
//
// A file without a key is an error: it would open the server, or close it, and
// nobody could tell which was meant.
func Parse(text []byte) (*Ring, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("the file has %d bytes, more than %d", len(text), maxFile)
	}
	var entries []entry
	if err := decode(text, &entries); err != nil {
		return nil, fmt.Errorf("it is not a YAML list of keys: %s", withoutSource(err))
	}
	if len(entries) == 0 {
		return nil, errors.New("it has no keys; `weir key new NAME` adds one")
	}
	if len(entries) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, more than %d", len(entries), maxKeys)
	}
	r := &Ring{}
	for i, e := range entries {
		k, err := e.key()
		if err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i+1, e.Name, err)
		}
		if slices.ContainsFunc(r.keys, func(o Key) bool { return o.Hash == k.Hash }) {
			return nil, fmt.Errorf("key %d (%q): its hash is there already", i+1, e.Name)
		}
		r.keys = append(r.keys, k)
	}
	return r, nil
}

// decode reads YAML. The library panics on some texts that are none (a fuzz target
// found "! 0"); a server that runs must survive whatever its file becomes.
func decode(text []byte, into *[]entry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the reader of YAML broke on it: %v", p)
		}
	}()
	return yaml.UnmarshalWithOptions(text, into, yaml.Strict())
}

// withoutSource gives the first line of a YAML error: what follows quotes the
// file, which belongs into no log.
func withoutSource(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}

func (e *entry) key() (Key, error) {
	if err := checkName(e.Name); err != nil {
		return Key{}, err
	}
	h, err := parseHash(e.Hash)
	if err != nil {
		return Key{}, err
	}
	scopes, err := ParseScopes(e.Scopes)
	if err != nil {
		return Key{}, err
	}
	limits, err := e.limits()
	if err != nil {
		return Key{}, err
	}
	k := Key{Hash: h, Caller: &Caller{Name: e.Name, Scopes: scopes, Limits: limits}}
	if e.Expires != "" {
		if k.Expires, err = time.Parse(time.RFC3339, e.Expires); err != nil {
			return Key{}, fmt.Errorf("expires is %q; it must be a time such as 2027-01-01T00:00:00Z", e.Expires)
		}
	}
	return k, nil
}

// checkName keeps names short and plain: they go into logs and metrics.
func checkName(name string) error {
	ok := name != "" && len(name) <= 64
	for _, c := range []byte(name) {
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.@", c) >= 0
		ok = ok && plain
	}
	if !ok {
		return errors.New("a name has 1 to 64 letters, digits or -_.@")
	}
	return nil
}

// ParseScopes reads the names of scopes.
func ParseScopes(names []string) ([]Scope, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("it has no scopes; there are %s", list(Scopes))
	}
	var scopes []Scope
	for _, n := range names {
		s := Scope(n)
		if !slices.Contains(Scopes, s) {
			return nil, fmt.Errorf("%q is no scope; there are %s", n, list(Scopes))
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

func list(scopes []Scope) string {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

func (e *entry) limits() (Limits, error) {
	l := e.Limits
	for _, n := range []struct {
		name  string
		value int
	}{{"requests-per-minute", l.RequestsPerMinute}, {"tokens-per-minute", l.TokensPerMinute}, {"concurrent", l.Concurrent}, {"share", l.Share}} {
		if n.value < 0 {
			return Limits{}, fmt.Errorf("limit %s is %d; it must be positive, or left out for none", n.name, n.value)
		}
	}
	if l.Share > maxShare {
		return Limits{}, fmt.Errorf("share is %d; it must be at most %d, or left out for 1", l.Share, maxShare)
	}
	return Limits{RequestsPerMinute: l.RequestsPerMinute, TokensPerMinute: l.TokensPerMinute, Concurrent: l.Concurrent, Share: l.Share}, nil
}

// Entry writes a key as an entry that a file of keys can end with.
func Entry(name string, h Hash, scopes []Scope, expires time.Time) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	text := fmt.Sprintf("- name: %q\n  hash: %s\n  scopes: [%s]\n", name, h, list(scopes))
	if !expires.IsZero() {
		text += fmt.Sprintf("  expires: %q\n", expires.UTC().Format(time.RFC3339))
	}
	return text, nil
}
