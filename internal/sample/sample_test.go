package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"weir/internal/llm"
)

var (
	nan  = float32(math.NaN())
	inf  = float32(math.Inf(1))
	ninf = float32(math.Inf(-1))
)

// params returns the defaults changed by f.
func params(f func(*llm.Params)) llm.Params {
	p := llm.DefaultParams()
	if f != nil {
		f(&p)
	}
	return p
}

// rowOf returns n random logits; coarse ones have many ties.
func rowOf(rng *rand.Rand, n int, coarse bool) []float32 {
	row := make([]float32, n)
	for i := range row {
		v := rng.NormFloat64() * 3
		if coarse {
			v = math.Round(v)
		}
		row[i] = float32(v)
	}
	return row
}

// survivorsOf returns the probabilities that a sampler gives the tokens of a row.
func survivorsOf(s *Sampler, logits []float32, step int) []float64 {
	row := slices.Clone(logits)
	s.adjust.apply(row, step)
	probs := make([]float64, len(row))
	best, peak := s.scratch.argmax(row)
	if s.greedy {
		probs[best] = 1
		return probs
	}
	d := dist{logits: row, peak: peak, scale: s.scale}
	if s.truncates(len(row)) {
		s.scratch.survivors(d, s)
	} else {
		s.scratch.gather(row, ninf)
		s.scratch.setWeights(d, 0)
	}
	for _, t := range s.scratch.cands {
		probs[t.id] = t.weight
	}
	normalise(probs)
	return probs
}

// TestAgainstNaive compares the distribution with a full sort's, for random
// rows and parameters.
func TestAgainstNaive(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		n := 1 + rng.IntN(300)
		logits := rowOf(rng, n, rng.IntN(3) == 0)
		for range rng.IntN(3) {
			logits[rng.IntN(n)] = ninf
		}
		logits[rng.IntN(n)] = 1 // one at least is finite
		p, eog, prompt, output := randomParams(rng, n)
		if !anyAllowed(logits, p, eog, output) {
			continue
		}
		s := New(p, Options{Vocab: n, EOG: eog, Prompt: prompt})
		for _, id := range output {
			s.Accept(id)
		}
		got := survivorsOf(s, logits, len(output))
		want := naive(logits, p, eog, prompt, output)
		for id := range want {
			// Penalised logits are rounded to float32: 1e-5 relative; weights to units.
			if (got[id] == 0) != (want[id] == 0) || math.Abs(got[id]-want[id]) > 1e-5*want[id]+unit {
				t.Fatalf("seed %d: token %d of %d has probability %g, want %g\n%+v", seed, id, n, got[id], want[id], p)
			}
		}
	}
}

func anyAllowed(logits []float32, p llm.Params, eog, output []int32) bool {
	for _, v := range adjustNaive(logits, p, eog, nil, output) {
		if !math.IsInf(v, -1) {
			return true
		}
	}
	return false
}

func randomParams(rng *rand.Rand, n int) (p llm.Params, eog, prompt, output []int32) {
	maybe := func() bool { return rng.IntN(3) == 0 }
	ids := func(most int) []int32 {
		l := make([]int32, rng.IntN(most))
		for i := range l {
			l[i] = int32(rng.IntN(n))
		}
		return l
	}
	p = llm.DefaultParams()
	p.Temperature = 0.1 + 2*rng.Float64()
	if maybe() {
		p.TopK = 1 + rng.IntN(n+5)
	}
	if maybe() {
		p.TopP = rng.Float64()
	}
	if maybe() {
		p.MinP = rng.Float64() * 0.3
	}
	if maybe() {
		p.TypicalP = rng.Float64()
	}
	if maybe() {
		p.RepetitionPenalty = 0.5 + rng.Float64()
	}
	if maybe() {
		p.FrequencyPenalty = rng.Float64()*4 - 2
	}
	if maybe() {
		p.PresencePenalty = rng.Float64()*4 - 2
	}
	if maybe() {
		p.LogitBias = map[int32]float64{int32(rng.IntN(n)): 5, int32(rng.IntN(n)): -100}
	}
	if maybe() {
		p.MinTokens = rng.IntN(20)
		p.StopTokens = ids(3)
	}
	return p, ids(4), ids(30), ids(30)
}

