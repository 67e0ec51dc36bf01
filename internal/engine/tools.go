package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	answers "weir/internal/chat/answer"
	"weir/internal/grammar"
	"weir/internal/llm"
)

// Tool calls are held to a grammar: once a model has begun a call, it can only
// name a tool that is offered, with arguments of the tool's schema. What the
// grammar writes is what the model's template shows, to the space: package answer
// passes such calls on as they come.

// structured makes the request, with how its output is read and what it must be.
func (e *Engine) structured(ctx context.Context, r *llm.Request, prompt []int32, p llm.Params) (*request, error) {
	rd, err := e.readingOf(r, prompt)
	if err != nil {
		return nil, err
	}
	var g *grammar.Grammar
	if rd != nil && rd.Tools != nil && rd.Calls != answers.None {
		g, err = e.toolGrammar(ctx, r, rd, p.Structure)
	} else {
		g, err = e.structures.grammar(ctx, p.Structure)
	}
	if err != nil {
		return nil, err
	}
	req := newRequest(e, r, prompt, p, g)
	req.reading = rd
	return req, nil
}

// toolGrammar compiles what an answer with tools must be.
func (e *Engine) toolGrammar(ctx context.Context, r *llm.Request, rd *reading, want *llm.Structure) (*grammar.Grammar, error) {
	c := r.Prompt.(*llm.Chat)
	var tools []tool
	for _, t := range toolsOf(c.Tools) {
		if r.Reading.Tool == "" || r.Reading.Tool == t.Name {
			tools = append(tools, t)
		}
	}
	w := &callWriter{rd: rd, e: e, required: r.Reading.Tools == llm.ToolsRequired}
	key := fmt.Sprintf("tools %s %v %v %v %v %v %s %s", rd.Calls, rd.Thinking, rd.Opened, rd.One, w.required, rd.named, r.Reading.Tool, c.Tools)
	structure := grammar.Expr(nil)
	if want != nil && !w.required {
		k, expr := exprOf(want)
		key, structure = key+" or "+k, expr
	}
	if g := e.structures.find(key); g != nil {
		return g, nil
	}
	if err := w.schemas(ctx, tools); err != nil {
		return nil, err
	}
	expr := w.answer()
	if structure != nil { // a call, or the document
		w.required = true
		expr = grammar.Alternatives{w.answer(), structure}
	}
	return e.structures.compiledFor(ctx, key, expr, &llm.Structure{Field: "tools"})
}

// callWriter writes the grammar of answers with calls.
type callWriter struct {
	e        *Engine
	rd       *reading
	required bool
	tools    []writtenTool
}

type writtenTool struct {
	name string
	args grammar.Expr
}

// schemas finds the grammar of each tool's arguments. A schema that asks for what
// is not supported is an error if the tool is strict; otherwise its arguments are
// any object, as a model's are that nobody holds to anything. One that no object can
// match is an error: a call would be no call.
func (w *callWriter) schemas(ctx context.Context, tools []tool) error {
	for _, t := range tools {
		schema := grammar.Schema(objectSchema(t.Parameters))
		args := grammar.Expr(schema)
		_, err := w.e.structures.compile(ctx, schema)
		var unsupported *grammar.UnsupportedError
		switch {
		case errors.As(err, &unsupported) && !t.Strict && !errors.Is(err, grammar.ErrNothing):
			args = grammar.JSONObject()
		case err != nil:
			return w.e.structures.refusal(ctx, "tools", fmt.Sprintf("the parameters of tool %.80q", t.Name), err)
		}
		w.tools = append(w.tools, writtenTool{t.Name, args})
	}
	return nil
}

// objectSchema sees to it that arguments are an object.
func objectSchema(params json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(params, &fields) != nil || len(fields) == 0 {
		return json.RawMessage(`{"type":"object"}`)
	}
	is := `"type":"object"`
	if fields["type"] != nil {
		if string(fields["type"]) == `"object"` {
			return params
		}
		// Whatever else it says, in the first of these that it does not use.
		for _, key := range []string{"allOf", "anyOf", "oneOf"} {
			if fields[key] == nil {
				is = `"` + key + `":[{"type":"object"}]`
				break
			}
		}
	}
	text := strings.TrimSpace(string(params))
	return json.RawMessage("{" + is + "," + text[1:])
}

// mark is a text that may be a special token.
func (w *callWriter) mark(text string) grammar.Expr {
	if id, ok := w.special(text); ok {
		return grammar.Special(id)
	}
	return grammar.Literal(text)
}

func (w *callWriter) special(text string) (int32, bool) {
	id, ok := w.e.opts.Tokenizer.ID(text)
	return id, ok && w.e.opts.Tokenizer.IsSpecial(id)
}

// upon is what follows a mark within free text.
func (w *callWriter) upon(mark string, then grammar.Expr) grammar.Trigger {
	if id, ok := w.special(mark); ok {
		return grammar.Trigger{Special: &id, Then: then}
	}
	return grammar.Trigger{Text: mark, Then: then}
}

// answer is all that may be said: a thought, if the model thinks, and the rest.
func (w *callWriter) answer() grammar.Expr {
	if w.rd.Calls == answers.Harmony {
		return w.harmony()
	}
	body, t := w.body(), w.rd.Thinking
	if t.Close == "" {
		return body
	}
	thought := grammar.Sequence{
		grammar.Free{Triggers: []grammar.Trigger{w.upon(t.Close, nil)}, Required: true},
		grammar.Regex(`\n*`), body,
	}
	if w.rd.Opened {
		return thought
	}
	return grammar.Alternatives{grammar.Sequence{grammar.Regex(`\n*`), w.mark(t.Open), thought}, body}
}

