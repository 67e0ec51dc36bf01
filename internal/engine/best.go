package engine

import (
	"cmp"
	"slices"

	"weir/internal/llm"
)

// bestOf keeps the events of all choices until each has finished, then passes
// on those of the most probable ones: by mean log probability a token, as the
// completions API has it.
type bestOf struct {
	choices []kept
	n       int
	show    bool // the request asked for log probabilities itself
}

type kept struct {
	events []llm.Event
	sum    float64
	tokens int
}

func (k kept) mean() float64 { return k.sum / float64(max(1, k.tokens)) }

// pickBest makes d deliver only the best N of its choices. asked are the
// parameters as the client gave them; prepare has turned log probabilities on.
func (d *delivery) pickBest(asked *llm.Params) {
	d.best = &bestOf{choices: make([]kept, d.req.params.BestOf), n: d.req.params.N, show: asked.Logprobs != nil}
}

func (b *bestOf) keep(ev llm.Event) {
	k := &b.choices[ev.Choice]
	for i := range ev.Tokens {
		if lp := ev.Tokens[i].Logprob; lp != nil {
			k.sum += *lp
			k.tokens++
		}
		if !b.show {
			ev.Tokens[i].Logprob, ev.Tokens[i].Top = nil, nil
		}
	}
	k.events = append(k.events, ev)
}

// sendBest emits the chosen choices, best first, numbered from 0.
func (d *delivery) sendBest() error {
	b := d.best
	slices.SortStableFunc(b.choices, func(x, y kept) int { return cmp.Compare(y.mean(), x.mean()) })
	for i, k := range b.choices[:b.n] {
		for _, ev := range k.events {
			ev.Choice = i
			if err := d.emit(ev); err != nil {
				return err
			}
		}
	}
	return nil
}