// TestDistribution draws at 20,000 positions and compares the counts with the
// exact probabilities by chi-square. The seeds are fixed, so that the test
// passes or fails for good; the bound is the 99.9th percentile.
func TestDistribution(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	logits := rowOf(rng, 600, false)
	for i := range logits {
		logits[i] *= 0.7
	}
	cases := map[string]func(*llm.Params){
		"plain":       nil,
		"hot":         func(p *llm.Params) { p.Temperature = 1.7 },
		"cold":        func(p *llm.Params) { p.Temperature = 0.4 },
		"top_k":       func(p *llm.Params) { p.TopK = 12 },
		"top_p":       func(p *llm.Params) { p.TopP = 0.7 },
		"min_p":       func(p *llm.Params) { p.MinP = 0.1 },
		"typical_p":   func(p *llm.Params) { p.TypicalP = 0.5 },
		"all":         func(p *llm.Params) { p.TopK, p.TopP, p.MinP, p.TypicalP = 50, 0.9, 0.02, 0.8 },
		"bias":        func(p *llm.Params) { p.LogitBias = map[int32]float64{3: 4, 4: -2} },
		"repetition":  func(p *llm.Params) { p.RepetitionPenalty = 1.3 },
		"other seeds": func(p *llm.Params) { p.Temperature = 0.8 },
	}
	prompt := []int32{1, 2, 3, 5, 8}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			p := params(change)
			want := naive(logits, p, nil, prompt, nil)
			counts := make([]int, len(logits))
			const draws = 20_000
			row := make([]float32, len(logits))
			s := New(p, Options{Vocab: len(logits), Seed: 42, Prompt: prompt})
			for i := range draws {
				if name == "other seeds" { // the first token of as many requests
					s, i = New(p, Options{Vocab: len(logits), Seed: uint64(i), Scratch: s.scratch}), 0
				}
				copy(row, logits)
				counts[s.Draw(row, i).ID]++
			}
			checkChiSquare(t, counts, want, draws)
		})
	}
}

func checkChiSquare(t *testing.T, counts []int, want []float64, draws int) {
	t.Helper()
	stat, bins := 0., 0
	restCount, restWant := 0, 0.
	for id, q := range want {
		if q == 0 && counts[id] > 0 {
			t.Errorf("token %d was drawn %d times but has probability 0", id, counts[id])
		}
		if e := q * float64(draws); e >= 5 {
			stat += (float64(counts[id]) - e) * (float64(counts[id]) - e) / e
			bins++
			continue
		}
		restCount += counts[id]
		restWant += q * float64(draws)
	}
	if restWant >= 5 {
		stat += (float64(restCount) - restWant) * (float64(restCount) - restWant) / restWant
		bins++
	}
	if bins < 2 {
		t.Fatalf("only %d bins: the case says nothing", bins)
	}
	// The Wilson-Hilferty approximation of the quantile; 3.09 is the normal's.
	df := float64(bins - 1)
	limit := df * math.Pow(1-2/(9*df)+3.09*math.Sqrt(2/(9*df)), 3)
	if stat > limit {
		t.Errorf("chi-square is %.1f with %v degrees of freedom: over %.1f, the 99.9th percentile", stat, df, limit)
	}
}

