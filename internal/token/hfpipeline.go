package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// component is one element of a pipeline of tokenizer.json: the fields of all
// types together, since few collide.
type component struct {
	Type string `json:"type"`

	Normalizers   []json.RawMessage `json:"normalizers"` // Sequence
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
	Decoders      []json.RawMessage `json:"decoders"`

	Prepend          string          `json:"prepend"`              // Prepend
	Pattern          json.RawMessage `json:"pattern"`              // Replace, Split
	Content          string          `json:"content"`              // Replace, Strip (decoder)
	StripLeft        *bool           `json:"strip_left"`           // Strip (normalizer)
	StripRight       *bool           `json:"strip_right"`          //
	Charsmap         string          `json:"precompiled_charsmap"` // Precompiled
	Behavior         string          `json:"behavior"`             // Split, Punctuation
	Invert           bool            `json:"invert"`               // Split
	AddPrefixSpace   *bool           `json:"add_prefix_space"`     // ByteLevel, Metaspace
	UseRegex         *bool           `json:"use_regex"`            // ByteLevel
	Replacement      string          `json:"replacement"`          // Metaspace
	PrependScheme    string          `json:"prepend_scheme"`       //
	Split            *bool           `json:"split"`                //
	IndividualDigits bool            `json:"individual_digits"`    // Digits
	Delimiter        string          `json:"delimiter"`            // CharDelimiterSplit
	Start            int             `json:"start"`                // Strip (decoder)
	Stop             int             `json:"stop"`                 //
}

const (
	maxNesting    = 8  // of Sequence in Sequence
	maxComponents = 64 // of one pipeline
)

// flatten returns the elements of a pipeline, those of a Sequence in its place.
func flatten(raw json.RawMessage) ([]component, error) {
	var all []component
	return all, flattenInto(&all, raw, 0)
}

