package llm

import (
	"context"
	"time"
)

// CacheReason says how much of a prompt the prefix cache had, in a word.
type CacheReason string

// The ways a prompt meets the prefix cache.
const (
	CacheOff      CacheReason = "off"      // it is off, for the model or for this request
	CacheEmpty    CacheReason = "empty"    // nothing of the request's salt is cached
	CacheDiverged CacheReason = "diverged" // the prompt and what is cached part ways
	CacheNew      CacheReason = "new"      // all that is cached is a beginning of the prompt
	CacheWhole    CacheReason = "whole"    // all of the prompt is cached
)

// CacheInfo explains what the prefix cache had of a prompt.
type CacheInfo struct {
	Reason CacheReason
	Why    string // for people
	Cached int    // tokens that were not computed
	Common int    // tokens in common with the nearest cached prefix: where the two part ways
	// Before is the end of what they have in common; Prompt and Nearest are how
	// each goes on. Nearest has the request's salt, like all that it is compared
	// with.
	Before, Prompt, Nearest string
	Hint                    string // what to do about it; may be empty
}

// PrefixCacher is what a Generator offers besides generating when it has a cache
// of prefixes that can be asked and told what to keep.
type PrefixCacher interface {
	// CacheStatus tells how the cache does.
	CacheStatus() CacheStatus
	// PinPrefix computes a prefix, if it is not cached, and keeps it. One that has
	// the name of another replaces it.
	PinPrefix(ctx context.Context, r *PinRequest) (PinnedPrefix, error)
	// PinnedPrefixes lists them, oldest first.
	PinnedPrefixes() []PinnedPrefix
	// UnpinPrefix lets go of one; the error is an *Error of kind NotFound if there
	// is none.
	UnpinPrefix(id string) error
}

// CacheStatus is a snapshot of a prefix cache.
type CacheStatus struct {
	On  bool
	Why string // why it is off

	PageTokens    int   // tokens of a page; only whole pages are kept
	Pages         int64 // of the KV cache
	CachedPages   int64 // that hold prefixes
	PinnedPages   int64 // of them, those of pinned prefixes
	MostPinned    int64 // how many may be
	EvictedPages  int64
	QueriedTokens int64 // of the prompts that were looked up
	HitTokens     int64 // of them, those that were found

	Saved CacheSaved
}

// CacheSaved is what became of the cache that an earlier process saved.
type CacheSaved struct {
	Pages  int64  // that were restored
	Reason string // why none were; "" if there was nothing to restore
}

// PinRequest asks for a prefix to be kept.
type PinRequest struct {
	Name      string
	Prompt    Prompt // of a Chat, what every continuation of it begins with
	TTL       time.Duration
	CacheSalt string
	Tokenize  TokenizeOptions
}

// PinnedPrefix is a prefix that is kept.
type PinnedPrefix struct {
	ID      string
	Name    string
	Tokens  int // that are kept: of whole pages
	Prompt  int // that the prefix has
	Cached  int // that were cached already when it was asked for
	Created time.Time
	Expires time.Time // zero: never
}
