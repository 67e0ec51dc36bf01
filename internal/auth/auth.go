// Package auth tells who a request is from and what he may do.
//
// A [Key] is what a client presents. The file of keys holds only its SHA-256:
// who reads the file can call nothing with what he finds. Keys are made here
// from 256 random bits ([NewSecret]), so that one round of a fast hash is enough; a
// slow one protects what people choose, and would be a way to keep a server busy.
//
// A [Ring] is the keys that are valid at the moment. It is immutable; a [Watcher]
// replaces it when its file changes, and keeps the old one when the new file is
// wrong. [Ring.Find] compares in constant time: it hashes what it is given, and
// compares the whole hash with every key's.
//
// A [Caller] is shared by all of its requests; who limits and counts goes by its
// name.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scope is what a key is good for.
type Scope string

// The scopes. Admin includes the others; Open and AnyKey are of routes, not of keys.
const (
	Open      Scope = ""          // needs no key
	AnyKey    Scope = "any"       // needs a key, whatever it is for
	Inference Scope = "inference" // models, completions, tokenising
	Metrics   Scope = "metrics"   // /metrics
	Debug     Scope = "debug"     // /debug/requests and profiles: other callers' requests
	Admin     Scope = "admin"     // everything
)

// Scopes are those that a key can have.
var Scopes = []Scope{Inference, Metrics, Debug, Admin}

// Caller is who a request is from. It is shared and never changed.
type Caller struct {
	// Name is who pays: limits and counts go by it. Keys may share one, which is
	// how a key is replaced without a gap.
	Name   string
	Scopes []Scope
	Limits Limits
}

// Limits are what a caller may take; 0 is no limit of its own.
type Limits struct {
	RequestsPerMinute int
	TokensPerMinute   int
	Concurrent        int // requests at once
	// Share is what the caller gets beside others when the server is full; 0 is 1.
	Share int
}

// May tells whether the caller's key is good for s. Without keys (a nil caller)
// everything is allowed.
func (c *Caller) May(s Scope) bool {
	return c == nil || s == Open || s == AnyKey || slices.Contains(c.Scopes, s) || slices.Contains(c.Scopes, Admin)
}

// String is the caller's name; "" without keys.
func (c *Caller) String() string {
	if c == nil {
		return ""
	}
	return c.Name
}

// Hash is a key's SHA-256.
type Hash [sha256.Size]byte

// hashPrefix begins a hash in the file.
const hashPrefix = "sha256:"

// HashOf hashes what a client presents.
func HashOf(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// String is the hash as the file has it.
func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

func parseHash(s string) (Hash, error) {
	var h Hash
	digits, ok := strings.CutPrefix(s, hashPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != len(h) {
		return h, fmt.Errorf("the hash is not %s and %d hexadecimal digits; `weir key new` makes keys", hashPrefix, 2*len(h))
	}
	copy(h[:], b)
	return h, nil
}

// secretPrefix begins a key, so that scanners of leaked secrets find it.
const secretPrefix = "weir-"

// MinSecret is the shortest key that is taken from a user, in bytes: a guesser
// has all the time that he wants against the file of hashes.
const MinSecret = 24

// NewSecret makes a key of 256 random bits.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return secretPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Key is an entry of the file.
type Key struct {
	Hash    Hash
	Caller  *Caller
	Expires time.Time // zero: never
}

// Ring is a set of keys.
type Ring struct{ keys []Key }

// NewRing makes a ring of keys.
func NewRing(keys ...Key) *Ring { return &Ring{keys} }

// Keys lists the keys.
func (r *Ring) Keys() []Key { return r.keys }

// Single is the ring of one key that may do everything.
func Single(secret string) (*Ring, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("the key has %d bytes, and fewer than %d can be guessed; `weir key new` makes one", len(secret), MinSecret)
	}
	return NewRing(Key{Hash: HashOf(secret), Caller: &Caller{Name: "default", Scopes: []Scope{Admin}}}), nil
}

// And returns the keys of both rings; nil is empty.
func (r *Ring) And(other *Ring) *Ring {
	switch {
	case r == nil:
		return other
	case other == nil:
		return r
	}
	return &Ring{slices.Concat(r.keys, other.keys)}
}

// Find gives who presents a secret, or why it is not taken: [ErrUnknown] or
// [ErrExpired]. How long it takes tells nothing about the keys there are.
func (r *Ring) Find(secret string, now time.Time) (*Caller, error) {
	h := HashOf(secret)
	found := -1
	for i := range r.keys {
		same := subtle.ConstantTimeCompare(h[:], r.keys[i].Hash[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 {
		return nil, ErrUnknown
	}
	k := r.keys[found]
	if !k.Expires.IsZero() && !now.Before(k.Expires) {
		return nil, ErrExpired
	}
	return k.Caller, nil
}
