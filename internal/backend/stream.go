package backend

// Stream runs operations in the order in which they are called, possibly after
// the call has returned. It belongs to one goroutine (the engine's loop).
//
// Between Begin and Wait every operation means "for each row of the batch".
// Dimension mistakes are programming errors and panic; nothing that a request
// says can cause one.
type Stream interface {
	// Begin makes b the current batch. b is copied; it may be reused at once.
	Begin(b *Batch, kv KV)

	// CopyKV moves cells before the rows of this batch are written.
	CopyKV(copies []Copy)

	// Embed: dst[r] = scale * table[token of r].
	Embed(dst Act, table Weight, scale float32)

	// RMSNorm: dst[r] = w * x[r] / sqrt(mean(x[r]^2) + eps).
	RMSNorm(dst, x Act, w Weight, eps float32)
	// AddRMSNorm: x[r] += delta[r]; dst[r] = RMSNorm(x[r]): a residual and the
	// norm that follows it, in one pass.
	AddRMSNorm(dst, x, delta Act, w Weight, eps float32)
	// Add: x[r] += delta[r], the last residual of a model whose norm follows on
	// gathered rows.
	Add(x, delta Act)

	// Linear: p.Dst[r] = p.W * x[r] + p.Bias, for each projection of the group.
	// The group shares the pass over x (and its quantisation, where the weight
	// format wants integers). No Dst may be x. Pass a group made beforehand,
	// group..., in a forward pass: one made for the call is an allocation.
	Linear(x Act, group ...Projection)

	// RopeWrite rotates q and k in place by each row's position, normalising
	// heads before that if asked to, and writes k and v into the row's cells of
	// the layer. q [rows, heads*headDim], k and v [rows, kvHeads*headDim]. r nil:
	// nothing rotates.
	RopeWrite(q, k, v Act, layer Layer, r *Rope, n HeadNorm)

	// Attend: dst[r] = attention of q[r] over the cells that row r sees. dst is
	// not q.
	Attend(dst, q Act, layer Layer, a Attention)

	// Gate: dst[r] = act(gate[r]) * up[r]. dst may be gate. What gate and up hold
	// afterwards is undefined, but for dst.
	Gate(dst, gate, up Act, f Activation)

	// Mixture: dst[r] = sum over the TopK experts e of row r of
	// weight_e * down_e(act(gate_e x) * up_e x). dst is not x.
	Mixture(dst, x Act, m *Mixture)

	// Reduce sums an Act over ranks; nothing to do for one.
	Reduce(x Act)

	// Gather: dst[i] = x[row of the i-th wanted logits].
	Gather(dst, x Act)

	// Logits: the product of the gathered rows with the output matrix, kept for
	// Wait; scale multiplies them, and softcap c > 0 makes them c*tanh(l/c).
	Logits(x Act, w Weight, scale, softcap float32)

	// Wait blocks until everything called since Begin is done and returns what
	// the batch wanted on the host. The result is valid until the next Begin.
	Wait() (*Result, error)

	Close() error
}

// DeviceSampler is a Stream that draws tokens by itself, each the one that package
// sample draws from the same logits. Engines ask for it with a type assertion; where it
// is absent the logits of all wanted rows come to the host.
type DeviceSampler interface {
	// Compute begins what has been called of the step, so that what is to be drawn from it
	// may be said later, when the step before it has been waited for.
	Compute()
	// Sample has rows drawn from, in ascending order, once Logits has been called. What
	// they point to is copied. Other wanted rows' logits come to the host.
	Sample(rows []SampleRow)
	// Launch ends the step without waiting for it, so that the next can begin: its
	// rows may name slots that this one draws into. Every wanted row must be drawn from.
	// Wait then returns the results of the oldest step that was begun; there may be two.
	Launch()
}

// SampleRow draws one token on the device. What its numbers mean, and the order of
// what is done, is package sample's to say.
type SampleRow struct {
	Logits int // index among the wanted rows
	Slot   int // where the token goes, for Batch.Slot
	Vocab  int // logits from there on are padding

	Greedy     bool
	Scale      float64 // 1/temperature
	TopK       int     // 0: all
	TopP, MinP float64 // 1, 0: all
	U          float64 // the random number, in [0, 1)

	Bias                            []Bias
	Ban                             []int32
	Seen                            []Seen
	Repetition, Frequency, Presence float64  // of Seen
	Mask                            []uint64 // tokens that may be drawn, a bit each; nil: all

	// Told: how many of the row's most probable tokens are told besides what the
	// log probability is made of; 0: neither, n: n-1 of them, at most MaxTop.
	Told int
}

