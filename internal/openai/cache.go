package openai

import (
	"math"
	"strconv"
	"time"

	"weir/internal/llm"
)

// appendCacheInfo appends an explanation of a cache miss.
func appendCacheInfo(dst []byte, c *llm.CacheInfo) []byte {
	if c == nil { // an engine that cannot tell
		return append(dst, "null"...)
	}
	dst = appendString(append(dst, `{"reason":`...), string(c.Reason))
	dst = appendString(appendKey(dst, "message"), c.Why)
	dst = strconv.AppendInt(appendKey(dst, "cached_tokens"), int64(c.Cached), 10)
	dst = strconv.AppendInt(appendKey(dst, "common_tokens"), int64(c.Common), 10)
	if c.Reason == llm.CacheDiverged {
		dst = strconv.AppendInt(appendKey(dst, "diverged_at"), int64(c.Common), 10)
	} else {
		dst = append(appendKey(dst, "diverged_at"), "null"...)
	}
	for _, t := range []struct{ key, text string }{{"before", c.Before}, {"prompt", c.Prompt}, {"cached", c.Nearest}, {"hint", c.Hint}} {
		dst = appendString(appendKey(dst, t.key), t.text)
	}
	return append(dst, '}')
}

// PinRequest is the body of POST /cache/prefixes.
type PinRequest struct {
	Conversation
	Model            string
	Name             string
	TTL              *int
	CacheSalt        string
	Prompt           llm.Prompt // nil: the conversation is meant
	AddSpecialTokens *bool
}

// maxPinName bounds the name of a pinned prefix, in bytes; maxTTL its time, in
// seconds (a time.Duration holds no more).
const (
	maxPinName = 128
	maxTTL     = math.MaxInt32
)

// PinFields lists the fields of that request.
func PinFields() []Field { return pinTable.fields() }

var pinTable = newTable([]entry[PinRequest]{
	text("model", modelNote, func(r *PinRequest) *string { return &r.Model }),
	custom("name", "Up to 128 bytes. A prefix that is kept under the same name is replaced.", func(r *PinRequest, v value) (err error) {
		if r.Name, err = v.text(); err == nil && len(r.Name) > maxPinName {
			err = v.invalid("the name has %d bytes: %d are possible", len(r.Name), maxPinName)
		}
		return err
	}),
	count("ttl", 1, maxTTL, "Seconds after which it is no longer kept. Default: until it is deleted, or weir ends.", func(r *PinRequest) **int { return &r.TTL }),
	custom("prompt", "String or token ids. Either it or `messages`.", func(r *PinRequest, v value) (err error) {
		r.Prompt, err = v.prompt()
		return err
	}),
	optionalToggle("add_special_tokens", "Let the tokeniser add its own (BOS). Default: true for a prompt, false for messages.", func(r *PinRequest) **bool { return &r.AddSpecialTokens }),
	custom("cache_salt", "Only requests of the same salt find it.", func(r *PinRequest, v value) (err error) {
		r.CacheSalt, err = v.salt()
		return err
	}),
}, lift(pinConversation, func(r *PinRequest) *Conversation { return &r.Conversation }))

// pinConversation are the fields of a conversation but for those that say how it
// ends: a prefix does not.
var pinConversation = func() []entry[Conversation] {
	var list []entry[Conversation]
	for _, e := range conversationFields {
		if e.Name != "add_generation_prompt" && e.Name != "continue_final_message" {
			list = append(list, e)
		}
	}
	return list
}()

// DecodePin reads the body of POST /cache/prefixes.
func DecodePin(body []byte) (*PinRequest, error) {
	r := new(PinRequest)
	if err := decode(body, pinTable, r); err != nil {
		return nil, err
	}
	switch {
	case r.Prompt != nil && r.Messages != nil:
		return nil, value{path: "prompt"}.invalid("messages are given, too: keep one of them")
	case r.Prompt == nil && r.Messages == nil:
		return nil, missing("messages")
	}
	return r, nil
}

