// Package chat turns conversations into prompts, with the chat templates that
// models ship.
//
// A model's templates come as text: one, or several by name (Sources).
// Parse or Sources.Parse reads them once; Template.Render then runs on each
// request, and is safe for concurrent use. The text it gives is the text
// that Hugging Face Transformers' apply_chat_template gives for the same
// messages: package jinja holds the interpreter and its limits.
//
// What a template is given is decided here: the variables that Transformers
// passes, the conventions of OpenAI's API that templates do not follow
// (openai.go), and a last message that is to be continued (continue.go).
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/internal/chat/jinja"
)

type (
	// RaisedError is a template's own refusal of a conversation (a call of
	// raise_exception): its message is for the user, who sent the conversation.
	RaisedError = jinja.RaisedError
	// Error is a fault in a template, or in how it gets along with its
	// input; it has the template's line.
	Error = jinja.Error
	// Limits bound the work of one rendering; the zero value is the default.
	Limits = jinja.Limits
)

// ErrLimit is wrapped by the *Error of a template that exceeds its Limits.
var ErrLimit = jinja.ErrLimit

// Template is a parsed chat template.
type Template struct {
	t      *jinja.Template
	habits func() habits // what the template does with a conversation; found out on first use
}

// Parse reads a template. Mistakes in it are an *Error.
func Parse(source string) (*Template, error) {
	t, err := jinja.Parse(source)
	if err != nil {
		return nil, err
	}
	out := &Template{t: t}
	out.habits = sync.OnceValue(out.probe)
	return out, nil
}

// Source returns the template's text.
func (t *Template) Source() string { return t.t.Source() }

// Input is what a template renders. JSON is passed on as it came: with its
// keys in order, as templates print tools and arguments key by key.
type Input struct {
	// Messages is a JSON list of message objects, each with a role, and content
	// that is a string, null, or a list of parts ({"type": "text", "text": ...}).
	Messages json.RawMessage
	// Tools is a JSON list of tools as in OpenAI's API. Without any (nil, null
	// or an empty list) the template sees none, as from Transformers.
	Tools json.RawMessage
	// Documents is a JSON list of documents for templates that know them; likewise.
	Documents json.RawMessage
	// OpenAI says that the messages follow OpenAI's conventions where
	// templates have others: they are adapted to the template (openai.go).
	OpenAI bool

	AddGenerationPrompt bool // end with the beginning of an answer
	// ContinueFinal ends the text inside of the last message, for the model to
	// go on with it. It excludes AddGenerationPrompt.
	ContinueFinal bool

	// Tokens of the vocabulary; the template sees no variable for an empty one.
	BOSToken, EOSToken string
	// Extra are further variables (chat_template_kwargs), such as
	// enable_thinking. They may not be named like those above, but may replace
	// the tokens.
	Extra map[string]json.RawMessage

	Now    time.Time // what strftime_now formats, in its own time zone
	Limits Limits
}

// Render returns the prompt. The error is a *RaisedError if the template
// refuses the conversation, an *Error if it fails, and another one if the
// input is not what Input says.
func (t *Template) Render(in Input) (string, error) {
	vars, size, err := t.variables(in)
	if err != nil {
		return "", err
	}
	call := jinja.Call{Vars: vars, Size: size, Now: in.Now, Limits: in.Limits}
	if !in.ContinueFinal {
		return t.t.Render(call)
	}
	if in.AddGenerationPrompt {
		return "", errContinueAndPrompt
	}
	return t.renderOpen(call)
}

var errContinueAndPrompt = errors.New("add_generation_prompt and continue_final_message exclude each other: " +
	"the one begins a new message, the other continues the last; set one of them to false")

// variables are the names Transformers gives to templates.
func (t *Template) variables(in Input) (vars *jinja.Dict, size int, err error) {
	vars = jinja.NewDict()
	size = len(in.Messages) + len(in.Tools) + len(in.Documents)
	messages, err := t.messages(in)
	if err != nil {
		return nil, 0, err
	}
	vars.Set("messages", messages)
	for _, list := range []struct {
		name string
		raw  json.RawMessage
	}{{"tools", in.Tools}, {"documents", in.Documents}} {
		v, err := optionalList(list.name, list.raw)
		if err != nil {
			return nil, 0, err
		}
		vars.Set(list.name, v)
	}
	vars.Set("add_generation_prompt", in.AddGenerationPrompt)
	reserved := vars.Len()
	if in.BOSToken != "" {
		vars.Set("bos_token", in.BOSToken)
	}
	if in.EOSToken != "" {
		vars.Set("eos_token", in.EOSToken)
	}
	for name, raw := range in.Extra {
		if i := vars.Index(name); i >= 0 && i < reserved {
			return nil, 0, fmt.Errorf("chat_template_kwargs cannot set %s: it is a field of the request itself", name)
		}
		v, err := jinja.FromJSON(raw)
		if err != nil {
			return nil, 0, fmt.Errorf("chat_template_kwargs: %s: %w", name, err)
		}
		vars.Set(name, v)
		size += len(raw)
	}
	return vars, size, nil
}

func (t *Template) messages(in Input) (*jinja.List, error) {
	v, err := jinja.FromJSON(in.Messages)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	list, ok := v.(*jinja.List)
	if !ok {
		return nil, errors.New("messages: a list of message objects is needed")
	}
	for i, m := range list.Items() {
		if _, ok := m.(*jinja.Dict); !ok {
			return nil, fmt.Errorf("messages: item %d is not an object with a role and a content", i)
		}
	}
	if in.OpenAI {
		h := t.habits()
		if tools, err := optionalList("tools", in.Tools); err == nil && tools != jinja.None && !h.showsTools {
			list = withTools(list, in.Tools, !h.readsSystem)
		}
		return h.adapt(list)
	}
	return list, nil
}

// optionalList reads a list; an absent or empty one is none.
func optionalList(name string, raw json.RawMessage) (jinja.Value, error) {
	if len(raw) == 0 {
		return jinja.None, nil
	}
	v, err := jinja.FromJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if list, ok := v.(*jinja.List); ok && len(list.Items()) > 0 {
		return list, nil
	} else if !ok && v != jinja.None {
		return nil, fmt.Errorf("%s: a list is needed", name)
	}
	return jinja.None, nil
}
