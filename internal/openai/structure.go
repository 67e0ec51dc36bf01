package openai

import (
	"encoding/json"

	"weir/internal/llm"
)

// MaxChoiceTexts is the most strings to choose from.
const MaxChoiceTexts = 10_000

// demand takes note of what the output must be.
func (s *Sampling) demand(v value, w llm.Structure) error {
	w.Field = v.path
	if s.structure != nil && s.structure.Field != v.path {
		return v.invalid("the request says already what its output must be, in %s: keep one", s.structure.Field)
	}
	s.structure = &w
	return nil
}

// schema reads a JSON Schema: an object or boolean, or, as vLLM takes it, its
// text in a string.
func (v value) schema() (json.RawMessage, error) {
	raw := json.RawMessage(v.raw)
	if v.is('"') {
		raw = json.RawMessage(unquote(v.raw))
		if !json.Valid(raw) {
			return nil, v.invalid("the string is not JSON: send a JSON Schema")
		}
	}
	if k := kind(raw); k != "an object" && k != "a boolean" {
		return nil, v.wrongType("a JSON Schema")
	}
	return raw, nil
}

func readResponseFormat(r *Sampling, v value) error {
	r.ResponseFormat = v.raw
	var kind string
	var format *value
	err := v.fields(func(key string, e value) (err error) {
		switch key {
		case "type":
			kind, err = e.text()
		case "json_schema":
			format = &e
		case "schema": // as llama.cpp takes it beside json_object
			format = &value{raw: append([]byte(`{"schema":`), append(e.raw, '}')...), path: v.path}
		default:
			return unknown(e, key, []string{"type", "json_schema"})
		}
		return err
	})
	if err != nil {
		return err
	}
	switch kind {
	case "text":
		return nil
	case "json_object":
		if format == nil {
			return r.demand(v, llm.Structure{Object: true})
		}
		return r.readJSONSchema(*format)
	case "json_schema":
		if format == nil || format.null() {
			return missing("response_format.json_schema")
		}
		return r.readJSONSchema(*format)
	case "":
		return missing("response_format.type")
	}
	return v.field("type", nil).unsupported("%.40q; text, json_object and json_schema are possible", kind)
}

// readJSONSchema reads response_format.json_schema. The output is held to the
// schema whether strict is true or not.
func (s *Sampling) readJSONSchema(v value) error {
	var schema json.RawMessage
	var at value
	err := v.fields(func(key string, e value) (err error) {
		switch key {
		case "schema":
			at = e
			schema, err = e.schema()
		case "name", "description":
			if !e.null() {
				_, err = e.text()
			}
		case "strict":
			if !e.null() {
				_, err = e.boolean()
			}
		default:
			return unknown(e, key, []string{"name", "description", "schema", "strict"})
		}
		return err
	})
	if err != nil {
		return err
	}
	if schema == nil {
		return missing(v.path + ".schema")
	}
	return s.demand(at, llm.Structure{Schema: schema})
}

func readStructured(r *Sampling, v value) error {
	r.StructuredOutputs = v.raw
	asked := 0
	err := v.fields(func(key string, e value) error {
		if e.null() {
			return nil
		}
		switch key {
		case "json":
			asked++
			return r.readSchema(e)
		case "json_object":
			on, err := e.boolean()
			if err != nil || !on {
				return err
			}
			asked++
			return r.demand(e, llm.Structure{Object: true})
		case "regex", "grammar":
			asked++
			return r.readPattern(e, key)
		case "choice":
			asked++
			return r.readChoice(e)
		case "disable_fallback", "disable_any_whitespace", "disable_additional_properties":
			on, err := e.boolean()
			if err != nil || !on || key == "disable_fallback" {
				return err
			}
			return e.unsupported("white space in JSON is always possible, and always bounded; say additionalProperties in the schema")
		case "structural_tag", "whitespace_pattern", "_backend", "backend":
			return e.unsupported("leave it out")
		}
		return unknown(e, key, []string{"json", "json_object", "regex", "choice", "grammar"})
	})
	if err == nil && asked != 1 {
		err = v.invalid("it must have one of json, json_object, regex, choice and grammar")
	}
	return err
}

func (s *Sampling) readSchema(v value) error {
	schema, err := v.schema()
	if err != nil {
		return err
	}
	return s.demand(v, llm.Structure{Schema: schema})
}

// readPattern reads a regular expression or a grammar.
func (s *Sampling) readPattern(v value, key string) error {
	text, err := v.text()
	if err != nil {
		return err
	}
	if text == "" {
		return v.invalid("it is empty")
	}
	if key == "regex" {
		return s.demand(v, llm.Structure{Regex: text})
	}
	return s.demand(v, llm.Structure{Grammar: text})
}

func (s *Sampling) readChoice(v value) error {
	if !v.is('[') {
		return v.wrongType("an array of strings")
	}
	list, err := v.texts(MaxChoiceTexts)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return v.invalid("there is nothing to choose from")
	}
	return s.demand(v, llm.Structure{Choice: list})
}

func readGuidedJSON(r *Sampling, v value) error {
	r.GuidedJSON = v.raw
	return r.readSchema(v)
}

func readGuidedRegex(r *Sampling, v value) (err error) {
	if r.GuidedRegex, err = v.text(); err != nil {
		return err
	}
	return r.readPattern(v, "regex")
}

func readGuidedChoice(r *Sampling, v value) error {
	if err := r.readChoice(v); err != nil {
		return err
	}
	r.GuidedChoice = r.structure.Choice
	return nil
}

func readGuidedGrammar(r *Sampling, v value) (err error) {
	if r.GuidedGrammar, err = v.text(); err != nil {
		return err
	}
	return r.readPattern(v, "grammar")
}
