package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"weir/internal/kv"
	"weir/internal/llm"
)

// Pinned prefixes: the loop holds their pages like a sequence's, so that they are
// not evicted. What people are told of them stands in Engine.pins; the loop alone
// touches the pages.

// maxPins bounds the prefixes that are kept: those that share pages cost nothing
// of the pool's share.
const maxPins = 256

// pinning is a request that computes a prefix to keep it.
type pinning struct {
	id   string
	most int // pages that may be pinned in all
}

// pin is a kept prefix.
type pin struct {
	llm.PinnedPrefix
	expiry *time.Timer // nil: never
}

// mostPinned is how many pages may be pinned: a share of each pool, and never so
// many that a sequence of full length would not fit beside them.
func (e *Engine) mostPinned() int {
	spec, most := e.opts.KV, int(^uint(0)>>1)
	for _, pages := range spec.Pages {
		full := (e.opts.Describe.Context+spec.PageSize-1)/spec.PageSize + 1
		most = min(most, int(e.opts.PinnedShare*float64(pages)), pages-full)
	}
	return max(0, most)
}

// PinPrefix implements llm.PrefixCacher.
func (e *Engine) PinPrefix(ctx context.Context, r *llm.PinRequest) (llm.PinnedPrefix, error) {
	none := llm.PinnedPrefix{}
	if e.cacheOff != "" {
		return none, &llm.Error{Kind: llm.Invalid, Code: "cache_off", Message: "no prefix can be kept: " + e.cacheOff}
	}
	q := pinRequest(r)
	claim, leave, err := e.claimFor(q)
	if err != nil {
		return none, err
	}
	defer leave()
	defer claim.drop()
	req, err := e.preparedPin(ctx, r, q, claim)
	if err != nil {
		return none, err
	}
	if !e.inbox.send(message{add: req}) {
		return none, &llm.Error{Kind: llm.Unavailable, Message: "the server is shutting down"}
	}
	defer e.inbox.send(message{cancel: req})
	outs, err := req.out.take(ctx, nil)
	claim.computed()
	if err != nil {
		e.inbox.send(message{cancel: req}) // first: what is unpinned must not be pinned after
		e.inbox.send(message{unpin: req.pin.id})
		return none, contextError(ctx)
	}
	if outs[0].err != nil {
		return none, outs[0].err
	}
	return e.keepPin(r, req, outs[0]), nil
}

func (e *Engine) checkPin(r *llm.PinRequest, tokens int) error {
	page, most := e.opts.KV.PageSize, e.mostPinned()
	e.mu.Lock()
	pins := len(e.pins)
	e.mu.Unlock()
	switch {
	case tokens < page:
		return llm.Invalidf("prompt", "the prefix has %d tokens, but only whole pages of %d are kept; there is nothing to keep", tokens, page)
	case tokens/page > most:
		return e.noRoom(tokens / page)
	case tokens > e.opts.Describe.Context-1:
		return e.tooLong(r.Prompt, fmt.Sprintf("%d tokens", tokens))
	case pins >= maxPins:
		return &llm.Error{Kind: llm.Invalid, Code: "too_many_prefixes", Message: fmt.Sprintf("%d prefixes are kept, which is the limit; delete some", pins)}
	}
	return nil
}

// noRoom is the error for a prefix of so many new pages.
func (e *Engine) noRoom(pages int) error {
	most := e.mostPinned()
	why := fmt.Sprintf("%.0f%% of the cache (--pinned-share), and a request of full length must fit beside them", e.opts.PinnedShare*100)
	return &llm.Error{Kind: llm.Invalid, Param: "prompt", Code: "pinned_share_exceeded", Message: fmt.Sprintf(
		"the prefix takes %d pages of %d tokens; %d of %d that may be kept are taken (%s): delete others, or serve with more --memory, a smaller --ctx or a larger --pinned-share",
		pages, e.opts.KV.PageSize, e.Stats().Prefix.Pinned, most, why)}
}

// pinRequest makes the request that computes a prefix: greedy, for one token,
// which nobody sees.
func pinRequest(r *llm.PinRequest) *llm.Request {
	p := llm.DefaultParams()
	one := 1
	p.MaxTokens, p.Temperature = &one, 0
	return &llm.Request{ID: "pin", Prompt: r.Prompt, Params: p, CacheSalt: r.CacheSalt}
}