// TestUniform checks that neighbouring seeds, choices and positions give
// independent numbers: each pair of neighbours falls evenly into 10x10 bins.
func TestUniform(t *testing.T) {
	next := map[string]func(i int) (a, b float64){
		"seed":   func(i int) (float64, float64) { return Uniform(uint64(i), 0, 0), Uniform(uint64(i+1), 0, 0) },
		"choice": func(i int) (float64, float64) { return Uniform(9, i, 0), Uniform(9, i+1, 0) },
		"step":   func(i int) (float64, float64) { return Uniform(9, 0, i), Uniform(9, 0, i+1) },
		"cross":  func(i int) (float64, float64) { return Uniform(9, i, 1), Uniform(9, 1, i) },
	}
	want := make([]float64, 100)
	for i := range want {
		want[i] = 0.01
	}
	for name, pair := range next {
		t.Run(name, func(t *testing.T) {
			counts := make([]int, 100)
			for i := range 20_000 {
				a, b := pair(2*i + 2)
				counts[int(a*10)*10+int(b*10)]++
			}
			checkChiSquare(t, counts, want, 20_000)
		})
	}
}

// TestRepeats shows that a draw depends on seed, choice and step alone: not on
// the order of draws, on other sequences, or on the scratch they share.
func TestRepeats(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	p := params(func(p *llm.Params) { p.TopP, p.Temperature, p.FrequencyPenalty = 0.95, 1.2, 0.3 })
	const steps, vocab = 40, 500
	rows := make([][]float32, steps)
	for i := range rows {
		rows[i] = rowOf(rng, vocab, false)
	}
	draw := func(s *Sampler, step int) int32 { return s.Draw(slices.Clone(rows[step]), step).ID }

	alone := New(p, Options{Vocab: vocab, Seed: 5, Choice: 1})
	var want []int32
	for i := range steps {
		id := draw(alone, i)
		alone.Accept(id)
		want = append(want, id)
	}

	shared := &Scratch{}
	again := New(p, Options{Vocab: vocab, Seed: 5, Choice: 1, Scratch: shared})
	var others []*Sampler
	for i := range 5 {
		others = append(others, New(params(nil), Options{Vocab: vocab, Seed: 5, Choice: i + 2, Scratch: shared}))
	}
	for i := range steps {
		for _, o := range others[:rng.IntN(len(others))] {
			o.Accept(draw(o, rng.IntN(steps)))
		}
		draw(again, (i*7)%steps) // a draw whose token is thrown away, as of a draft
		again.Accept(3)
		again.Retract(3)
		id := draw(again, i)
		again.Accept(id)
		if id != want[i] {
			t.Fatalf("token %d is %d among others and %d alone", i, id, want[i])
		}
	}

	differ := 0
	other := New(p, Options{Vocab: vocab, Seed: 6, Choice: 1})
	for i := range steps {
		if id := draw(other, i); id != want[i] {
			differ++
		}
	}
	if differ < steps/2 {
		t.Errorf("another seed changed only %d of %d tokens", differ, steps)
	}
}

func TestGreedy(t *testing.T) {
	greedy := func(p *llm.Params) { p.Temperature = 0 }
	cases := map[string]struct {
		logits []float32
		change func(*llm.Params)
		want   int32
	}{
		"highest":            {[]float32{1, 3, 2}, greedy, 1},
		"first of equals":    {[]float32{1, 3, 3, 3}, greedy, 1},
		"all equal":          {[]float32{0, 0, 0}, greedy, 0},
		"NaN loses":          {[]float32{nan, -5, nan}, greedy, 1},
		"-Inf loses":         {[]float32{ninf, -5, ninf}, greedy, 1},
		"+Inf wins":          {[]float32{1, inf, 2}, greedy, 1},
		"top_k 1":            {[]float32{1, 3, 3}, func(p *llm.Params) { p.TopK = 1 }, 1},
		"top_p 0":            {[]float32{1, 3, 3}, func(p *llm.Params) { p.TopP = 0 }, 1},
		"min_p 1":            {[]float32{1, 3, 2}, func(p *llm.Params) { p.MinP = 1 }, 1},
		"tiny temperature":   {[]float32{1, 1.0001, 1}, func(p *llm.Params) { p.Temperature = 1e-30 }, 1},
		"small temperature":  {[]float32{1, 1.001, 1}, func(p *llm.Params) { p.Temperature = 1e-5 }, 1},
		"+Inf with sampling": {[]float32{1, 2, inf}, nil, 2},
		"one token":          {[]float32{-3}, nil, 0},
		"padding is cut off": {[]float32{1, 2, 3, 4, 5, 6, 7, 8, 100}, greedy, 7},
		"forced by bias": {[]float32{9, 3, 2}, func(p *llm.Params) {
			p.LogitBias = map[int32]float64{2: 100}
		}, 2},
		"banned by bias": {[]float32{9, 3, ninf}, func(p *llm.Params) {
			p.LogitBias = map[int32]float64{0: -100}
		}, 1},
		"bias of no token": {[]float32{9, 3}, func(p *llm.Params) {
			p.Temperature, p.LogitBias = 0, map[int32]float64{-1: 5, 2: 5, 1 << 30: 5}
		}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				s := New(params(c.change), Options{Vocab: 8, Seed: seed})
				if d := s.Draw(slices.Clone(c.logits), 0); d.ID != c.want || d.Degenerate {
					t.Fatalf("drew %+v, want token %d", d, c.want)
				}
			}
		})
	}
}

