package draft

import (
	"encoding/binary"
	"fmt"

	"weir/internal/backend"
	"weir/internal/weights"
)

// eagleWeights are the heads'. Matrices that are multiplied with several vectors put
// one after another are kept in parts, a part for each vector.
type eagleWeights struct {
	embed    backend.Weight   // [vocab, width]
	fc       []backend.Weight // [width, width] each: of embedding and state, or of three states
	fcBias   backend.Weight   // [width], or nil
	qkv      [3][]backend.Weight
	o        backend.Weight
	eNorm    backend.Weight // of the embedding; EAGLE-3
	hNorm    backend.Weight // of the state; EAGLE-3
	ffnNorm  backend.Weight
	gate, up backend.Weight
	down     backend.Weight
	norm     backend.Weight // of the output, or nil
	output   backend.Weight // [draft vocab, width]
}

// eagleActs are the activations, a row for each row of the batch.
type eagleActs struct {
	e, x, d, n     backend.Act // [width] embedding; the layer's state; what is added to it; normed
	in             []backend.Act
	q, q2, a       backend.Act
	k, k2, v, v2   backend.Act
	g, u           backend.Act
	last           backend.Act // [wanted rows, width]
	tapped         [][]backend.Projection
	fromE, fromX   []backend.Projection // queries, keys and values
	out, ffn, down []backend.Projection
}

// bind finds the tensors.
func (e *Eagle) bind(f *weights.File, drafts int) (err error) {
	c, layer := e.config, "layers.0."
	if e.three {
		layer = "midlayer."
	}
	q, kv, parts, seen := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, 2, 1
	if e.three {
		parts, seen = 3, 2
	}
	get := func(name string, shape ...int) backend.Weight {
		if err != nil {
			return nil
		}
		var w []backend.Weight
		if w, err = e.split(f, name, 1, shape...); err != nil {
			return nil
		}
		return w[0]
	}
	cut := func(name string, n, rows, cols int) (w []backend.Weight) {
		if err == nil {
			w, err = e.split(f, name, n, rows, n*cols)
		}
		return w
	}
	w := &e.w
	w.fc = cut("fc.weight", parts, c.Width, c.Width)
	if _, ok := f.Tensor("fc.bias"); ok {
		w.fcBias = get("fc.bias", c.Width)
	}
	for i, name := range []string{"q_proj", "k_proj", "v_proj"} {
		w.qkv[i] = cut(layer+"self_attn."+name+".weight", seen, []int{q, kv, kv}[i], c.Width)
	}
	w.o = get(layer+"self_attn.o_proj.weight", c.Width, q)
	w.ffnNorm = get(layer+"post_attention_layernorm.weight", c.Width)
	w.gate, w.up = get(layer+"mlp.gate_proj.weight", c.FFN, c.Width), get(layer+"mlp.up_proj.weight", c.FFN, c.Width)
	w.down = get(layer+"mlp.down_proj.weight", c.Width, c.FFN)
	w.embed, w.output = e.ends.Embedding, e.ends.Output
	if _, ok := f.Tensor("embed_tokens.weight"); ok {
		w.embed = get("embed_tokens.weight", c.Vocab, c.Width)
	}
	if !e.three {
		return err
	}
	w.eNorm, w.hNorm = get(layer+"input_layernorm.weight", c.Width), get(layer+"hidden_norm.weight", c.Width)
	w.norm = get("norm.weight", c.Width)
	if drafts == 0 {
		drafts = c.Vocab
	}
	w.output = get("lm_head.weight", drafts, c.Width)
	if err == nil {
		err = e.vocabulary(f, drafts)
	}
	return err
}

