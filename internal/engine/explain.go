package engine

import (
	"fmt"
	"regexp"
	"strings"

	"weir/internal/llm"
	"weir/internal/sched"
	"weir/internal/token"
)

// around is how many tokens of text an explanation shows before the place where a
// prompt and the cache part ways, and after it.
const around = 24

// explain says what the prefix cache had of a prompt. near is nil where nothing
// was looked up.
func (e *Engine) explain(req *request, near *sched.Nearest, cached int) *llm.CacheInfo {
	if near == nil {
		return &llm.CacheInfo{Reason: llm.CacheOff, Why: e.whyUncached(req)}
	}
	n, at := len(req.prompt), near.Common
	info := &llm.CacheInfo{Cached: cached, Common: at}
	info.Before = e.text(req.prompt[max(0, at-around):at])
	info.Prompt = e.text(req.prompt[at:min(n, at+around)])
	info.Nearest = e.text(near.Theirs[:min(len(near.Theirs), around)])
	defer e.discreet(req, info)
	switch {
	case len(near.Theirs) > 0:
		info.Reason = llm.CacheDiverged
		info.Why = fmt.Sprintf("the nearest cached prompt has %d tokens in common with this one of %d; from token %d on it is another", at, n, at)
		info.Hint = hint(info, n)
	case at >= n-1:
		info.Reason = llm.CacheWhole
		info.Why = "all of the prompt is cached; its last token is computed anyway, for the first of the answer"
	case at == 0:
		info.Reason = llm.CacheEmpty
		info.Why = "nothing is cached for this cache_salt: no request came before this one, or what it left has been evicted"
	default:
		info.Reason = llm.CacheNew
		info.Why = fmt.Sprintf("all that is cached of such a prompt are its first %d tokens of %d; what follows is new, or has been evicted", at, n)
	}
	return info
}

// discreet leaves out what another may have sent: where callers have keys, only a
// salt says that those who share it know each other.
func (e *Engine) discreet(req *request, info *llm.CacheInfo) {
	if req.anonymous && info.Nearest != "" {
		info.Nearest = ""
		info.Why += "; what is cached there is not shown, as it may be another key's: send a cache_salt of your own to see it"
	}
}

// whyUncached says why a request asks nothing of the cache.
func (e *Engine) whyUncached(req *request) string {
	if req.params.PromptLogprobs != nil && e.cacheOff == "" {
		return "the log probabilities of the prompt are asked for, so every token of it has to be computed"
	}
	return e.cacheOff
}

func (e *Engine) text(ids []int32) string {
	return e.opts.Tokenizer.Decode(ids, token.DecodeOptions{Continuation: true})
}

// culprits are what most often differs from request to request.
var culprits = []struct {
	what    string
	pattern *regexp.Regexp
	advice  string
}{
	{"a date or a time", regexp.MustCompile(`(?i)\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)?|\d{1,2}:\d{2}(:\d{2})?( ?[ap]m)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\b(mon|tues|wednes|thurs|fri|satur|sun)day\b|\b(\d{1,2} )?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,4}(, \d{4})?|\b\d{1,2} (jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*( \d{4})?|\b1[0-9]{9}([0-9]{3})?\b`),
		"leave it out of the system prompt, or put it where the prompt differs anyway: behind what is the same for all, or into the last message"},
	{"an identifier", regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b|\b(req|sess|session|user|trace|chatcmpl|call)[_-][0-9a-z]{6,}\b|\b[0-9]{6,}\b`),
		"what names a request or a user belongs behind what is the same for all"},
}

// hint names the usual reasons for a prompt to part from the cache.
func hint(i *llm.CacheInfo, prompt int) string {
	if i.Prompt == i.Nearest {
		return "the text is the same, its tokens are not: send the prompt as text, or tokenise it as the server does"
	}
	if strings.Join(strings.Fields(i.Prompt), "") == strings.Join(strings.Fields(i.Nearest), "") {
		return "only white space differs"
	}
	for _, c := range culprits {
		mine, other := spans(c.pattern, i.Before, i.Prompt), spans(c.pattern, i.Before, i.Nearest)
		if mine && other {
			return c.what + " stands where they part: " + c.advice
		}
	}
	if i.Common < prompt/2 && strings.Contains(i.Before+i.Prompt, `"function"`) && strings.Contains(i.Before+i.Nearest, `"function"`) {
		return "they part among the tools: send tools, and the keys of each, in the same order every time"
	}
	if i.Common < prompt/10 {
		return "they part near the beginning: what differs from request to request belongs behind what is the same for all"
	}
	return ""
}

// spans tells whether what the pattern finds stands where after follows before,
// or touches it.
func spans(pattern *regexp.Regexp, before, after string) bool {
	for _, at := range pattern.FindAllStringIndex(before+after, -1) {
		if at[0] <= len(before)+1 && at[1] > len(before) { // a space may stand between
			return true
		}
	}
	return false
}
