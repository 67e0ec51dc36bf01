package token

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// FromSentencePiece returns the tokeniser of a SentencePiece model file
// (tokenizer.model), of type unigram or BPE. AddSpecial puts the
// beginning-of-sequence token before a text if the model has one, as the Llama
// and Mistral checkpoints that come with such a file expect.
func FromSentencePiece(model []byte) (*Tokenizer, error) {
	s := newSentencePieceModel()
	t, err := s.load(model)
	if err != nil {
		return nil, fmt.Errorf("read SentencePiece model: %w", err)
	}
	return t, nil
}

// sentencePieceModel is the part of sentencepiece_model.proto that encoding
// depends on, with its defaults.
type sentencePieceModel struct {
	vocabulary
	modelType    uint64 // 1 unigram, 2 BPE
	byteFallback bool
	roles        struct{ unknown, bos, eos int32 }
	form         piecewise
	charsmap     []byte
}

func newSentencePieceModel() *sentencePieceModel {
	s := &sentencePieceModel{modelType: 1, form: piecewise{addPrefix: true, squeeze: true, escape: true}}
	s.roles.unknown, s.roles.bos, s.roles.eos = 0, 1, 2
	return s
}

// field is a field of a protobuf message: its bytes or, for numbers, its value.
type field struct {
	number int
	bytes  []byte
	value  uint64
}

var errTruncated = errors.New("the file ends in the middle of a field")

// eachField calls f with the fields of a message.
func eachField(b []byte, f func(field) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return errTruncated
		}
		b = b[n:]
		if key>>3 == 0 || key>>3 > 1<<29 {
			return errors.New("not a protobuf message")
		}
		x := field{number: int(key >> 3)}
		switch key & 7 {
		case 0:
			if x.value, n = binary.Uvarint(b); n <= 0 {
				return errTruncated
			}
		case 1:
			if n = 8; len(b) < n {
				return errTruncated
			}
			x.value = binary.LittleEndian.Uint64(b)
		case 2:
			size, m := binary.Uvarint(b)
			if m <= 0 || size > uint64(len(b)-m) {
				return errTruncated
			}
			x.bytes, n = b[m:m+int(size)], m+int(size)
		case 5:
			if n = 4; len(b) < n {
				return errTruncated
			}
			x.value = uint64(binary.LittleEndian.Uint32(b))
		default:
			return errors.New("not a protobuf message")
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// The field numbers below are those of sentencepiece_model.proto.

func (s *sentencePieceModel) parse(model []byte) error {
	return eachField(model, func(x field) error {
		switch x.number {
		case 1:
			return s.piece(x.bytes)
		case 2:
			return eachField(x.bytes, s.trainerField)
		case 3:
			return eachField(x.bytes, s.normalizerField)
		}
		return nil
	})
}

func (s *sentencePieceModel) piece(b []byte) error {
	text, score, k := "", 0.0, normal
	err := eachField(b, func(x field) error {
		switch x.number {
		case 1:
			text = string(x.bytes)
		case 2:
			score = float64(math.Float32frombits(uint32(x.value)))
		case 3:
			if x.value < 1 || x.value > uint64(byteToken)+1 {
				return fmt.Errorf("piece %d has type %d, which is none", len(s.texts), x.value)
			}
			k = kind(x.value - 1)
		}
		return nil
	})
	s.texts, s.scores, s.kinds = append(s.texts, text), append(s.scores, score), append(s.kinds, k)
	return err
}

func (s *sentencePieceModel) trainerField(x field) error {
	switch x.number {
	case 3:
		s.modelType = x.value
	case 24:
		s.form.spaceSuffix = x.value != 0
	case 35:
		s.byteFallback = x.value != 0
	case 40:
		s.roles.unknown = int32(x.value)
	case 41:
		s.roles.bos = int32(x.value)
	case 42:
		s.roles.eos = int32(x.value)
	}
	return nil
}

func (s *sentencePieceModel) normalizerField(x field) error {
	switch x.number {
	case 2:
		s.charsmap = x.bytes
	case 3:
		s.form.addPrefix = x.value != 0
	case 4:
		s.form.squeeze = x.value != 0
	case 5:
		s.form.escape = x.value != 0
	}
	return nil
}

func (s *sentencePieceModel) load(file []byte) (*Tokenizer, error) {
	if err := s.parse(file); err != nil {
		return nil, err
	}
	if err := s.index(); err != nil {
		return nil, err
	}
	if len(s.charsmap) > 0 {
		var err error
		if s.form.table, err = parseCharsmap(s.charsmap); err != nil {
			return nil, err
		}
	}
	m, err := s.model()
	if err != nil {
		return nil, err
	}
	t := s.tokenizer(func(id int32, text string, k kind) string {
		if k == userDefined { // these are spelled as normalised text, too
			k = normal
		}
		return metaPiece(id, text, k)
	})
	if s.form.addPrefix || s.form.squeeze {
		t.lead = lead{strip: ' ', count: 1, everyToken: s.form.squeeze}
	}
	t.normalizers, t.model = []normalizer{s.form.normalize}, m
	if s.form.escape && !s.form.spaceSuffix {
		t.steps = s.wordsAtSpaces()
		t.words = len(t.steps)
	}
	s.special(t)
	return t, nil
}

func (s *sentencePieceModel) model() (model, error) {
	f := fallback{unknown: noToken, fuse: true}
	if id := s.roles.unknown; id >= 0 && int(id) < len(s.texts) {
		f.unknown = id
	}
	if s.byteFallback {
		f.bytes = s.byteTokens()
	}
	switch s.modelType {
	case 1:
		isText := func(k kind) bool { return k == normal || k == userDefined }
		u, err := s.unigram(isText, func(k kind) bool { return k == normal }, f)
		if err != nil {
			return nil, err
		}
		u.single = true
		return u, nil
	case 2:
		return orNil(s.sentencePiece(f))
	}
	return nil, fmt.Errorf("the model has type %d; supported are 1 (unigram) and 2 (BPE)", s.modelType)
}

// special sets the tokens that are found in a text before the model sees it.
// SentencePiece finds those that a user defined in normalised text, and the
// special ones nowhere; weir finds these in raw text if it is to parse them.
func (s *sentencePieceModel) special(t *Tokenizer) {
	raw, defined := map[int32]addedToken{}, map[int32]addedToken{}
	for i, k := range s.kinds {
		switch {
		case k.special():
			raw[int32(i)] = addedToken{text: s.texts[i], special: true}
		case k == userDefined:
			defined[int32(i)] = addedToken{text: s.texts[i]}
		}
	}
	t.raw, t.normalized = newAddedTokens(raw), newAddedTokens(defined)
	valid := func(id int32) bool { return id >= 0 && int(id) < len(s.texts) && s.kinds[id] == control }
	if valid(s.roles.bos) {
		t.bos, t.before = s.roles.bos, []int32{s.roles.bos}
	}
	if valid(s.roles.eos) {
		t.eos = s.roles.eos
	}
	t.setEOG()
}
