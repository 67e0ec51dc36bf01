package openai

import (
	"encoding/json"
	"strconv"

	"weir/internal/llm"
)

// MaxTools is how many tools a request may offer (OpenAI's limit).
const MaxTools = 128

// maxToolName is longer than any name that OpenAI takes.
const maxToolName = 128

// toolChoice is tool_choice as it was read.
type toolChoice struct {
	given bool
	mode  llm.ToolChoice
	name  string // the tool that has to be called
}

// readToolChoice reads "none", "auto", "required", or a tool by its name.
func readToolChoice(r *ChatRequest, v value) error {
	r.ToolChoice, r.choice.given = v.raw, true
	if v.is('{') {
		return v.namedTool(&r.choice)
	}
	word, err := v.text()
	if err != nil {
		return err
	}
	switch word {
	case "none":
		r.choice.mode = llm.ToolsNone
	case "auto":
		r.choice.mode = llm.ToolsAuto
	case "required":
		r.choice.mode = llm.ToolsRequired
	default:
		return v.invalid("%.40q is none of \"none\", \"auto\", \"required\", or an object that names a tool", word)
	}
	return nil
}

// namedTool reads {"type": "function", "function": {"name": …}}.
func (v value) namedTool(to *toolChoice) error {
	to.mode = llm.ToolsRequired
	err := v.fields(func(key string, e value) error {
		switch key {
		case "type":
			if word, err := e.text(); err != nil || word != "function" {
				return e.unsupported("a tool is named by {\"type\": \"function\", \"function\": {\"name\": ...}}")
			}
		case "function":
			return e.fields(func(key string, e value) (err error) {
				if key == "name" {
					to.name, err = e.text()
				}
				return err
			})
		}
		return nil
	})
	if err == nil && to.name == "" {
		err = missing(v.path + ".function.name")
	}
	return err
}

// tools checks a list of tools: functions with names, each once.
func (v value) tools() (json.RawMessage, error) {
	list, err := v.list("leave it out or fill it")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	return list, eachElement(v.raw, func(i int, raw []byte) error {
		e := v.element(i, raw)
		if i >= MaxTools {
			return v.invalid("more than %d tools", MaxTools)
		}
		name, err := e.function()
		if err == nil && seen[name] {
			err = e.invalid("another tool is called %.80q, too", name)
		}
		seen[name] = true
		return err
	})
}

// function checks a tool and returns its name.
func (v value) function() (name string, err error) {
	kinds, found := "", false
	err = v.fields(func(key string, e value) error {
		switch key {
		case "type":
			kinds, err = e.text()
			if err == nil && kinds != "function" {
				err = e.unsupported("a tool of type %.40q: weir reads calls of type \"function\" alone", kinds)
			}
			return err
		case "function":
			found = true
			return e.fields(func(key string, e value) error {
				switch {
				case key == "name":
					name, err = e.text()
					if err == nil && (name == "" || len(name) > maxToolName) {
						err = e.invalid("the name has %d bytes: 1 to %d are possible", len(name), maxToolName)
					}
					return err
				case key == "parameters" && !e.null() && !e.is('{'):
					return e.wrongType("an object")
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", missing(v.path + ".function")
	case name == "":
		return "", missing(v.path + ".function.name")
	}
	return name, nil
}

// checkTools looks at tools and tool_choice together.
func (r *ChatRequest) checkTools() error {
	v := value{path: "tool_choice", raw: r.ToolChoice}
	if len(r.Tools) == 0 {
		if r.choice.mode != llm.ToolsNone {
			return v.invalid("there are no tools to choose from: send tools, or leave it out")
		}
		return nil
	}
	if !r.choice.given {
		r.choice.mode = llm.ToolsAuto
	}
	if r.choice.mode == llm.ToolsNone {
		return nil // then they are the template's business alone
	}
	if _, err := (value{path: "tools", raw: r.Tools}).tools(); err != nil {
		return err
	}
	if r.choice.name == "" {
		return nil
	}
	found := false
	err := eachElement(r.Tools, func(i int, raw []byte) error {
		name, err := value{path: "tools", raw: r.Tools}.element(i, raw).function()
		found = found || name == r.choice.name
		return err
	})
	if err == nil && !found {
		err = v.invalid("no tool is called %.80q", r.choice.name)
	}
	return err
}

// reading says how the answer is to be read.
func (r *ChatRequest) reading() llm.Reading {
	return llm.Reading{
		Thinking: true, Tools: r.choice.mode, Tool: r.choice.name,
		OneCall: r.choice.mode != llm.ToolsNone && (r.choice.name != "" || r.ParallelToolCalls != nil && !*r.ParallelToolCalls),
	}
}

// hidesReasoning tells whether thinking is left out of the response.
func (r *ChatRequest) hidesReasoning() bool {
	return r.IncludeReasoning != nil && !*r.IncludeReasoning
}

// gatheredCall is a call of a response that is not streamed.
type gatheredCall struct {
	id, name string
	args     []byte
}

func (c *choice) addCalls(deltas []llm.CallDelta) {
	for _, d := range deltas {
		if d.Name != "" {
			c.calls = append(c.calls, gatheredCall{id: d.ID, name: d.Name})
		}
		if n := len(c.calls); n > 0 {
			c.calls[n-1].args = append(c.calls[n-1].args, d.Args...)
		}
	}
}

// appendAnswer appends a message's reasoning_content and tool_calls, if it has
// them.
func (c *choice) appendAnswer(dst []byte, hideReasoning bool) []byte {
	if len(c.reasoning) > 0 && !hideReasoning {
		dst = appendString(appendKey(dst, "reasoning_content"), string(c.reasoning))
	}
	if len(c.calls) == 0 {
		return dst
	}
	dst = append(appendKey(dst, "tool_calls"), '[')
	for i, call := range c.calls {
		dst = appendString(append(comma(dst, i), `{"id":`...), call.id)
		dst = appendString(append(dst, `,"type":"function","function":{"name":`...), call.name)
		dst = append(appendString(append(dst, `,"arguments":`...), string(call.args)), "}}"...)
	}
	return append(dst, ']')
}

// appendCallDelta appends a piece of a call as the API streams it.
func appendCallDelta(dst []byte, d *llm.CallDelta) []byte {
	dst = strconv.AppendInt(append(dst, `{"tool_calls":[{"index":`...), int64(d.Call), 10)
	if d.Name != "" {
		dst = appendString(append(dst, `,"id":`...), d.ID)
		dst = appendString(append(dst, `,"type":"function","function":{"name":`...), d.Name)
		dst = append(dst, ',')
	} else {
		dst = append(dst, `,"function":{`...)
	}
	dst = appendString(append(dst, `"arguments":`...), d.Args)
	return append(dst, "}}]}"...)
}