func flattenInto(all *[]component, raw json.RawMessage, depth int) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if depth > maxNesting {
		return fmt.Errorf("sequences are nested more than %d deep", maxNesting)
	}
	var c component
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	if c.Type != "Sequence" {
		if *all = append(*all, c); len(*all) > maxComponents {
			return fmt.Errorf("more than %d elements", maxComponents)
		}
		return nil
	}
	for _, list := range [][]json.RawMessage{c.Normalizers, c.PreTokenizers, c.Decoders} {
		for _, part := range list {
			if err := flattenInto(all, part, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func or(p *bool, without bool) bool {
	if p != nil {
		return *p
	}
	return without
}

// hfPattern is a pattern: {"String": …}, {"Regex": …}, or a bare string.
type hfPattern struct {
	String *string
	Regex  *string
}

// makesWords is makesWords for a pre_tokenizer.
func (c *component) makesWords() bool {
	var p hfPattern
	switch c.Type {
	case "ByteLevel":
		return or(c.UseRegex, true)
	case "Split":
		return json.Unmarshal(c.Pattern, &p) == nil && p.Regex != nil && makesWords(*p.Regex)
	}
	return false
}

// finder returns the finder of a component's pattern.
func (c *component) finder() (finder, error) {
	var p hfPattern
	if len(c.Pattern) > 0 && c.Pattern[0] == '"' {
		p.String = new(string)
		if err := json.Unmarshal(c.Pattern, p.String); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(c.Pattern, &p); err != nil {
		return nil, fmt.Errorf("%s: pattern: %w", c.Type, err)
	}
	switch {
	case p.String != nil:
		return literal(*p.String), nil
	case p.Regex != nil:
		return compile(*p.Regex)
	}
	return nil, fmt.Errorf("%s: the pattern is neither String nor Regex", c.Type)
}

// normalizer lowers the normalizer pipeline.
func (h *hf) normalizer() ([]normalizer, error) {
	all, err := flatten(h.file.Normalizer)
	if err != nil {
		return nil, err
	}
	var out []normalizer
	for i := range all {
		n, err := h.normalizerOf(&all[i])
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (h *hf) normalizerOf(c *component) (normalizer, error) {
	switch c.Type {
	case "NFC":
		return norm.NFC.String, nil
	case "NFD":
		return norm.NFD.String, nil
	case "NFKC":
		return norm.NFKC.String, nil
	case "NFKD":
		return norm.NFKD.String, nil
	case "Lowercase":
		return lowercase, nil
	case "StripAccents":
		return stripAccents, nil
	case "Nmt":
		return nmt, nil
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		}, nil
	case "Strip":
		return c.strip, nil
	case "Replace":
		f, err := c.finder()
		if err != nil {
			return nil, err
		}
		if f == literal(" ") && c.Content == meta {
			return func(s string) string { return escapeSpaces("", s) }, nil
		}
		return replaced(f, c.Content), nil
	case "ByteLevel":
		h.byteLevel, h.spelled = true, true
		return h.alphabet.spell, nil
	case "Precompiled":
		return c.precompiled()
	}
	return nil, fmt.Errorf("type is %s; supported are Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Nmt, Prepend, Strip, Replace, ByteLevel and Precompiled",
		quote(c.Type))
}

func (c *component) strip(s string) string {
	isSpace := func(r rune) bool { return classTable().of(r)&space != 0 }
	if or(c.StripLeft, false) {
		s = strings.TrimLeftFunc(s, isSpace)
	}
	if or(c.StripRight, false) {
		s = strings.TrimRightFunc(s, isSpace)
	}
	return s
}

func (c *component) precompiled() (normalizer, error) {
	blob, err := base64.StdEncoding.DecodeString(c.Charsmap)
	if err != nil {
		return nil, fmt.Errorf("normalizer Precompiled: precompiled_charsmap: %w", err)
	}
	if len(blob) == 0 {
		return func(s string) string { return s }, nil
	}
	table, err := parseCharsmap(blob)
	if err != nil {
		return nil, err
	}
	g, err := compile(`\X`)
	if err != nil {
		return nil, err
	}
	return graphemes{table, g}.normalize, nil
}

// preTokenizer lowers the pre_tokenizer pipeline.
func (h *hf) preTokenizer() ([]step, error) {
	all, err := flatten(h.file.PreTokenizer)
	if err != nil {
		return nil, err
	}
	var out []step
	for i := range all {
		more, err := h.stepsOf(&all[i], i == len(all)-1)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
		if all[i].Type == "Metaspace" { // looks at where a piece stands
			h.words = 0
		}
		if h.words == 0 && all[i].makesWords() {
			h.words = len(out)
		}
	}
	if h.spelled { // the model of a byte-level vocabulary works on bytes
		out = append(out, rewritten(func(s string) string {
			if raw, ok := h.alphabet.read(s); ok {
				return raw
			}
			return s
		}))
	}
	return out, nil
}

func (h *hf) stepsOf(c *component, last bool) ([]step, error) {
	class := func(in class) finder {
		t := classTable()
		return characters(func(r rune) bool { return t.of(r)&in != 0 })
	}
	switch c.Type {
	case "ByteLevel":
		return h.byteLevelSteps(c, last)
	case "Metaspace":
		return c.metaspace()
	case "Split":
		f, err := c.finder()
		if err != nil {
			return nil, err
		}
		return c.behavior(f, isolated)
	case "Punctuation":
		t := classTable()
		return c.behavior(characters(func(r rune) bool { return t.of(r)&(punct|asciiPunct) != 0 }), isolated)
	case "Digits":
		if c.IndividualDigits {
			return []step{splitBy(class(number), isolated)}, nil
		}
		return []step{splitBy(class(number), contiguous)}, nil
	case "WhitespaceSplit":
		return []step{splitBy(class(space), removed)}, nil
	case "Whitespace": // \w+|[^\w\s]+
		return []step{splitByGaps(scanned{classTable(), func(t *classes, s string, i int) int {
			if end := t.run(s, i, word); end > i {
				return end
			}
			return t.runNot(s, i, word|space)
		}}, removed)}, nil
	case "CharDelimiterSplit":
		return []step{splitBy(literal(c.Delimiter), removed)}, nil
	}
	return nil, fmt.Errorf("type is %s; supported are Sequence, ByteLevel, Metaspace, Split, Punctuation, Digits, Whitespace, WhitespaceSplit and CharDelimiterSplit",
		quote(c.Type))
}

// behavior returns the step that splits at f as the component says.
func (c *component) behavior(f finder, without behavior) ([]step, error) {
	b := without
	if c.Behavior != "" {
		var ok bool
		if b, ok = behaviorNamed(c.Behavior); !ok {
			return nil, fmt.Errorf("%s: behavior is %s, which is none", c.Type, quote(c.Behavior))
		}
	}
	if c.Invert {
		return []step{splitByGaps(f, b)}, nil
	}
	return []step{splitBy(f, b)}, nil
}

// byteLevelSteps leaves the text in bytes if nothing follows that would look
// at it: spelling it in the alphabet and reading it back changes nothing.
func (h *hf) byteLevelSteps(c *component, last bool) ([]step, error) {
	if h.spelled {
		return nil, errors.New("ByteLevel comes twice")
	}
	h.byteLevel = true
	var out []step
	if or(c.AddPrefixSpace, true) {
		out = append(out, prefixed(" ", false))
	}
	if or(c.UseRegex, true) {
		out = append(out, scanned{classTable(), scanGPT2}.isolate)
	}
	if !last {
		h.spelled = true
		out = append(out, rewritten(h.alphabet.spell))
	}
	return out, nil
}

// scheme returns where Metaspace puts its mark: always, first or never.
func (c *component) scheme() string {
	if c.PrependScheme == "" {
		if or(c.AddPrefixSpace, true) {
			return "always"
		}
		return "never"
	}
	return c.PrependScheme
}

func (c *component) metaspace() ([]step, error) {
	mark := c.Replacement
	if mark == "" {
		mark = meta
	}
	out := []step{rewritten(func(s string) string { return strings.ReplaceAll(s, " ", mark) })}
	if mark == meta {
		out[0] = rewritten(func(s string) string { return escapeSpaces("", s) })
	}
	switch c.scheme() {
	case "always":
		out = append(out, prefixed(mark, false))
	case "first":
		out = append(out, prefixed(mark, true))
	case "never":
	default:
		return nil, fmt.Errorf("pre_tokenizer Metaspace: prepend_scheme is %s, not always, first or never", quote(c.PrependScheme))
	}
	if or(c.Split, true) {
		out = append(out, beforeEach(mark))
	}
	return out, nil
}
