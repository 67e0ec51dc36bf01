package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// FromTokenizerJSON returns the tokeniser of a Hugging Face tokenizer.json.
// config, the tokenizer_config.json beside it, may be nil: it names the
// beginning and end of a sequence and says whether they are added.
//
// Models BPE and Unigram are supported; anything else the file may ask for and
// weir cannot do is an error that says what it can.
func FromTokenizerJSON(tokenizer, config []byte) (*Tokenizer, error) {
	var h hf
	t, err := h.load(tokenizer, config)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer.json: %w", err)
	}
	return t, nil
}

// hf is a tokenizer.json on its way to a Tokenizer.
type hf struct {
	file struct {
		AddedTokens   []hfAdded       `json:"added_tokens"`
		Normalizer    json.RawMessage `json:"normalizer"`
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		PostProcessor json.RawMessage `json:"post_processor"`
		Decoder       json.RawMessage `json:"decoder"`
		Model         json.RawMessage `json:"model"`
	}
	config hfConfig
	model  hfModel
	vocabulary

	alphabet  *alphabet
	byteLevel bool // the vocabulary is spelled in the alphabet
	spelled   bool // and so is the text, by the time it reaches the model
	words     int  // see Tokenizer; 0: all steps
}

type hfAdded struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// hfConfig is what tokenizer_config.json adds.
type hfConfig struct {
	BOS         hfName             `json:"bos_token"`
	EOS         hfName             `json:"eos_token"`
	AddBOS      *bool              `json:"add_bos_token"`
	AddEOS      *bool              `json:"add_eos_token"`
	Class       string             `json:"tokenizer_class"`
	AddedTokens map[string]hfAdded `json:"added_tokens_decoder"`
}

// hfName is the spelling of a token: a string, or an object around it.
type hfName string

func (n *hfName) UnmarshalJSON(b []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if len(b) > 0 && b[0] == '{' {
		err := json.Unmarshal(b, &object)
		*n = hfName(object.Content)
		return err
	}
	return json.Unmarshal(b, (*string)(n))
}