// split loads a matrix as so many side by side, which together have this shape.
func (e *Eagle) split(f *weights.File, name string, parts int, shape ...int) ([]backend.Weight, error) {
	t, err := lookup(f, name, shape...)
	if err != nil {
		return nil, err
	}
	e.bytes += int64(len(t.Data))
	var list []backend.Weight
	for part := range parts {
		piece := t
		if parts > 1 {
			if piece, err = columns(t, part, parts); err != nil {
				return nil, err
			}
		}
		w, err := e.backend.Load(piece, backend.Placement{})
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// columns copies a part of a matrix's columns.
func columns(t weights.Tensor, part, parts int) (weights.Tensor, error) {
	cols := t.Cols() / parts
	size, err := t.Type.RowBytes(cols)
	if err != nil || parts*size*t.Rows() != len(t.Data) {
		return t, fmt.Errorf("tensor %q of type %s can't be taken apart by columns: use heads stored as F16, BF16 or F32", t.Name, t.TypeName())
	}
	data := make([]byte, 0, size*t.Rows())
	for i := range t.Rows() {
		data = append(data, t.Row(i)[part*size:(part+1)*size]...)
	}
	t.Shape, t.Data = []int{t.Rows(), cols}, data
	return t, nil
}

// vocabulary reads which tokens of the model the heads' own stand for: d2t holds
// differences.
func (e *Eagle) vocabulary(f *weights.File, drafts int) error {
	t, ok := f.Tensor("d2t")
	switch {
	case !ok && drafts == e.vocab:
		return nil
	case !ok:
		return fmt.Errorf("tensor \"d2t\" is missing: it says which of the model's %d tokens the heads' %d are", e.vocab, drafts)
	case t.Type != weights.I64 || len(t.Shape) != 1 || t.Shape[0] != drafts:
		return fmt.Errorf("tensor \"d2t\" is %s %v; it would be I64 [%d]", t.TypeName(), t.Shape, drafts)
	}
	for i := range drafts {
		id := int64(i) + int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
		if id < 0 || id >= int64(e.vocab) {
			return fmt.Errorf("tensor \"d2t\" makes token %d the model's %d, which has %d", i, id, e.vocab)
		}
		e.toModel = append(e.toModel, int32(id))
	}
	return nil
}

// Plan is the scratch that the layer needs.
func (e *Eagle) Plan(l Limits) backend.Plan {
	c, w, a := e.config, &e.w, &e.act
	p := backend.Plan{Rows: l.Rows, Seqs: l.Seqs, LogitRows: min(l.Rows, eagleBreadth*l.Seqs), Context: l.Context, Vocab: w.output.Rows(), Varied: true, Shown: true}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	*a = eagleActs{
		e: p.Act("embedding", c.Width), x: p.Act("state", c.Width), d: p.Act("added", c.Width), n: p.Act("normed", c.Width),
		q: p.Act("q", q), q2: p.Act("q2", q), a: p.Act("a", q),
		k: p.Act("k", kv), k2: p.Act("k2", kv), v: p.Act("v", kv), v2: p.Act("v2", kv),
		g: p.Act("g", c.FFN), u: p.Act("u", c.FFN), last: p.GatheredAct("last", c.Width),
	}
	for range e.Taps() {
		a.in = append(a.in, p.Act("tap", c.Width))
	}
	one := func(dst backend.Act, w, bias backend.Weight) []backend.Projection {
		return []backend.Projection{{Dst: dst, W: w, Bias: bias}}
	}
	for i, part := range w.fc { // the first part begins the sum
		dst, bias := a.d, backend.Weight(nil)
		if i == 0 {
			dst, bias = a.x, w.fcBias
		}
		a.tapped = append(a.tapped, one(dst, part, bias))
	}
	a.fromX = []backend.Projection{{Dst: a.q, W: last(w.qkv[0])}, {Dst: a.k, W: last(w.qkv[1])}, {Dst: a.v, W: last(w.qkv[2])}}
	a.fromE = []backend.Projection{{Dst: a.q2, W: w.qkv[0][0]}, {Dst: a.k2, W: w.qkv[1][0]}, {Dst: a.v2, W: w.qkv[2][0]}}
	a.out, a.down = one(a.d, w.o, nil), one(a.d, w.down, nil)
	a.ffn = []backend.Projection{{Dst: a.g, W: w.gate}, {Dst: a.u, W: w.up}}
	return p
}

func last(parts []backend.Weight) backend.Weight { return parts[len(parts)-1] }

func (e *Eagle) begin() {
	e.batch.Reset(1)
	e.rows = e.rows[:0]
}

// add appends the cells of n rows that follow a sequence's.
func (e *Eagle) add(st *eagleState, n int) {
	b, table := &e.batch, st.kv.Table(0)
	b.Seqs = append(b.Seqs, backend.SeqTable{Pages: [][]int32{table.Pages}, First: []int32{int32(table.First)}, Stored: int32(st.rows)})
	for i := range n {
		b.Token = append(b.Token, e.rows[len(e.rows)-n+i].token)
		b.Pos = append(b.Pos, int32(st.rows+i))
		b.Seq = append(b.Seq, int32(len(b.Seqs)-1))
		b.Class, b.Tree = append(b.Class, backend.Decode), append(b.Tree, nil)
		b.Cell[0] = append(b.Cell[0], e.cache.Cell(&st.kv, 0, st.rows+i))
	}
	st.rows += n
}

// forward computes the batch, from the model's states or from the layer's own, and
// returns the logits of the wanted rows.
func (e *Eagle) forward(fromModel bool) [][]float32 {
	if len(e.rows) == 0 {
		return nil
	}
	s, a := e.stream, &e.act
	s.Begin(&e.batch, e.store)
	s.Embed(a.e, e.w.embed, 1)
	e.enter(fromModel)
	e.layer()
	if len(e.batch.Want) > 0 {
		s.Gather(a.last, a.x)
		if e.w.norm != nil {
			s.RMSNorm(a.last, a.last, e.w.norm, e.config.Eps)
		}
		s.Logits(a.last, e.w.output, 1, 0)
	}
	r, err := s.Wait()
	if err != nil {
		e.err = err
		e.jobs = e.jobs[:0]
		return nil
	}
	return r.Logits
}

// enter makes x, which enters the layer, of the states: by fc, but for EAGLE-3's own.
func (e *Eagle) enter(fromModel bool) {
	s, a, width := e.stream, &e.act, e.config.Width
	for i, r := range e.rows {
		if e.three && !fromModel {
			e.host.SetAct(a.x, i, r.state)
			continue
		}
		for tap := range len(r.state) / width {
			e.host.SetAct(a.in[tap], i, r.state[tap*width:(tap+1)*width])
		}
	}
	switch {
	case e.three && !fromModel:
		return
	case e.three:
		s.Linear(a.in[0], a.tapped[0]...)
		for tap := 1; tap < len(a.tapped); tap++ {
			s.Linear(a.in[tap], a.tapped[tap]...)
			s.Add(a.x, a.d)
		}
	default:
		if fromModel { // its last norm has not been done
			s.RMSNorm(a.in[0], a.in[0], e.ends.Norm, e.ends.Eps)
		}
		s.Linear(a.e, a.tapped[0]...)
		s.Linear(a.in[0], a.tapped[1]...)
		s.Add(a.x, a.d)
	}
}

// layer computes x in place.
func (e *Eagle) layer() {
	s, a, w, eps := e.stream, &e.act, &e.w, e.config.Eps
	if e.three {
		s.RMSNorm(a.n, a.x, w.hNorm, eps)
		s.RMSNorm(a.e, a.e, w.eNorm, eps)
		s.Linear(a.n, a.fromX...)
		s.Linear(a.e, a.fromE...)
		s.Add(a.q, a.q2)
		s.Add(a.k, a.k2)
		s.Add(a.v, a.v2)
	} else {
		s.Linear(a.x, a.fromX...)
	}
	s.RopeWrite(a.q, a.k, a.v, backend.Layer{}, e.rope, backend.HeadNorm{})
	s.Attend(a.a, a.q, backend.Layer{}, e.attend)
	s.Linear(a.a, a.out...)
	s.AddRMSNorm(a.n, a.x, a.d, w.ffnNorm, eps)
	s.Linear(a.n, a.ffn...)
	s.Gate(a.g, a.g, a.u, backend.SiLU)
	s.Linear(a.g, a.down...)
	s.Add(a.x, a.d)
}
