package model

import (
	"fmt"
	"math"
)

// Config is a family's hyper-parameters, the same whichever format they came
// from.
type Config struct {
	Family string // "llama", "mistral", "qwen2" or "qwen3"
	Name   string // what the file calls the model; "" if it does not say

	Layers  int
	Width   int // of the residual stream
	FFN     int // inner width of the gated MLP
	Heads   int // query heads
	KVHeads int
	HeadDim int
	Vocab   int // rows of the embedding
	Context int // longest sequence that the model was made for

	Eps       float32 // of RMSNorm
	RopeTheta float64
	Scaling   Scaling
	// Interleaved: rotated pairs are neighbours, as GGUF lays out queries and
	// keys of its family llama; otherwise element i pairs with i + HeadDim/2.
	Interleaved bool

	// Window is how many positions, its own included, a row of a windowed layer
	// sees; 0: no layer has a window.
	Window int
	// Windowed says by layer which have the window; nil: all of them.
	Windowed []bool

	TiedEmbeddings bool // the output matrix is the embedding
	QKVBias        bool
	OutputBias     bool // of the attention's output projection
	MLPBias        bool

	// Float8Block is how many rows and columns of an FP8 checkpoint's matrices share a
	// scale; zero: a row does, or all do, as the scales' shapes say.
	Float8Block [2]int

	Quant  string // the type that most of the matrices' bytes have, "Q4_K"
	Params int64  // numbers in the file's tensors
	Bytes  int64  // what they take when they are computed with

	ChatTemplate string  // "" if the file has none
	BOS, EOS     []int32 // ids that the configuration names, often none
}

// Scaling stretches rotations so that a model reaches beyond the context it was
// trained on.
type Scaling struct {
	Type            ScalingType
	Factor          float64 // how many times the original context; not used by None
	OriginalContext int     // of Llama3 and YaRN

	LowFreq, HighFreq float64 // of Llama3: turns within the original context

	BetaFast, BetaSlow float64 // of YaRN: turns within the original context
	Attention          float64 // of YaRN: multiplies cosine and sine
	Fractional         bool    // of YaRN: the range of pairs is not rounded to whole ones

	// Divisors: the file has a tensor of divisors, one a frequency, that come
	// before the rest (rope_freqs.weight: how GGUF keeps Llama 3's scaling).
	Divisors bool
}

// ScalingType names a way to scale rotations, as config.json does.
type ScalingType string

// The ways that weir computes.
const (
	ScalingNone   ScalingType = ""
	ScalingLinear ScalingType = "linear"
	ScalingLlama3 ScalingType = "llama3"
	ScalingYaRN   ScalingType = "yarn"
)

const scalingNames = "default, linear, llama3 and yarn"

// windowed reports whether layer i has the window.
func (c *Config) windowed(i int) bool {
	return c.Window > 0 && (c.Windowed == nil || c.Windowed[i])
}

// validate checks what no format's reader may let through: a file can say
// anything, and the sizes below are multiplied and allocated with.
func (c *Config) validate() error {
	if err := c.checkSizes(); err != nil {
		return err
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%d attention heads cannot share %d key-value heads: the first must be a multiple of the second", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("the head dimension is %d: rotations turn pairs, so it must be even", c.HeadDim)
	case !(c.Eps > 0 && c.Eps < 1):
		return fmt.Errorf("the norms' epsilon is %v: expected a number between 0 and 1", c.Eps)
	case !(c.RopeTheta > 1 && c.RopeTheta <= math.MaxFloat32):
		return fmt.Errorf("the base of the rotations is %v: expected a number above 1", c.RopeTheta)
	case c.Window < 0 || c.Window > math.MaxInt32:
		return fmt.Errorf("the sliding window is %d positions: expected 1 or more, or none", c.Window)
	case c.Windowed != nil && len(c.Windowed) != c.Layers:
		return fmt.Errorf("attention types are listed for %d layers, but there are %d", len(c.Windowed), c.Layers)
	}
	return c.Scaling.validate()
}

// checkSizes holds every dimension within a limit that no real model reaches,
// so that later products fit an int.
func (c *Config) checkSizes() error {
	for _, s := range []struct {
		what  string
		n     int
		limit int
	}{
		{"layers", c.Layers, 1 << 12},
		{"hidden dimensions", c.Width, 1 << 20},
		{"MLP dimensions", c.FFN, 1 << 22},
		{"attention heads", c.Heads, 1 << 14},
		{"key-value heads", c.KVHeads, 1 << 14},
		{"dimensions a head", c.HeadDim, 1 << 14},
		{"vocabulary entries", c.Vocab, 1 << 26},
		{"positions of context", c.Context, math.MaxInt32},
	} {
		if s.n < 1 || s.n > s.limit {
			return fmt.Errorf("the model has %d %s: expected between 1 and %d", s.n, s.what, s.limit)
		}
	}
	return nil
}

func (s *Scaling) validate() error {
	switch s.Type {
	case ScalingNone:
		return nil
	case ScalingLinear, ScalingLlama3, ScalingYaRN:
	default:
		return fmt.Errorf("rope scaling of type %.100q is not supported: weir supports %s", s.Type, scalingNames)
	}
	switch {
	case !(s.Factor > 0 && s.Factor <= 1<<20):
		return fmt.Errorf("%s rope scaling has the factor %v: expected a number above 0", s.Type, s.Factor)
	case s.Type == ScalingLinear:
		return nil
	case s.OriginalContext < 1 || s.OriginalContext > math.MaxInt32:
		return fmt.Errorf("%s rope scaling has an original context of %d positions: expected 1 or more", s.Type, s.OriginalContext)
	case s.Type == ScalingLlama3 && !(s.LowFreq > 0 && s.HighFreq > s.LowFreq && s.HighFreq < math.MaxFloat32):
		return fmt.Errorf("llama3 rope scaling has the frequency factors %v (low) and %v (high): expected 0 < low < high", s.LowFreq, s.HighFreq)
	case s.Type == ScalingYaRN && !(s.BetaSlow > 0 && s.BetaFast >= s.BetaSlow && s.BetaFast < math.MaxFloat32):
		return fmt.Errorf("yarn rope scaling has the betas %v (slow) and %v (fast): expected 0 < slow <= fast", s.BetaSlow, s.BetaFast)
	case s.Type == ScalingYaRN && !(s.Attention > 0 && s.Attention < 1<<10):
		return fmt.Errorf("yarn rope scaling has the attention factor %v: expected a number above 0", s.Attention)
	}
	return nil
}
