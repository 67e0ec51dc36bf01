package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"weir/internal/backend"
	"weir/internal/kv"
	"weir/internal/llm"
)

// CacheStore keeps what a prefix cache holds from one process to the next. What
// it gives back is not trusted.
type CacheStore interface {
	// Load opens what was saved last; the error is an fs.ErrNotExist if nothing was.
	Load() (io.ReadCloser, error)
	// Save replaces it with what write writes. If that fails, or write does, what was
	// saved before stays.
	Save(write func(io.Writer) error) error
}

// Restored tells what became of a saved cache at the start.
type Restored struct {
	Pages int64
	Took  time.Duration
	Err   error // why it was ignored
}

// Saved tells what became of the cache at the end.
type Saved struct {
	Pages int64
	Bytes int64
	Took  time.Duration
	Err   error
}

// Restored tells how the start went.
func (e *Engine) Restored() Restored { return e.restored }

// Saved tells how the end went. It may be asked once Close has returned.
func (e *Engine) Saved() Saved { return e.saved }

// CacheStatus implements llm.PrefixCacher.
func (e *Engine) CacheStatus() llm.CacheStatus {
	s := e.Stats()
	c := llm.CacheStatus{
		On: e.cacheOff == "", Why: e.cacheOff, PageTokens: e.opts.KV.PageSize, Pages: s.Pages,
		CachedPages: s.Prefix.Nodes, PinnedPages: s.Prefix.Pinned, EvictedPages: s.Prefix.Evicted,
		QueriedTokens: s.Prefix.Queried, HitTokens: s.Prefix.Hit, Saved: llm.CacheSaved{Pages: e.restored.Pages},
	}
	if c.On {
		c.MostPinned = int64(e.mostPinned())
	}
	if e.restored.Err != nil {
		c.Saved.Reason = e.restored.Err.Error()
	}
	return c
}

// identity is what a saved cache must have been computed with.
func (e *Engine) identity() []Named {
	var groups []string
	for _, g := range e.opts.KV.Groups {
		groups = append(groups, fmt.Sprintf("layers %v, %d heads of %d", g.Layers, g.Heads, g.HeadDim))
	}
	return append([]Named{
		{"page size", fmt.Sprint(e.opts.KV.PageSize)},
		{"KV type", e.opts.KV.Type.String()},
		{"KV layout", strings.Join(groups, "; ")},
	}, e.opts.CacheIdentity...)
}

// layout is the shape of a saved cache.
func (e *Engine) layout(store backend.PageStore) cacheLayout {
	l := cacheLayout{Identity: e.identity(), PageTokens: e.opts.KV.PageSize}
	for g := range e.opts.KV.Groups {
		l.PageBytes = append(l.PageBytes, store.PageBytes(g))
	}
	return l
}

var errNoPageStore = errors.New("this backend's keys and values can't be carried to a file")

// restore fills an empty cache with what an earlier process saved. If it reports
// an error, the books may hold some of it and are to be thrown away.
func (e *Engine) restore(c *kv.Cache, store backend.KV) (r Restored) {
	began := time.Now()
	pages, ok := store.(backend.PageStore)
	if !ok {
		return Restored{Err: errNoPageStore}
	}
	f, err := e.opts.CacheStore.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return Restored{}
	}
	if err != nil {
		return Restored{Err: err}
	}
	defer f.Close()
	var to *kv.Restorer
	vocab := int32(e.opts.Describe.Vocab)
	err = readCache(f, e.layout(pages), func(n int) { to = c.Restore(n) }, func(s kv.Saved, data [][]byte) error {
		if i := slices.IndexFunc(s.Tokens, func(id int32) bool { return id < 0 || id >= vocab }); i >= 0 {
			return fmt.Errorf("token %d is not in the vocabulary of %d", s.Tokens[i], vocab)
		}
		at, err := to.Add(s)
		if err != nil {
			return err
		}
		for g, page := range at {
			pages.WritePage(g, page, data[g])
		}
		r.Pages++
		return nil
	})
	if err != nil {
		return Restored{Err: err}
	}
	r.Took = time.Since(began)
	return r
}

// save lets go of everything and hands the prefix cache to the store, if there is
// one. The loop has ended.
func (l *loop) save() {
	o := &l.e.opts
	if o.CacheStore == nil || !l.cache.Caches() {
		return
	}
	began := time.Now()
	pages, ok := l.store.(backend.PageStore)
	if !ok {
		l.e.saved.Err = errNoPageStore
		return
	}
	for _, q := range l.owner {
		l.drop(q)
	}
	for id := range l.pins {
		l.unpin(id)
	}
	l.report()
	layout := l.e.layout(pages)
	list := l.cache.Snapshot(int(o.CacheSaveLimit / layout.recordBytes()))
	if len(list) == 0 {
		return // what an earlier process saved is better than nothing
	}
	var n int64
	err := o.CacheStore.Save(func(w io.Writer) (err error) {
		n, err = writeCache(w, layout, list, pages.ReadPage)
		return err
	})
	l.e.saved = Saved{Pages: int64(len(list)), Bytes: n, Took: time.Since(began), Err: err}
}
