package openai

import (
	"encoding/json"
	"fmt"

	"weir/internal/llm"
)

// Prompts are the prompts of a completion request: each [llm.Text] or
// [llm.Tokens]. On the wire: a string, an array of strings, an array of ids, or
// an array of arrays of ids.
type Prompts []llm.Prompt

// MarshalJSON writes the prompts as the API takes them: a single text or a list.
func (p Prompts) MarshalJSON() ([]byte, error) {
	if len(p) == 1 {
		return json.Marshal(p[0])
	}
	return json.Marshal([]llm.Prompt(p))
}

func (v value) prompts() (Prompts, error) {
	if v.is('"') {
		return Prompts{llm.Text(unquote(v.raw))}, nil
	}
	if !v.is('[') {
		return nil, v.wrongType("a string, an array of strings, an array of token ids or an array of such arrays")
	}
	rest := v.raw[skipSpace(v.raw, 1):]
	if rest[0] == ']' {
		return nil, v.fault("empty_array", "the array is empty: give at least one prompt")
	}
	switch first := kind(rest); first {
	case "a number":
		ids, err := v.ids()
		return Prompts{llm.Tokens(ids)}, err
	case "a string", "an array":
		return v.promptList()
	default:
		return nil, v.element(0, nil).fault("invalid_type", "expected a string, a token id or an array of token ids, got %s", first)
	}
}

// promptList reads an array of strings or of arrays of ids.
func (v value) promptList() (Prompts, error) {
	var list Prompts
	err := eachElement(v.raw, func(i int, raw []byte) error {
		if i >= MaxPrompts {
			return v.invalid("more than %d prompts: send several requests", MaxPrompts)
		}
		e := v.element(i, raw)
		p, err := e.prompt()
		if err == nil && i > 0 && fmt.Sprintf("%T", p) != fmt.Sprintf("%T", list[0]) {
			err = e.fault("invalid_type", "got %s after others of another kind: send texts or token ids, not both", kind(raw))
		}
		list = append(list, p)
		return err
	})
	return list, err
}

// prompt reads one element of a list of prompts.
func (v value) prompt() (llm.Prompt, error) {
	if v.is('"') {
		return llm.Text(unquote(v.raw)), nil
	}
	ids, err := v.ids()
	if err == nil && len(ids) == 0 {
		err = v.fault("empty_array", "the prompt is empty: give at least one token id")
	}
	return llm.Tokens(ids), err
}
