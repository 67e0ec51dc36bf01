package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/internal/llm"
)

// What structured output costs is measured on as many requests at once as are asked for, in
// turns: once each writes whatever it likes, once a document of a schema. Both
// are sampled alike, and none ends before it has all its tokens. From when they are
// sent to when the last of them has ended, compiling the schema included (once: the
// engine keeps it).

// recordsSchema is of a document that takes longer than any request here: records as
// APIs have them, with bounds, an enumeration and nesting, so that masks are of all kinds.
const recordsSchema = `{"type": "array", "minItems": 4096, "items": {
	"type": "object", "additionalProperties": false,
	"required": ["id", "name", "state", "tags", "position", "active"],
	"properties": {
		"id": {"type": "integer", "minimum": 0, "maximum": 999999},
		"name": {"type": "string", "minLength": 1, "maxLength": 24},
		"state": {"enum": ["open", "closed", "waiting for review", "rejected"]},
		"tags": {"type": "array", "maxItems": 3, "items": {"type": "string", "pattern": "^[a-z][a-z-]{1,10}$"}},
		"position": {"type": "object", "additionalProperties": false, "required": ["x", "y"],
			"properties": {"x": {"type": "number"}, "y": {"type": "number"}}},
		"active": {"type": "boolean"}}}}`

// Structured is what structured output costs.
type Structured struct {
	Requests int     `json:"requests"` // at once
	Tokens   int     `json:"tokens"`   // of each
	Free     Summary `json:"free_tokens_per_s"`
	Held     Summary `json:"held_tokens_per_s"` // held to the schema
	Share    Ratio   `json:"share"`             // of the free requests' speed, by round
	MaskUs   float64 `json:"mask_us"`           // a mask, in the mean
	MaskPart float64 `json:"mask_share"`        // of the held requests' steps' time
	Guessed  int64   `json:"guessed"`           // tokens drafted, because nothing else may follow
	True     int64   `json:"guessed_true"`      // of them, those that the model spelt the same way

	free, held []float64
	masks      int64
	maskTime   time.Duration
	stepTime   time.Duration
}

// counting says whether a round is kept.
type counting bool

const (
	counts counting = true
	warmUp counting = false
)

// structuredRound measures both, another one first each time.
func (r *run) structuredRound(ctx context.Context, round int, kept counting) error {
	if r.structures == nil {
		return nil
	}
	for i := range 2 {
		held := (i+round)%2 == 1
		before := r.o.Engine.Stats()
		rate, err := r.atOnce(ctx, held)
		if err != nil {
			return err
		}
		if kept == warmUp {
			continue
		}
		after, s := r.o.Engine.Stats(), r.structures
		if !held {
			s.free = append(s.free, rate)
			continue
		}
		s.held = append(s.held, rate)
		s.masks += after.Masks - before.Masks
		s.maskTime += after.MaskTime - before.MaskTime
		s.stepTime += after.StepTime - before.StepTime
		s.Guessed += after.Guessed - before.Guessed
		s.True += after.Held - before.Held
	}
	return nil
}

// atOnce sends all requests at once and returns the tokens that they had a second.
func (r *run) atOnce(ctx context.Context, held bool) (float64, error) {
	s := r.structures
	requests := make([]*llm.Request, s.Requests)
	for i := range requests {
		requests[i] = r.driver.request(r.o.Settings.Depth, s.Tokens)
		p := &requests[i].Params
		p.Temperature = 1
		if held {
			p.Structure = &llm.Structure{Schema: json.RawMessage(recordsSchema), Field: "response_format"}
		}
	}
	counts, errs := make([]int, len(requests)), make([]error, len(requests))
	release := r.driver.hold()
	var all sync.WaitGroup
	for i, q := range requests {
		all.Go(func() {
			for n, err := range direct(r.o.Engine)(ctx, q) {
				counts[i], errs[i] = counts[i]+n, err
			}
		})
	}
	r.driver.gathered(ctx, len(requests))
	began := time.Now()
	release()
	all.Wait()
	took := time.Since(began)
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("%d requests at once: %w", len(requests), err)
	}
	for _, n := range counts {
		if n != s.Tokens {
			return 0, fmt.Errorf("%d requests at once: one ended after %d tokens of %d", len(requests), n, s.Tokens)
		}
	}
	return float64(s.Requests*s.Tokens) / took.Seconds(), r.driver.settled(ctx)
}

// concludeStructured turns the rounds into figures; nil if none were measured.
func (r *run) concludeStructured() *Structured {
	s := r.structures
	if s == nil {
		return nil
	}
	s.Free, s.Held, s.Share = Summarize(s.free), Summarize(s.held), ratios(s.held, s.free)
	s.MaskUs = float64(s.maskTime.Nanoseconds()) / 1e3 / float64(max(1, s.masks))
	s.MaskPart = s.maskTime.Seconds() / s.stepTime.Seconds()
	return s
}

// String is a sentence on it.
func (s *Structured) String() string {
	return fmt.Sprintf("%d requests of %d tokens at once, held to a JSON Schema, have %s of the speed of as many that are not (95%% interval %s – %s): "+
		"%s and %s tokens/s. A mask took %s µs, all of them %s of the steps' time; of %d tokens guessed because nothing else may follow, %d came true.",
		s.Requests, s.Tokens, percent(s.Share.Median), percent(s.Share.Low), percent(s.Share.High), number(s.Held.Median), number(s.Free.Median),
		number(s.MaskUs), percent(s.MaskPart), s.Guessed, s.True)
}
