package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Names of templates that have a meaning.
const (
	DefaultName = "default"  // for conversations in general
	ToolUseName = "tool_use" // for those that offer tools
)

// ErrNoTemplate is the error for a model that ships no chat template.
var ErrNoTemplate = errors.New("the model has no chat template, so it is not known how it expects conversations: " +
	"pass one with --chat-template FILE or FORMAT, or use /v1/completions, which takes a plain prompt")

// Sources are the texts of a model's chat templates by name. A model with a
// single template has it under DefaultName.
type Sources map[string]string

// FromTokenizerConfig reads the chat templates of a tokenizer_config.json,
// where chat_template is a text, or a list of objects with name and template.
// A file without one gives no sources, and no error.
func FromTokenizerConfig(data []byte) (Sources, error) {
	var config struct {
		ChatTemplate json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: %w", err)
	}
	raw := config.ChatTemplate
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return Sources{DefaultName: one}, nil
	}
	var named []struct {
		Name     *string `json:"name"`
		Template *string `json:"template"`
	}
	if err := json.Unmarshal(raw, &named); err != nil {
		return nil, errors.New("tokenizer_config.json: chat_template is neither a text nor a list of objects with name and template")
	}
	sources := Sources{}
	for i, n := range named {
		if n.Name == nil || n.Template == nil {
			return nil, fmt.Errorf("tokenizer_config.json: chat_template: item %d lacks its name or its template", i)
		}
		sources[*n.Name] = *n.Template
	}
	return sources, nil
}

// Parse reads all of the templates.
func (s Sources) Parse() (*Set, error) {
	set := &Set{byName: map[string]*Template{}}
	for _, name := range s.names() {
		t, err := Parse(s[name])
		if err != nil {
			if len(s) > 1 {
				err = fmt.Errorf("template %q: %w", name, err)
			}
			return nil, err
		}
		set.byName[name] = t
	}
	return set, nil
}

func (s Sources) names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Set holds a model's parsed templates. A nil Set has none.
type Set struct{ byName map[string]*Template }

// For returns the template for conversations with or without tools, as
// Transformers chooses it: tool_use if there are tools and the model has one,
// else the default one. Without any the error is ErrNoTemplate.
func (s *Set) For(withTools bool) (*Template, error) {
	if s == nil || len(s.byName) == 0 {
		return nil, ErrNoTemplate
	}
	if t := s.byName[ToolUseName]; withTools && t != nil {
		return t, nil
	}
	if t := s.byName[DefaultName]; t != nil {
		return t, nil
	}
	var names []string
	for name := range s.byName {
		names = append(names, name)
	}
	sort.Strings(names)
	return nil, fmt.Errorf("the model has several chat templates (%s) but none named %q: pass one with --chat-template FILE or FORMAT",
		strings.Join(names, ", "), DefaultName)
}

// Named returns a template by its name, nil if there is none.
func (s *Set) Named(name string) *Template {
	if s == nil {
		return nil
	}
	return s.byName[name]
}