func TestDegenerate(t *testing.T) {
	all := func(v float32) []float32 { return []float32{v, v, v} }
	for name, logits := range map[string][]float32{"NaN": all(nan), "-Inf": all(ninf), "none": {}} {
		for _, temperature := range []float64{0, 1} {
			p := params(func(p *llm.Params) { p.Temperature = temperature; p.Logprobs = new(int) })
			s := New(p, Options{Vocab: 3, EOG: []int32{2, 1}})
			if d := s.Draw(slices.Clone(logits), 0); !d.Degenerate || d.ID != 2 || d.HasLogprob {
				t.Errorf("%s, temperature %v: %+v, want degenerate with the first end token", name, temperature, d)
			}
			if d := New(p, Options{Vocab: 3}).Draw(slices.Clone(logits), 0); !d.Degenerate || d.ID != 0 {
				t.Errorf("%s without end token: %+v", name, d)
			}
		}
	}
	s := New(params(func(p *llm.Params) { p.MinTokens = 1; p.StopTokens = []int32{1} }), Options{Vocab: 2, EOG: []int32{0}})
	if d := s.Draw([]float32{1, 1}, 0); !d.Degenerate {
		t.Errorf("every token is banned, but %d was drawn", d.ID)
	}
}

// TestTotal throws every kind of number at a sampler: whatever it is given, it
// returns a token of the vocabulary, and never one that has no logit.
func TestTotal(t *testing.T) {
	odd := []float32{nan, inf, ninf, 0, float32(math.Copysign(0, -1)), math.MaxFloat32, -math.MaxFloat32,
		math.SmallestNonzeroFloat32, 1, -1, 1e30, -1e30, 50, -50}
	oddParam := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1, -1, 0.5, 1e-300, 1e300, 2, 0.999999999, 1e-5}
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 21))
		pick := func() float64 { return oddParam[rng.IntN(len(oddParam))] }
		row := make([]float32, 1+rng.IntN(12))
		alive := false
		for i := range row {
			row[i] = odd[rng.IntN(len(odd))]
			alive = alive || row[i] > ninf
		}
		p := llm.Params{Temperature: pick(), TopK: rng.IntN(20) - 5, TopP: pick(), MinP: pick(), TypicalP: pick()}
		before := slices.Clone(row)
		d := New(p, Options{Vocab: len(row), Seed: seed}).Draw(row, 0)
		if d.Degenerate == alive {
			t.Fatalf("seed %d: degenerate %v for %v, %+v", seed, d.Degenerate, before, p)
		}
		if d.ID < 0 || int(d.ID) >= len(row) || alive && !(before[d.ID] > ninf) {
			t.Fatalf("seed %d: token %d of %v, %+v", seed, d.ID, before, p)
		}
	}
}