// each is one of the tools' calls, as write has it.
func (w *callWriter) each(write func(t writtenTool) grammar.Expr) grammar.Expr {
	var any grammar.Alternatives
	for _, t := range w.tools {
		any = append(any, write(t))
	}
	return any
}

// object is {"name": "f", KEY: {…}}.
func (w *callWriter) object(key string) grammar.Expr {
	return w.each(func(t writtenTool) grammar.Expr {
		return grammar.Sequence{grammar.Literal(answers.Head(t.name, key)), t.args, grammar.Literal("}")}
	})
}

// several is a call, and others behind a separator unless one is all.
func (w *callWriter) several(call grammar.Expr, separator string) grammar.Expr {
	if w.rd.One {
		return call
	}
	return grammar.Sequence{call, grammar.Repeat{X: grammar.Sequence{grammar.Literal(separator), call}, Min: 0, Max: -1}}
}

// body is what follows the thought.
func (w *callWriter) body() grammar.Expr {
	switch w.rd.Calls {
	case answers.Hermes:
		rest := grammar.Sequence{grammar.Literal("\n"), w.object("arguments"), grammar.Literal("\n"), w.mark("</tool_call>")}
		return w.marked("<tool_call>", rest, true)
	case answers.Mistral:
		return w.marked("[TOOL_CALLS]", w.mistral(), w.rd.named)
	case answers.DeepSeek:
		return w.marked("<｜tool▁calls▁begin｜>", w.deepSeek(), false)
	}
	return w.bare()
}

// marked is text with calls behind marks. again says that each call has a mark of
// its own.
func (w *callWriter) marked(mark string, rest grammar.Expr, again bool) grammar.Expr {
	if !w.required {
		return grammar.Free{Triggers: []grammar.Trigger{w.upon(mark, rest)}, Again: again && !w.rd.One}
	}
	call := grammar.Sequence{w.mark(mark), rest}
	if again {
		return w.several(call, "\n")
	}
	return call
}

func (w *callWriter) mistral() grammar.Expr {
	if w.rd.named {
		return w.each(func(t writtenTool) grammar.Expr {
			return grammar.Sequence{grammar.Literal(t.name), w.mark("[ARGS]"), t.args}
		})
	}
	return grammar.Sequence{grammar.Literal("["), w.several(w.object("arguments"), ", "), grammar.Literal("]")}
}

func (w *callWriter) deepSeek() grammar.Expr {
	call := w.each(func(t writtenTool) grammar.Expr {
		if w.rd.named { // V3.1
			return grammar.Sequence{w.mark("<｜tool▁call▁begin｜>"), grammar.Literal(t.name), w.mark("<｜tool▁sep｜>"), t.args, w.mark("<｜tool▁call▁end｜>")}
		}
		return grammar.Sequence{
			w.mark("<｜tool▁call▁begin｜>"), grammar.Literal("function"), w.mark("<｜tool▁sep｜>"),
			grammar.Literal(t.name + "\n```json\n"), t.args, grammar.Literal("\n```"), w.mark("<｜tool▁call▁end｜>"),
		}
	})
	separator := "\n"
	if w.rd.named {
		separator = ""
	}
	return grammar.Sequence{w.several(call, separator), w.mark("<｜tool▁calls▁end｜>")}
}

// bare is an answer that is a call, or text that does not begin like one.
func (w *callWriter) bare() grammar.Expr {
	key := "arguments"
	if w.rd.Calls == answers.Llama3 {
		key = "parameters"
	}
	calls := w.several(w.object(key), "; ")
	if w.required {
		return calls
	}
	any := grammar.Alternatives{
		grammar.Sequence{grammar.Regex(`[ \n\t\r]*`), calls},
		grammar.Regex(`[ \n\t\r]*(` + notBeginning(`{"name": "`) + `)`),
	}
	if id, ok := w.special("<|python_tag|>"); ok && w.rd.Calls == answers.Llama3 {
		any = append(any, grammar.Sequence{grammar.Special(id), grammar.Alternatives{calls, grammar.Regex(notBeginning(`{"name": "`))}})
	}
	return any
}

// notBeginning is an expression for the texts that do not begin with one.
func notBeginning(text string) string {
	var ways []string
	for i, c := range text {
		class := regexp.QuoteMeta(string(c))
		if i == 0 {
			class += ` \n\t\r`
		}
		ways = append(ways, regexp.QuoteMeta(text[:i])+`([^`+class+`][\s\S]*)?`)
	}
	return strings.Join(ways, "|")
}

// harmony is messages, the last of which may be a call.
func (w *callWriter) harmony() grammar.Expr {
	channel, message := w.mark("<|channel|>"), w.mark("<|message|>")
	say := func(channels ...string) grammar.Expr {
		return grammar.Sequence{channel, grammar.Choice(channels), message, grammar.Regex(`[\s\S]*`)}
	}
	next := grammar.Sequence{w.mark("<|end|>"), w.mark("<|start|>"), grammar.Literal("assistant")}
	call := w.each(func(t writtenTool) grammar.Expr {
		to := " to=functions." + t.name
		head := grammar.Alternatives{
			grammar.Sequence{channel, grammar.Literal("commentary" + to + " "), w.mark("<|constrain|>"), grammar.Literal("json"), message},
			grammar.Sequence{grammar.Literal(to), channel, grammar.Literal("commentary json"), message},
		}
		return grammar.Sequence{head, t.args}
	})
	before := grammar.Repeat{X: grammar.Sequence{say("analysis", "commentary"), next}, Min: 0, Max: -1}
	if w.required {
		return grammar.Sequence{before, call}
	}
	return grammar.Sequence{before, grammar.Alternatives{call, say("analysis", "commentary", "final")}}
}
