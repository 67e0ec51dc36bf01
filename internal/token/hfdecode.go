package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// decoder lowers the decoder pipeline to the bytes of each token and a rule
// for the beginning of a text, and makes the Tokenizer around them.
func (h *hf) decoder() (*Tokenizer, error) {
	all, err := flatten(h.file.Decoder)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 { // tokens are then joined by spaces
		t := h.tokenizer(func(_ int32, text string, _ kind) string { return " " + text })
		t.lead = lead{strip: ' ', count: 1}
		return t, nil
	}
	var d hfDecoder
	for i := range all {
		if err := d.add(h, &all[i]); err != nil {
			return nil, err
		}
	}
	t := h.tokenizer(d.piece)
	t.lead = d.lead
	return t, nil
}

// hfDecoder is a pipeline of decoders, as far as it works token by token.
type hfDecoder struct {
	perToken []func(text string, k kind) (out string, bytes bool)
	fused    bool // from here on the whole text counts
	lead     lead
}

// piece runs the pipeline for one token. A byte token is done once it is a
// byte: the elements after ByteFallback are for text.
func (d *hfDecoder) piece(_ int32, text string, k kind) string {
	for _, f := range d.perToken {
		out, done := f(text, k)
		if text = out; done {
			break
		}
	}
	return text
}

func (d *hfDecoder) add(h *hf, c *component) error {
	text := func(f func(string) string) {
		d.perToken = append(d.perToken, func(s string, _ kind) (string, bool) { return f(s), false })
	}
	if d.fused && c.Type != "Strip" && c.Type != "Fuse" {
		return fmt.Errorf("%s after Fuse is not supported; only Strip is", c.Type)
	}
	switch c.Type {
	case "Fuse":
		d.fused = true
	case "ByteLevel":
		d.perToken = append(d.perToken, func(s string, k kind) (string, bool) {
			if raw, ok := h.alphabet.read(s); ok && (k == normal || k == unused) {
				return raw, false
			}
			return s, false
		})
	case "ByteFallback":
		d.perToken = append(d.perToken, func(s string, _ kind) (string, bool) {
			if b, ok := byteOf(s); ok {
				return string([]byte{b}), true
			}
			return s, false
		})
	case "Metaspace":
		mark := c.Replacement
		if mark == "" {
			mark = meta
		}
		text(func(s string) string { return strings.ReplaceAll(s, mark, " ") })
		if c.scheme() != "never" {
			d.lead = lead{firstToken: true}
		}
	case "Replace":
		f, err := c.finder()
		if err != nil {
			return err
		}
		text(replaced(f, c.Content))
	case "Strip":
		return d.strip(c, text)
	default:
		return fmt.Errorf("type is %s; supported are Sequence, ByteLevel, ByteFallback, Metaspace, Replace, Strip and Fuse", quote(c.Type))
	}
	return nil
}

// strip takes characters from the ends of each token or, after Fuse, from the
// beginning of the text.
func (d *hfDecoder) strip(c *component, text func(func(string) string)) error {
	if len(c.Content) != 1 {
		return fmt.Errorf("decoder Strip: content is %s, not one ASCII character", quote(c.Content))
	}
	if c.Start < 0 || c.Stop < 0 {
		return errors.New("decoder Strip: start and stop must not be negative")
	}
	if d.fused {
		if c.Stop > 0 {
			return errors.New("decoder Strip: stop after Fuse is not supported: the end of a text is not known while it streams")
		}
		d.lead = lead{strip: c.Content[0], count: c.Start}
		return nil
	}
	text(func(s string) string {
		for n := 0; n < c.Start && strings.HasPrefix(s, c.Content); n++ {
			s = s[1:]
		}
		for n := 0; n < c.Stop && strings.HasSuffix(s, c.Content); n++ {
			s = s[:len(s)-1]
		}
		return s
	})
	return nil
}

// postProcessor sets what AddSpecial puts around a text.
func (h *hf) postProcessor(t *Tokenizer) error {
	var all []json.RawMessage
	if err := flattenProcessors(&all, h.file.PostProcessor, 0); err != nil {
		return err
	}
	for _, raw := range all {
		var p struct {
			Type    string                 `json:"type"`
			Single  []hfTemplatePart       `json:"single"`
			Special map[string]hfTemplated `json:"special_tokens"`
			Sep     []any                  `json:"sep"`
			Cls     []any                  `json:"cls"`
		}
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		var before, after []int32
		var err error
		switch p.Type {
		case "ByteLevel": // concerns offsets alone
		case "TemplateProcessing":
			before, after, err = h.template(p.Single, p.Special)
		case "RobertaProcessing", "BertProcessing":
			if before, err = h.named(p.Cls); err == nil {
				after, err = h.named(p.Sep)
			}
		default:
			err = fmt.Errorf("type is %s; supported are Sequence, ByteLevel, TemplateProcessing, RobertaProcessing and BertProcessing", quote(p.Type))
		}
		if err != nil {
			return err
		}
		t.before, t.after = append(before, t.before...), append(t.after, after...)
	}
	return nil
}