func TestMinTokens(t *testing.T) {
	p := params(func(p *llm.Params) { p.Temperature = 0; p.MinTokens = 2; p.StopTokens = []int32{1} })
	s := New(p, Options{Vocab: 4, EOG: []int32{0}})
	for step, want := range []int32{3, 3, 0} {
		if d := s.Draw([]float32{9, 8, 1, 2}, step); d.ID != want {
			t.Errorf("step %d: token %d, want %d", step, d.ID, want)
		}
	}
}

func TestRetract(t *testing.T) {
	p := params(func(p *llm.Params) {
		p.RepetitionPenalty, p.FrequencyPenalty, p.PresencePenalty = 1.5, 0.5, 0.25
	})
	logits := []float32{1, 2, 3, 4}
	s := New(p, Options{Vocab: 4, Prompt: []int32{3}})
	s.Accept(1)
	want := survivorsOf(s, logits, 1)
	s.Accept(1)
	s.Accept(2)
	if got := survivorsOf(s, logits, 3); slices.Equal(got, want) {
		t.Fatal("Accept changed nothing")
	}
	s.Retract(2)
	s.Retract(1)
	if got := survivorsOf(s, logits, 1); !slices.Equal(got, want) {
		t.Errorf("after Retract: %v, want %v", got, want)
	}
}

// TestLogprobs checks log probabilities against the definition, and that they
// are the model's own whatever the parameters do.
func TestLogprobs(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	for _, n := range []int{1, 2, 5, 100, 3000} {
		logits := rowOf(rng, n, n == 100)
		want := naive(logits, llm.DefaultParams(), nil, nil, nil)
		top := 5
		p := params(func(p *llm.Params) {
			p.Logprobs, p.Temperature, p.TopK, p.RepetitionPenalty = &top, 0.3, 3, 1.7
			p.LogitBias = map[int32]float64{0: 100}
		})
		d := New(p, Options{Vocab: n, Prompt: []int32{0}}).Draw(slices.Clone(logits), 0)
		if d.ID != 0 || !d.HasLogprob {
			t.Fatalf("%+v, want token 0 with its log probability", d)
		}
		checkLogprob(t, d.Logprob, want[0])
		if len(d.Top) != min(top, n) {
			t.Fatalf("%d alternatives of %d tokens", len(d.Top), n)
		}
		for i, a := range d.Top {
			checkLogprob(t, a.Logprob, want[a.ID])
			if better := countBetter(logits, a.ID); better != i {
				t.Errorf("alternative %d is token %d, which %d tokens precede", i, a.ID, better)
			}
		}
	}
}

func countBetter(logits []float32, id int32) int {
	n := 0
	for i, v := range logits {
		if v > logits[id] || v == logits[id] && int32(i) < id {
			n++
		}
	}
	return n
}

func checkLogprob(t *testing.T, got, prob float64) {
	t.Helper()
	if want := math.Log(prob); math.Abs(got-want) > 1e-12*math.Max(1, math.Abs(want)) {
		t.Errorf("log probability %v, want %v", got, want)
	}
}

func TestLogprobOfOddRows(t *testing.T) {
	ruledOut := math.Inf(-1)
	cases := map[string]struct {
		logits []float32
		id     int32
		want   float64
		top    int
	}{
		"empty":             {nil, 0, ruledOut, 0},
		"NaN":               {[]float32{nan, nan}, 0, ruledOut, 0},
		"the only one":      {[]float32{nan, 4, ninf}, 1, 0, 1},
		"ruled out":         {[]float32{ninf, 4, 4}, 0, ruledOut, 2},
		"two infinite ones": {[]float32{inf, 4, inf}, 2, -math.Ln2, 3},
		"no such token":     {[]float32{1, 2}, 7, ruledOut, 2},
		"negative token":    {[]float32{1, 2}, -1, ruledOut, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprint(c.logits)
			lp, top := Logprob(c.logits, c.id, 5)
			if lp != c.want && !(math.Abs(lp-c.want) < 1e-15) {
				t.Errorf("log probability %v, want %v", lp, c.want)
			}
			if len(top) != c.top {
				t.Errorf("%d alternatives, want %d: %v", len(top), c.top, top)
			}
			if after := fmt.Sprint(c.logits); after != before {
				t.Errorf("the row changed from %s to %s", before, after)
			}
		})
	}
}