// hfModel is the model of either type.
type hfModel struct {
	Type         string          `json:"type"`
	Vocab        json.RawMessage `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
	Dropout      float64         `json:"dropout"`
	Unknown      string          `json:"unk_token"`
	UnknownID    *int64          `json:"unk_id"`
	Prefix       string          `json:"continuing_subword_prefix"`
	Suffix       string          `json:"end_of_word_suffix"`
	FuseUnknown  bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
}

func (h *hf) load(tokenizer, config []byte) (*Tokenizer, error) {
	if err := json.Unmarshal(tokenizer, &h.file); err != nil {
		return nil, err
	}
	if config != nil {
		if err := json.Unmarshal(config, &h.config); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	if err := h.parseModel(); err != nil {
		return nil, err
	}
	if err := h.readVocabulary(); err != nil {
		return nil, err
	}
	h.alphabet = newAlphabet()
	normalizers, err := h.normalizer()
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	steps, err := h.preTokenizer()
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	model, err := h.buildModel()
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if !h.byteLevel && !h.model.IgnoreMerges {
		steps = append(steps, h.wordsAtSpaces()...)
	}
	t, err := h.decoder()
	if err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	t.normalizers, t.steps, t.model, t.words = normalizers, steps, model, len(steps)
	if h.words > 0 {
		t.words = h.words
	}
	h.addTokens(t)
	if err := h.postProcessor(t); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	return t, h.ends(t)
}

func (h *hf) parseModel() error {
	if err := json.Unmarshal(h.file.Model, &h.model); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	m := &h.model
	if m.Type == "" { // as in old files
		m.Type = "BPE"
		if strings.HasPrefix(string(m.Vocab), "[") {
			m.Type = "Unigram"
		}
	}
	switch {
	case m.Type != "BPE" && m.Type != "Unigram":
		return fmt.Errorf("model: type is %s; supported are BPE and Unigram", quote(m.Type))
	case m.Dropout != 0:
		return fmt.Errorf("model: dropout is %g: it makes encoding random; set it to null", m.Dropout)
	case m.Prefix != "" || m.Suffix != "":
		return errors.New("model: continuing_subword_prefix and end_of_word_suffix are not supported")
	}
	return nil
}

// hfScored is an entry of a Unigram vocabulary, [text, score].
type hfScored struct {
	text  string
	score float64
}

func (s *hfScored) UnmarshalJSON(b []byte) error {
	pair := []any{&s.text, &s.score}
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return errors.New("an entry of the vocabulary is not [text, score]")
	}
	return nil
}

// readVocabulary fills the vocabulary from the model and the added tokens.
func (h *hf) readVocabulary() error {
	var (
		byText map[string]int64
		scored []hfScored
		err    error
	)
	if h.model.Type == "BPE" {
		err = json.Unmarshal(h.model.Vocab, &byText)
	} else {
		err = json.Unmarshal(h.model.Vocab, &scored)
	}
	if err != nil {
		return fmt.Errorf("model: vocab: %w", err)
	}
	if err := h.mergeConfigTokens(); err != nil {
		return err
	}
	// Vocabularies have few holes; a giant id must not become a giant table.
	limit := 2*int64(len(byText)+len(scored)+len(h.file.AddedTokens)) + 1<<16
	for text, id := range byText {
		if err := h.place(text, id, limit, normal); err != nil {
			return err
		}
	}
	for id, s := range scored {
		if err := h.place(s.text, int64(id), limit, normal); err != nil {
			return err
		}
	}
	for _, a := range h.file.AddedTokens {
		if err := h.placeAdded(a, limit); err != nil {
			return err
		}
	}
	h.scores = make([]float64, len(h.texts))
	for id, s := range scored {
		h.scores[id] = s.score
	}
	if err := h.index(); err != nil {
		return err
	}
	return h.markUnknown()
}

// place enters a token of the model.
func (h *hf) place(text string, id, limit int64, k kind) error {
	if id < 0 || id >= limit {
		return fmt.Errorf("token %s has id %d, out of proportion to the vocabulary", quote(text), id)
	}
	for int64(len(h.texts)) <= id {
		h.texts, h.kinds = append(h.texts, ""), append(h.kinds, unused)
	}
	if other := h.texts[id]; h.kinds[id] != unused && other != text {
		return fmt.Errorf("id %d belongs to token %s and to %s", id, quote(other), quote(text))
	}
	if _, isByte := byteOf(text); isByte && h.model.ByteFallback {
		k = byteToken
	}
	h.texts[id], h.kinds[id] = text, k
	return nil
}

// placeAdded enters an added token; it may give a new name to an id of the
// model, as fine-tuned models do with reserved ones.
func (h *hf) placeAdded(a hfAdded, limit int64) error {
	if a.ID >= 0 && a.ID < int64(len(h.texts)) {
		h.kinds[a.ID] = unused
	}
	k := userDefined
	if a.Special {
		k = control
	}
	return h.place(a.Content, a.ID, limit, k)
}

// mergeConfigTokens adds the tokens that only tokenizer_config.json lists.
func (h *hf) mergeConfigTokens() error {
	known := map[int64]bool{}
	for _, a := range h.file.AddedTokens {
		known[a.ID] = true
	}
	for key, a := range h.config.AddedTokens {
		if _, err := fmt.Sscan(key, &a.ID); err != nil {
			return fmt.Errorf("tokenizer_config.json: added_tokens_decoder: %s is not an id", quote(key))
		}
		if !known[a.ID] {
			h.file.AddedTokens = append(h.file.AddedTokens, a)
		}
	}
	return nil
}

// markUnknown gives the model's unknown token its kind.
func (h *hf) markUnknown() error {
	if h.model.UnknownID != nil {
		id := *h.model.UnknownID
		if id < 0 || id >= int64(len(h.texts)) {
			return fmt.Errorf("model: unk_id is %d, but the vocabulary ends at %d", id, len(h.texts)-1)
		}
		h.kinds[id] = unknown
	}
	if name := h.model.Unknown; name != "" {
		id, ok := h.ids[name]
		if !ok {
			return fmt.Errorf("model: unk_token %s is not in the vocabulary", quote(name))
		}
		if h.kinds[id] == control {
			h.kinds[id] = unknown
		}
	}
	return nil
}

func (h *hf) buildModel() (model, error) {
	f := fallback{unknown: noToken, fuse: h.model.FuseUnknown}
	if h.model.ByteFallback {
		f.bytes = h.byteTokens()
	}
	if h.model.Type == "Unigram" {
		if h.model.UnknownID != nil {
			f.unknown = int32(*h.model.UnknownID)
		}
		f.fuse = true
		isText := func(k kind) bool { return k == normal || k == userDefined }
		return orNil(h.unigram(isText, func(kind) bool { return true }, f))
	}
	if id, ok := h.ids[h.model.Unknown]; ok && h.model.Unknown != "" {
		f.unknown = id
	}
	merges, err := parseMerges(h.model.Merges)
	if err != nil {
		return nil, err
	}
	if h.byteLevel {
		return orNil(h.vocabulary.byteLevel(merges, h.alphabet, h.model.IgnoreMerges, f))
	}
	return orNil(h.characterLevel(merges, h.model.IgnoreMerges, f))
}

// orNil keeps a nil pointer from becoming a model that is not nil.
func orNil[M model](m M, err error) (model, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// parseMerges reads merges as "left right" or as [left, right].
func parseMerges(raw json.RawMessage) ([]merge, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		merges := make([]merge, len(lines))
		for i, line := range lines {
			var err error
			if merges[i], err = parseMerge(line); err != nil {
				return nil, fmt.Errorf("merge %d: %w", i, err)
			}
		}
		return merges, nil
	}
	var pairs [][]string
	if err := json.Unmarshal(raw, &pairs); err != nil {
		return nil, fmt.Errorf("merges: %w", err)
	}
	merges := make([]merge, len(pairs))
	for i, p := range pairs {
		if len(p) != 2 {
			return nil, fmt.Errorf("merge %d has %d parts, not 2", i, len(p))
		}
		merges[i] = merge{p[0], p[1]}
	}
	return merges, nil
}

// addTokens sets up the search for added tokens. Those marked normalized are
// searched for in normalised text, and in the form that normalising gives them.
func (h *hf) addTokens(t *Tokenizer) {
	raw, normalized := map[int32]addedToken{}, map[int32]addedToken{}
	for _, a := range h.file.AddedTokens {
		token := addedToken{text: a.Content, special: a.Special, lstrip: a.LStrip, rstrip: a.RStrip, singleWord: a.SingleWord}
		if !a.Normalized || len(t.normalizers) == 0 {
			raw[int32(a.ID)] = token
			continue
		}
		for _, n := range t.normalizers {
			token.text = n(token.text)
		}
		normalized[int32(a.ID)] = token
	}
	t.raw, t.normalized = newAddedTokens(raw), newAddedTokens(normalized)
}
