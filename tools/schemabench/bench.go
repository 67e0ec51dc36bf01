package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/internal/grammar"
	"weir/internal/llm"
	"weir/internal/sample"
	"weir/internal/token"
)

// bench collects what happens to the schemas.
type bench struct {
	o       options
	tok     *token.Tokenizer
	vocab   *grammar.Vocab
	rows    [][]float32 // random logits
	closing []int32     // tokens that end strings, arrays and objects
	rng     *rand.Rand

	files, compiled, noValidator             int
	refused                                  map[string]int
	docs, cut, invalid, dead                 int
	validYes, validNo, invalidYes, invalidNo int
	compile, masks, firsts, endings          []time.Duration
	tokens                                   int
}

const llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

func newBench(o options) (*bench, error) {
	ranks, err := os.ReadFile(o.vocab)
	if err != nil {
		return nil, err
	}
	n := bytes.Count(ranks, []byte{'\n'})
	tok, err := token.FromTiktoken(ranks, llama3Pattern, map[string]int32{"<|end_of_text|>": int32(n)})
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, tok: tok, refused: map[string]int{}, rng: rand.New(rand.NewPCG(o.seed, 2))}
	b.vocab = grammar.NewVocab(tok, tok.VocabSize(), []int32{int32(n)})
	for range 16 {
		row := make([]float32, tok.VocabSize())
		for i := range row {
			row[i] = float32(2 * b.rng.NormFloat64())
		}
		b.rows = append(b.rows, row)
	}
	for id := range int32(tok.VocabSize()) {
		if p := tok.Piece(id); len(p) > 0 && strings.ContainsAny(string(p), `"}]`) {
			b.closing = append(b.closing, id)
		}
	}
	return b, nil
}

// testFile is a schema with instances.
type testFile struct {
	Schema json.RawMessage `json:"schema"`
	Tests  []struct {
		Valid bool            `json:"valid"`
		Data  json.RawMessage `json:"data"`
	} `json:"tests"`
}

func (b *bench) file(name string, src []byte) {
	b.files++
	name = filepath.Base(name)
	var f testFile
	schema := src
	if json.Unmarshal(src, &f) == nil && f.Schema != nil && f.Tests != nil {
		schema = f.Schema
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.o.timeout)
	defer cancel()
	began := time.Now()
	g, err := grammar.Compile(ctx, grammar.Schema(schema), b.vocab, grammar.DefaultLimits())
	b.compile = append(b.compile, time.Since(began))
	if err != nil {
		b.refuse(name, err)
		return
	}
	b.compiled++
	v, err := newValidator(schema)
	if err != nil {
		b.noValidator++
		b.say("%s: the validator does not take the schema: %v", name, err)
		return
	}
	for range b.o.docs {
		b.document(name, g, v)
	}
	for i, t := range f.Tests {
		b.instance(fmt.Sprintf("%s: test %d", name, i), g, v, t.Data, t.Valid)
	}
}

func (b *bench) say(format string, args ...any) {
	if b.o.verbose {
		fmt.Printf(format+"\n", args...)
	}
}

func (b *bench) refuse(name string, err error) {
	keyword := "(other)"
	if u := (*grammar.UnsupportedError)(nil); errors.As(err, &u) && u.Keyword != "" {
		keyword = u.Keyword
	} else if errors.Is(err, grammar.ErrTooLarge) {
		keyword = "(too large)"
	} else if errors.Is(err, context.DeadlineExceeded) {
		keyword = "(time)"
	}
	b.refused[keyword]++
	b.say("%s: refused: %v", name, err)
}

// closingWithin is how many tokens before its limit an engine looks after an output's
// end (internal/engine).
const closingWithin = 512

