package engine

import (
	"weir/internal/llm"
	"weir/internal/sample"
)

// An output with a structure that max_tokens would cut off is not what was asked for,
// and most clients can't even parse it. So when its room runs out, an output is held to
// what can still end in time: the shortest end is known (grammar.State.Within), and a
// token after which even that would not fit is not taken. Nothing else is touched:
// an output that ends in time by itself is what it would have been.

// closingWithin is how many tokens before its limit an output is looked after. What a
// single token can make necessary (an object with all its required properties) may be
// longer; then it is cut off, as it always was.
const closingWithin = 512

// mustEnd tells whether q's next token may have to be one that lets it end in time,
// and how many it has left. An output that must not end is cut off where its limit is.
func (l *loop) mustEnd(q *sequence) (left int, must bool) {
	p := &q.req.params
	left = min(*p.MaxTokens-q.generated(), l.e.opts.Describe.Context-len(q.tokens))
	return left, q.text != nil && left <= closingWithin && !p.IgnoreEOS && p.MinTokens <= q.generated()
}

// drawText draws q's next token, of a text with a structure so that it can end in time.
func (l *loop) drawText(q *sequence, logits []float32) sample.Draw {
	if q.text != nil {
		l.bits = l.mask(q, l.bits)
	}
	left, must := l.mustEnd(q)
	if !must {
		return q.sampler.Draw(logits, q.generated())
	}
	told := q.req.params.Logprobs != nil
	if told { // drawing spoils them
		l.spare = append(l.spare[:0], logits...)
	}
	d := q.sampler.Draw(logits, q.generated())
	id, hurried := q.text.Within(left, d.ID)
	if d.Degenerate || !hurried {
		return d
	}
	q.hurried = true
	if !told {
		return sample.Draw{ID: id}
	}
	clear(l.bits)
	l.bits[id>>6] |= 1 << (id & 63)
	return q.sampler.Draw(l.spare, q.generated())
}

// hurry is how an output finished that was made to end.
func (q *sequence) hurry(f llm.Finish) llm.Finish {
	if q.hurried && f == llm.FinishStop {
		return llm.FinishLength
	}
	return f
}