// MaxTop is the most alternatives that a draw on a device tells.
const MaxTop = 20

// Bias is added to a token's logit.
type Bias struct {
	ID  int32
	Add float32
}

// Seen is a token of the prompt or the output.
type Seen struct {
	ID       int32
	Count    int32 // in the output
	InPrompt bool
}

// Drawn is what came of a SampleRow.
type Drawn struct {
	ID int32 // -1: no logit is above -Inf
	// Logit is the token's in the row as the model gave it, Peak the highest there,
	// and Total the sum of e^(logit-Peak), if Told.
	Logit, Peak float32
	Total       float64
	Top         []TopLogit // valid until the next Wait
}

// TopLogit is one of a row's most probable tokens.
type TopLogit struct {
	Logit float32
	ID    int32
}

// HostActs is a Stream whose activations the host can read and set. Proposers that
// compute from a model's hidden states ask for it with a type assertion; where it
// is absent, they are refused when they are loaded.
type HostActs interface {
	// ReadAct returns row i of an activation as the last operation on it left it:
	// after Wait, until the next Begin, if the plan says Shown. The slice is the stream's own.
	ReadAct(a Act, i int) []float32
	// SetAct sets row i of an activation, between Begin and the operations that
	// read it. v is copied.
	SetAct(a Act, i int, v []float32)
	// CopyAct: dst[r] = x[r].
	CopyAct(dst, x Act)
}

// Result is what reaches the host after a step.
type Result struct {
	// Logits of the wanted rows, in the order of Batch.Want: each [vocab] float32; nil
	// where the device draws.
	Logits [][]float32
	// Drawn are the tokens drawn on the device, in the order of Sample's rows.
	Drawn []Drawn
}

// Layer names a layer's place in the KV cache.
type Layer struct {
	Group int // of the KVSpec
	Index int // within the group
}

// Projection is one matrix of a grouped Linear. W [out, in], Bias [out] or nil.
type Projection struct {
	Dst  Act
	W    Weight
	Bias Weight
	// Keys: the outputs are attention's keys. Rounding the operands of those costs
	// the logits most, so a backend may do better by them than by the others.
	Keys bool
}

// HeadNorm normalises each head of q and k by RMS before rope (Qwen3). The zero
// value: none.
type HeadNorm struct {
	Q, K Weight // [headDim], or both nil
	Eps  float32
}

// Rope says how positions rotate. Tables are made once, by NewRope of package
// model, and shared by the layers that rotate alike.
type Rope struct {
	Dim int // leading elements of a head that rotate; even
	// Interleaved: pairs are (2i, 2i+1), as GGUF files of family llama are laid
	// out; otherwise (i, i+Dim/2), as Hugging Face's are.
	Interleaved bool
	// Freq[i] is the angle a pair turns per position, in float64: scaling
	// (linear, llama3, yarn) is already in it. [Dim/2]
	Freq []float64
	// Scale multiplies cosine and sine (yarn's attention factor); 1 usually.
	Scale float32
}

// Attention is how a layer attends.
type Attention struct {
	Heads   int     // query heads; the KV heads are the group's
	Scale   float32 // of the scores, usually 1/sqrt(headDim)
	Softcap float32 // c > 0: score = c*tanh(score/c)
	Sinks   Weight  // [heads]: a learned score that takes part in the softmax but has no value; nil: none
	// The window is the KV group's.
}

// Activation is a gate's function.
type Activation uint8

const (
	SiLU     Activation = iota // x*sigmoid(x)
	GELUTanh                   // tanh approximation
)

// Mixture is a layer of experts.
type Mixture struct {
	Router   Weight // [experts, in]
	Gate, Up []Weight
	Down     []Weight
	TopK     int
	// Renormalise the chosen experts' probabilities to sum to one; otherwise
	// they stay as the softmax over all experts gave them.
	Renormalise bool
	Act         Activation
}