// document writes a document and has it validated.
func (b *bench) document(name string, g *grammar.Grammar, v *validator) {
	b.docs++
	seed := b.rng.Uint64()
	p := llm.DefaultParams()
	p.Temperature = b.o.temp
	s := sample.New(p, sample.Options{Vocab: b.tok.VocabSize(), Seed: seed, EOG: b.tok.EOG()})
	mask, logits := make([]uint64, b.vocab.Words()), make([]float32, b.tok.VocabSize())
	var text []byte
	state := g.Start()
	for step := range b.o.tokens {
		began := time.Now()
		state.Mask(mask)
		if took := time.Since(began); step == 0 {
			b.firsts = append(b.firsts, took)
		} else {
			b.masks = append(b.masks, took)
		}
		b.tokens++
		b.row(logits, step)
		s.Mask(mask)
		d := s.Draw(logits, step)
		if d.Degenerate {
			b.dead++
			fmt.Printf("%s: nothing may follow %q\n", name, tail(text))
			return
		}
		if state.Accepting() && slices.Contains(b.tok.EOG(), d.ID) || state.Ended() {
			b.validate(name, v, text)
			return
		}
		if left := b.o.tokens - step; left <= closingWithin {
			began := time.Now()
			id, hurried := state.Within(left, d.ID)
			b.endings = append(b.endings, time.Since(began))
			if hurried && slices.Contains(b.tok.EOG(), id) {
				b.validate(name, v, text)
				return
			}
			d.ID = id
		}
		next, ok := state.Accept(d.ID)
		if !ok {
			b.dead++
			fmt.Printf("%s: token %q of the mask is not accepted after %q\n", name, b.tok.Piece(d.ID), tail(text))
			return
		}
		state = next
		text = append(text, b.tok.Piece(d.ID)...)
	}
	if state.Accepting() {
		b.validate(name, v, text)
		return
	}
	b.cut++
	b.say("%s: cut after %d tokens: …%s", name, b.o.tokens, tail(text))
}

// row makes the logits of a step: random, with a writer's wish to come to an end
// that grows.
func (b *bench) row(logits []float32, step int) {
	copy(logits, b.rows[b.rng.IntN(len(b.rows))])
	wish := float32(3 + float64(step)/40)
	for _, id := range b.closing {
		logits[id] += wish
	}
	for _, id := range b.tok.EOG() {
		logits[id] += wish + 4
	}
}

func tail(text []byte) []byte { return text[max(0, len(text)-200):] }

func (b *bench) validate(name string, v *validator, text []byte) {
	if err := v.check(text); err != nil {
		b.invalid++
		fmt.Printf("%s: %v\n  document: %.600s\n", name, err, text)
	}
}

// instance compares the grammar's verdict with the test's, which the validator
// must share.
func (b *bench) instance(name string, g *grammar.Grammar, v *validator, data []byte, valid bool) {
	text, err := respell(data)
	if err != nil || (v.check(text) == nil) != valid {
		return
	}
	s, ok := g.Start().AcceptBytes(text)
	ok = ok && s.Accepting()
	switch {
	case valid && ok:
		b.validYes++
	case valid:
		b.validNo++
		b.say("%s: valid, not in the grammar: %.300s", name, text)
	case ok:
		b.invalidYes++
		fmt.Printf("%s: invalid, but in the grammar: %.300s\n", name, text)
	default:
		b.invalidNo++
	}
}

func (b *bench) report(w io.Writer) {
	fmt.Fprintf(w, "schemas            %d, compiled %d, refused %d, not taken by the validator %d\n", b.files, b.compiled, b.files-b.compiled, b.noValidator)
	for _, k := range slices.SortedFunc(maps.Keys(b.refused), func(x, y string) int { return b.refused[y] - b.refused[x] }) {
		fmt.Fprintf(w, "  refused for      %-22s %d\n", k, b.refused[k])
	}
	fmt.Fprintf(w, "documents          %d, invalid %d, dead ends %d, cut by %d tokens %d (%.1f%%)\n", b.docs, b.invalid, b.dead, b.o.tokens, b.cut, percent(b.cut, b.docs))
	fmt.Fprintf(w, "valid instances    %d of %d in the grammar (%.1f%%)\n", b.validYes, b.validYes+b.validNo, percent(b.validYes, b.validYes+b.validNo))
	fmt.Fprintf(w, "invalid instances  %d of %d in the grammar\n", b.invalidYes, b.invalidYes+b.invalidNo)
	fmt.Fprintf(w, "compile            %s\n", spread(b.compile))
	fmt.Fprintf(w, "first mask         %s\n", spread(b.firsts))
	if len(b.endings) > 0 {
		fmt.Fprintf(w, "end in time        %s, of the last %d tokens before the limit\n", spread(b.endings), closingWithin)
	}
	fmt.Fprintf(w, "mask               %s, vocabulary %d, %d tokens\n", spread(b.masks), b.tok.VocabSize(), b.tokens)
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// spread gives quantiles.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	d = slices.Clone(d)
	slices.Sort(d)
	at := func(q float64) time.Duration {
		return d[min(int(q*float64(len(d))), len(d)-1)].Round(100 * time.Nanosecond)
	}
	return fmt.Sprintf("median %v, p90 %v, p95 %v, p99 %v, p99.9 %v, max %v", at(0.5), at(0.9), at(0.95), at(0.99), at(0.999), at(1))
}
