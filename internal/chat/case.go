package chat

import (
	"errors"
	"fmt"
	"time"

	"weir/internal/chat/jinja"
)

// RenderCase renders a template's text for those who debug it. inputJSON is
// an object with the template's variables: messages, tools,
// add_generation_prompt, bos_token, eos_token and whatever else the template
// reads. It may also stand in the field "input" of another object (a case of
// a test file). The template sees these variables and no others: what is not
// named is undefined, whereas a server passes tools and documents as none.
// A true continue_final_message ends the text inside of the last message.
func RenderCase(source string, inputJSON []byte, now time.Time) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	vars, err := caseVariables(inputJSON)
	if err != nil {
		return "", err
	}
	call := jinja.Call{Vars: vars, Size: len(inputJSON), Now: now}
	if open, _ := vars.Get("continue_final_message"); open != true {
		return t.t.Render(call)
	}
	if prompt, _ := vars.Get("add_generation_prompt"); prompt == true {
		return "", errContinueAndPrompt
	}
	return t.renderOpen(call)
}

func caseVariables(inputJSON []byte) (*jinja.Dict, error) {
	v, err := jinja.FromJSON(inputJSON)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	switch v := v.(type) {
	case *jinja.Dict:
		inner, _ := v.Get("input")
		_, hasMessages := v.Get("messages")
		if d, ok := inner.(*jinja.Dict); ok && !hasMessages {
			return d, nil
		}
		return v, nil
	case *jinja.List:
		return nil, fmt.Errorf("input: a list of %d items, where one object with the template's variables is needed: put one of the cases into a file of its own", len(v.Items()))
	}
	return nil, errors.New(`input: an object with the template's variables is needed, such as {"messages": [{"role": "user", "content": "Hi"}]}`)
}