// preparedPin finds the prefix's tokens and checks them.
func (e *Engine) preparedPin(ctx context.Context, r *llm.PinRequest, q *llm.Request, c *claim) (req *request, err error) {
	err = e.inPool(ctx, func() error {
		ids, err := e.prefixIDs(r)
		if err != nil {
			return err
		}
		if err := e.checkPin(r, len(ids)); err != nil {
			return err
		}
		q.Prompt = llm.Tokens(ids)
		ids, p, err := e.prepare(q)
		if err != nil {
			return err
		}
		if err := c.settle(len(ids)); err != nil {
			return err
		}
		req = newRequest(e, q, ids, p, nil)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	req.pin = &pinning{id: "prefix-" + hex.EncodeToString(id[:]), most: e.mostPinned()}
	req.started = new(atomic.Bool)
	return req, nil
}

// keepPin notes a prefix that the loop holds, in place of one of the same name.
func (e *Engine) keepPin(r *llm.PinRequest, req *request, o output) llm.PinnedPrefix {
	p := &pin{PinnedPrefix: llm.PinnedPrefix{ID: req.pin.id, Name: r.Name, Tokens: o.pinned, Prompt: len(req.prompt), Cached: o.cached, Created: time.Now()}}
	if r.TTL > 0 {
		p.Expires = p.Created.Add(r.TTL)
	}
	e.mu.Lock()
	var old []string
	for id, other := range e.pins {
		if r.Name != "" && other.Name == r.Name {
			old = append(old, id)
		}
	}
	e.pins[p.ID] = p
	if r.TTL > 0 { // with the lock, so that it finds what it is for, however short
		p.expiry = time.AfterFunc(r.TTL, func() { _ = e.UnpinPrefix(p.ID) }) // it may be gone already
	}
	e.mu.Unlock()
	for _, id := range old {
		_ = e.UnpinPrefix(id) // another may have been faster
	}
	return p.PinnedPrefix
}

// UnpinPrefix implements llm.PrefixCacher.
func (e *Engine) UnpinPrefix(id string) error {
	e.mu.Lock()
	p := e.pins[id]
	delete(e.pins, id)
	e.mu.Unlock()
	if p == nil {
		return &llm.Error{Kind: llm.NotFound, Code: "prefix_not_found", Message: fmt.Sprintf("no prefix %.80q is kept: GET /cache/prefixes lists them", id)}
	}
	if p.expiry != nil {
		p.expiry.Stop()
	}
	e.inbox.send(message{unpin: id})
	return nil
}

// PinnedPrefixes implements llm.PrefixCacher.
func (e *Engine) PinnedPrefixes() []llm.PinnedPrefix {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]llm.PinnedPrefix, 0, len(e.pins))
	for _, p := range e.pins {
		list = append(list, p.PinnedPrefix)
	}
	slices.SortFunc(list, func(a, b llm.PinnedPrefix) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// forgetPins is for when their pages are lost: the loop was started again.
func (e *Engine) forgetPins() {
	e.stopExpiry()
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.pins)
}

// stopExpiry ends the timers.
func (e *Engine) stopExpiry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.pins {
		if p.expiry != nil {
			p.expiry.Stop()
		}
	}
}

// pin holds the pages of a prefix that has just been computed and ends its
// request.
func (l *loop) pin(q *sequence) {
	s, p := new(kv.Seq), q.req.pin
	prefix := kv.Prefix{Salt: q.Salt, Tokens: q.tokens[:q.Prompt], Prompt: q.Prompt}
	tokens, ok := l.cache.Pin(s, prefix, p.most)
	out := output{pinned: tokens, cached: q.Cached}
	if ok {
		l.pins[p.id] = s
	} else {
		out.err = l.e.noRoom(q.Prompt / l.cache.PageSize())
	}
	l.dropRequest(q.req)
	l.report()
	q.req.out.put(out)
}

func (l *loop) unpin(id string) {
	if s := l.pins[id]; s != nil {
		l.cache.Unpin(s)
		delete(l.pins, id)
	}
}

// prefixIDs are the tokens that every continuation of a prefix begins with.
func (e *Engine) prefixIDs(r *llm.PinRequest) ([]int32, error) {
	c, ok := r.Prompt.(*llm.Chat)
	if !ok {
		return e.tokenizePrompt(&llm.Request{Prompt: r.Prompt, Tokenize: r.Tokenize})
	}
	// A template may close a conversation, or open a turn, where another message
	// would follow: what stays the same whatever is said next is found by saying
	// two different things.
	var next [2][]int32
	for i, word := range []string{"0", "yes"} {
		said := *c
		messages, err := appendMessage(c.Messages, word)
		if err != nil {
			return nil, err
		}
		said.Messages = messages
		if next[i], err = e.tokenizePrompt(&llm.Request{Prompt: &said}); err != nil {
			return e.alone(c, err)
		}
	}
	n := 0
	for n < min(len(next[0]), len(next[1])) && next[0][n] == next[1][n] {
		n++
	}
	return next[0][:n], nil
}

// alone renders a conversation that cannot have another message of the user's.
func (e *Engine) alone(c *llm.Chat, refused error) ([]int32, error) {
	said := *c
	said.NoGeneration = true
	ids, err := e.tokenizePrompt(&llm.Request{Prompt: &said})
	if err != nil {
		return nil, refused
	}
	return ids, nil
}

// appendMessage adds a user's message to a list of messages.
func appendMessage(messages json.RawMessage, content string) (json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(messages, &list); err != nil {
		return nil, llm.Invalidf("messages", "the messages are no list: %v", err)
	}
	next, err := json.Marshal(map[string]string{"role": "user", "content": content})
	if err != nil {
		return nil, fmt.Errorf("write a message: %w", err)
	}
	return json.Marshal(append(list, next))
}