// TestDrawBits pins the tokens that seeds draw: other platforms must draw the
// same, and a later release too.
func TestDrawBits(t *testing.T) {
	sum := uint64(14695981039346656037)
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 77))
		n := 100 + rng.IntN(2000)
		p, eog, prompt, output := randomParams(rng, n)
		s := New(p, Options{Vocab: n, Seed: seed, EOG: eog, Prompt: prompt})
		for i, id := range output {
			s.Accept(id)
			d := s.Draw(rowOf(rng, n, i%2 == 0), i)
			sum = (sum ^ uint64(d.ID)) * 1099511628211
		}
	}
	if want := uint64(0xd6c71029108148cc); sum != want {
		t.Errorf("seeds draw other tokens here: checksum %#x, want %#x", sum, want)
	}
}

func TestAllocations(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	logits := rowOf(rng, 5000, false)
	for name, change := range benchCases {
		s := New(params(change), Options{Vocab: len(logits), Prompt: []int32{1, 2, 3}})
		row := make([]float32, len(logits))
		step := 0
		n := testing.AllocsPerRun(50, func() {
			copy(row, logits)
			s.Accept(s.Draw(row, step).ID % 7)
			step++
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a draw, want none", name, n)
		}
	}
}

var benchCases = map[string]func(*llm.Params){
	"greedy":         func(p *llm.Params) { p.Temperature = 0 },
	"plain":          nil,
	"top_k=40":       func(p *llm.Params) { p.TopK = 40 },
	"top_k=5000":     func(p *llm.Params) { p.TopK = 5000 },
	"top_p=0.9":      func(p *llm.Params) { p.TopP = 0.9 },
	"top_p=0.999":    func(p *llm.Params) { p.TopP = 0.999 },
	"min_p=0.05":     func(p *llm.Params) { p.MinP = 0.05 },
	"typical_p=0.9":  func(p *llm.Params) { p.TypicalP = 0.9 },
	"k=40,p=0.95":    func(p *llm.Params) { p.TopK, p.TopP, p.Temperature = 40, 0.95, 0.8 },
	"penalties":      func(p *llm.Params) { p.Temperature, p.RepetitionPenalty, p.FrequencyPenalty = 0, 1.1, 0.5 },
	"logprobs alone": func(p *llm.Params) { p.Temperature, p.Logprobs = 0, new(int) },
}

// BenchmarkDraw draws from rows of 128k logits: a usual one, in which a hundred
// tokens stand out, and a flat one, in which thousands share the nucleus. "copy"
// is the cost of the copy that each round needs.
func BenchmarkDraw(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 9))
	const vocab = 128_256
	flat := rowOf(rng, vocab, false)
	flat[77_777] = 17
	usual := make([]float32, vocab)
	for i, v := range flat {
		usual[i] = v * 2 / 3
	}
	for i := range 100 {
		usual[i*1000] = 18 - 0.12*float32(i)
	}
	row := make([]float32, vocab)
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			copy(row, usual)
		}
	})
	for name, change := range benchCases {
		benchDraw(b, "usual/"+name, change, usual)
		benchDraw(b, "flat/"+name, change, flat)
	}
}

func benchDraw(b *testing.B, name string, change func(*llm.Params), logits []float32) {
	row := make([]float32, len(logits))
	b.Run(name, func(b *testing.B) {
		s := New(params(change), Options{Vocab: len(row)})
		b.ReportAllocs()
		for step := 0; b.Loop(); step++ {
			copy(row, logits)
			s.Draw(row, step)
		}
	})
}