// Pin gives what the request asks of model m. The error is an [*llm.Error].
func (r *PinRequest) Pin(m llm.Model) (*llm.PinRequest, error) {
	p := &llm.PinRequest{Name: r.Name, CacheSalt: r.CacheSalt, Prompt: r.Prompt}
	if r.TTL != nil {
		p.TTL = time.Duration(*r.TTL) * time.Second
	}
	if r.Prompt != nil {
		p.Tokenize.NoSpecial = r.AddSpecialTokens != nil && !*r.AddSpecialTokens
		return p, checkIDs(r.Prompt, m, 0, 1)
	}
	if !m.Chat && r.Template == "" {
		return nil, noTemplate(m)
	}
	chat := r.Chat()
	chat.AddSpecialToken = r.AddSpecialTokens != nil && *r.AddSpecialTokens
	p.Prompt = chat
	return p, nil
}

// AppendPinned appends a pinned prefix.
func AppendPinned(dst []byte, m llm.Model, p llm.PinnedPrefix) []byte {
	dst = appendString(append(dst, `{"id":`...), p.ID)
	dst = append(dst, `,"object":"cache.prefix"`...)
	dst = appendString(appendKey(dst, "model"), m.ID)
	dst = appendString(appendKey(dst, "name"), p.Name)
	dst = strconv.AppendInt(appendKey(dst, "tokens"), int64(p.Tokens), 10)
	dst = strconv.AppendInt(appendKey(dst, "prompt_tokens"), int64(p.Prompt), 10)
	dst = strconv.AppendInt(appendKey(dst, "cached_tokens"), int64(p.Cached), 10)
	dst = strconv.AppendInt(appendKey(dst, "created"), p.Created.Unix(), 10)
	dst = appendKey(dst, "expires")
	if p.Expires.IsZero() {
		return append(dst, "null}"...)
	}
	return append(strconv.AppendInt(dst, p.Expires.Unix(), 10), '}')
}

// CacheOf is a model's prefix cache, for listings.
type CacheOf struct {
	Model    llm.Model
	Status   llm.CacheStatus
	Prefixes []llm.PinnedPrefix
}

// AppendPrefixes appends the list of pinned prefixes.
func AppendPrefixes(dst []byte, caches []CacheOf) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	n := 0
	for _, c := range caches {
		for _, p := range c.Prefixes {
			dst = AppendPinned(comma(dst, n), c.Model, p)
			n++
		}
	}
	return append(dst, "]}"...)
}

// AppendDeleted appends the answer to a deletion.
func AppendDeleted(dst []byte, id string) []byte {
	return append(appendString(append(dst, `{"id":`...), id), `,"object":"cache.prefix","deleted":true}`...)
}

// AppendCaches appends how the models' caches do.
func AppendCaches(dst []byte, caches []CacheOf) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	for i, c := range caches {
		dst = appendCache(comma(dst, i), c)
	}
	return append(dst, "]}"...)
}

func appendCache(dst []byte, c CacheOf) []byte {
	s := c.Status
	dst = appendString(append(dst, `{"object":"cache","model":`...), c.Model.ID)
	dst = strconv.AppendBool(appendKey(dst, "on"), s.On)
	dst = appendString(appendKey(dst, "reason"), s.Why)
	rate := 0.0
	if s.QueriedTokens > 0 {
		rate = float64(s.HitTokens) / float64(s.QueriedTokens)
	}
	dst = strconv.AppendFloat(appendKey(dst, "hit_rate"), rate, 'f', 4, 64)
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"queried_tokens", s.QueriedTokens}, {"hit_tokens", s.HitTokens}, {"page_tokens", int64(s.PageTokens)}, {"pages", s.Pages},
		{"cached_pages", s.CachedPages}, {"evicted_pages", s.EvictedPages}, {"pinned_pages", s.PinnedPages}, {"most_pinned_pages", s.MostPinned},
		{"pinned_prefixes", int64(len(c.Prefixes))}, {"restored_pages", s.Saved.Pages},
	} {
		dst = strconv.AppendInt(appendKey(dst, n.key), n.value, 10)
	}
	return append(appendString(appendKey(dst, "not_restored"), s.Saved.Reason), '}')
}

// salt reads a cache_salt.
func (v value) salt() (string, error) {
	s, err := v.text()
	if err == nil && len(s) > MaxSaltBytes {
		err = v.invalid("the salt has %d bytes: %d are possible", len(s), MaxSaltBytes)
	}
	return s, err
}