// flattenProcessors is flattenInto for processors, whose fields differ.
func flattenProcessors(all *[]json.RawMessage, raw json.RawMessage, depth int) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if depth > maxNesting || len(*all) >= maxComponents {
		return fmt.Errorf("more than %d elements, or nested more than %d deep", maxComponents, maxNesting)
	}
	var s struct {
		Type       string            `json:"type"`
		Processors []json.RawMessage `json:"processors"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if s.Type != "Sequence" {
		*all = append(*all, raw)
		return nil
	}
	for _, p := range s.Processors {
		if err := flattenProcessors(all, p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// hfTemplatePart is an element of a template: a special token or the text.
type hfTemplatePart struct {
	SpecialToken *struct {
		ID string `json:"id"`
	}
	Sequence *struct {
		ID string `json:"id"`
	}
}

// hfTemplated is what a special token of a template stands for.
type hfTemplated struct {
	IDs []int64 `json:"ids"`
}

func (h *hf) template(parts []hfTemplatePart, special map[string]hfTemplated) (before, after []int32, err error) {
	texts := 0
	for _, part := range parts {
		if part.Sequence != nil {
			texts++
			continue
		}
		if part.SpecialToken == nil {
			return nil, nil, errors.New("TemplateProcessing: a part is neither SpecialToken nor Sequence")
		}
		name := part.SpecialToken.ID
		s, ok := special[name]
		if !ok {
			return nil, nil, fmt.Errorf("TemplateProcessing: special token %s is not among special_tokens", quote(name))
		}
		for _, id := range s.IDs {
			if id < 0 || id >= int64(len(h.texts)) {
				return nil, nil, fmt.Errorf("TemplateProcessing: special token %s has id %d, but the vocabulary ends at %d", quote(name), id, len(h.texts)-1)
			}
			if texts == 0 {
				before = append(before, int32(id))
			} else {
				after = append(after, int32(id))
			}
		}
	}
	if texts != 1 {
		return nil, nil, fmt.Errorf("TemplateProcessing: the template of a single text has it %d times", texts)
	}
	return before, after, nil
}

// named returns the token of [text, id].
func (h *hf) named(pair []any) ([]int32, error) {
	if len(pair) == 2 {
		if id, ok := pair[1].(float64); ok && id >= 0 && id < float64(len(h.texts)) && id == float64(int32(id)) {
			return []int32{int32(id)}, nil
		}
	}
	return nil, errors.New("cls and sep are not [text, id] with an id of the vocabulary")
}

// ends sets the beginning and end of a sequence, and what the configuration
// says about adding them.
func (h *hf) ends(t *Tokenizer) error {
	t.bos = h.firstOf(string(h.config.BOS), t.before, "<s>", "<bos>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<|startoftext|>", "[BOS]")
	t.eos = h.firstOf(string(h.config.EOS), t.after, "</s>", "<eos>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "<|im_end|>", "<|endoftext|>", "[EOS]")
	// Without its end a generation never stops; a beginning that is never added
	// may be missing, and some configurations name one that is.
	missing := hfName("")
	if t.eos == noToken {
		missing = h.config.EOS
	}
	if t.bos == noToken && or(h.config.AddBOS, false) {
		missing = h.config.BOS
	}
	if missing != "" {
		return fmt.Errorf("tokenizer_config.json names token %s, which is not in the vocabulary", quote(string(missing)))
	}
	t.before = h.adding(h.config.AddBOS, t.bos, t.before)
	t.after = h.adding(h.config.AddEOS, t.eos, t.after)
	t.setEOG()
	return nil
}

// firstOf returns the token that the configuration names. Without a
// configuration it is the one the template has, else the first usual name.
func (h *hf) firstOf(name string, template []int32, usual ...string) int32 {
	if name != "" {
		if id, ok := h.ids[name]; ok {
			return id
		}
		return noToken
	}
	if len(template) > 0 {
		return template[0]
	}
	for _, name := range usual {
		if id, ok := h.ids[name]; ok && h.kinds[id] != normal {
			return id
		}
	}
	return noToken
}

// adding applies add_bos_token or add_eos_token to what the template adds.
// Llama's and Gemma's classes rebuild the template from these; for others the
// template stands, and true adds what it lacks.
func (h *hf) adding(flag *bool, id int32, template []int32) []int32 {
	if flag == nil || id == noToken {
		return template
	}
	has := slices.Contains(template, id)
	rebuilds := strings.Contains(h.config.Class, "Llama") || strings.Contains(h.config.Class, "Gemma")
	switch {
	case *flag && !has:
		return append(slices.Clone(template), id)
	case !*flag && has && rebuilds:
		return slices.DeleteFunc(slices.Clone(template), func(x int32) bool { return x == id })
	}
	return template
}
