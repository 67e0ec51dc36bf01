package bench

import (
	"weir/internal/backend"
	"weir/internal/model"
	"weir/internal/weights"
)

// Work is what a piece of work must at least read from memory and compute.
type Work struct {
	Bytes float64 // weights, keys and values
	Flops float64 // a multiplication and an addition are two
}

func (w Work) plus(o Work) Work { return Work{w.Bytes + o.Bytes, w.Flops + o.Flops} }

// Costs knows what a model's forward pass must do. Counted are the matrices and
// attention. What a step reads is each matrix once, however many rows it has, the
// embedding's rows of its tokens, and the keys and values that its rows see,
// once a sequence. Norms, rotations and activations, which stay in the caches,
// are not.
type Costs struct {
	config model.Config
	kvType backend.KVType

	layerBytes  int64 // of the layers' tensors, read every step
	layerParams int64 // of the layers' matrices, which every row is multiplied with
	outputBytes int64 // read in steps that want logits
	outputSize  int64 // elements
	embedRow    int64 // bytes of an embedding
}

// NewCosts counts a file's tensors.
func NewCosts(f *weights.File, c model.Config, kvType backend.KVType) Costs {
	return count(f.Tensors(), func(t weights.Tensor) int64 { return int64(len(t.Data)) }, c, kvType)
}

func count(tensors []weights.Tensor, bytes func(weights.Tensor) int64, c model.Config, kvType backend.KVType) Costs {
	costs := Costs{config: c, kvType: kvType}
	for _, t := range tensors {
		n, elems := bytes(t), int64(t.Rows())*int64(t.Cols())
		switch t.Name {
		case "token_embd.weight", "model.embed_tokens.weight":
			costs.embedRow = n / int64(t.Rows())
			if c.TiedEmbeddings {
				costs.outputBytes, costs.outputSize = n, elems
			}
		case "output.weight", "lm_head.weight":
			if !c.TiedEmbeddings {
				costs.outputBytes, costs.outputSize = n, elems
			}
		default:
			costs.layerBytes += n
			if len(t.Shape) == 2 {
				costs.layerParams += elems
			}
		}
	}
	return costs
}

// WeightBytes is what a step that wants logits reads of the weights.
func (c *Costs) WeightBytes() int64 { return c.layerBytes + c.outputBytes }

// visible is how many positions a row at pos sees in a layer.
func (c *Costs) visible(layer, pos int) int {
	windowed := c.config.Window > 0 && (c.config.Windowed == nil || c.config.Windowed[layer])
	if windowed {
		return min(pos+1, c.config.Window)
	}
	return pos + 1
}

// attention is what a row at pos computes: a product of query and key, and one of
// weight and value, for each head and position.
func (c *Costs) attention(pos int) float64 {
	n := 0
	for i := range c.config.Layers {
		n += c.visible(i, pos)
	}
	return 4 * float64(c.config.Heads*c.config.HeadDim) * float64(n)
}

// kvBytes is what a row at pos sees.
func (c *Costs) kvBytes(pos int) float64 {
	n := 0.0
	for i := range c.config.Layers {
		g := backend.KVGroup{Layers: []int{i}, Heads: c.config.KVHeads, HeadDim: c.config.HeadDim}
		n += float64(c.visible(i, pos)) * float64(g.TokenBytes(c.kvType))
	}
	return n
}

// Weights is what a step reads of them.
func (c *Costs) Weights() Work { return Work{Bytes: float64(c.WeightBytes())} }

// DecodeRow is a generated token's row at pos, without the weights, which it
// shares with the other rows of its step.
func (c *Costs) DecodeRow(pos int) Work {
	return Work{
		Bytes: float64(c.embedRow) + c.kvBytes(pos),
		Flops: 2*float64(c.layerParams+c.outputSize) + c.attention(pos),
	}
}

// Prefill is a prompt of n tokens, computed in steps of at most chunk rows, to the
// logits of its last.
func (c *Costs) Prefill(n, chunk int) Work {
	w := Work{Bytes: float64(c.outputBytes) + float64(n)*float64(c.embedRow), Flops: 2 * float64(c.outputSize)}
	for begin := 0; begin < n; begin += chunk {
		end := min(begin+chunk, n)
		w.Bytes += float64(c.layerBytes) + c.kvBytes(end-1)
	}
	for pos := range n {
		w.Flops += 2*float64(c.layerParams) + c.attention(pos)
	}
	return w
}
