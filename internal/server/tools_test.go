package server

import (
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/shared"

	"weir/internal/llm"
)

// answered is an answer that thinks, talks and calls two tools.
func answered() *fake {
	f := newFake()
	f.events = []llm.Event{
		{Reasoning: "Hmm, ", Tokens: []llm.Token{{ID: 1}}}, {Reasoning: "weather."}, {Text: "Let me "}, {Text: "see."},
		{Calls: []llm.CallDelta{{Call: 0, ID: "call_a", Name: "get_weather"}, {Call: 0, Args: `{"city": `}}},
		{Calls: []llm.CallDelta{{Call: 0, Args: `"Zürich"}`}}},
		{Calls: []llm.CallDelta{{Call: 1, ID: "call_b", Name: "now"}, {Call: 1, Args: "{}"}}, Finish: llm.FinishCalls},
	}
	return f
}

func withTools() openai.ChatCompletionNewParams {
	p := hello()
	for _, name := range []string{"get_weather", "now"} {
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: name, Parameters: shared.FunctionParameters{"type": "object"}}))
	}
	return p
}

func checkCalls(t *testing.T, m openai.ChatCompletionChoice) {
	t.Helper()
	calls := m.Message.ToolCalls
	if m.FinishReason != "tool_calls" || m.Message.Content != "Let me see." || len(calls) != 2 {
		t.Fatalf("got %+v", m)
	}
	if c := calls[0]; c.ID != "call_a" || c.Type != "function" || c.Function.Name != "get_weather" || c.Function.Arguments != `{"city": "Zürich"}` {
		t.Errorf("got %+v", c)
	}
	if c := calls[1]; c.ID != "call_b" || c.Function.Name != "now" || c.Function.Arguments != "{}" {
		t.Errorf("got %+v", c)
	}
}

func TestClientToolCalls(t *testing.T) {
	f := answered()
	c := client(serve(t, f, nil))
	got, err := c.Chat.Completions.New(t.Context(), withTools())
	if err != nil {
		t.Fatal(err)
	}
	checkCalls(t, got.Choices[0])
	if r := got.Choices[0].Message.JSON.ExtraFields["reasoning_content"].Raw(); r != `"Hmm, weather."` {
		t.Errorf("reasoning %s", r)
	}
	if r := f.requests[0].Reading; r != (llm.Reading{Thinking: true, Tools: llm.ToolsAuto}) {
		t.Errorf("the backend is asked for %+v", r)
	}
	// Calls alone: there is no content.
	f.events = f.events[4:]
	got, err = c.Chat.Completions.New(t.Context(), withTools())
	if err != nil || !strings.Contains(got.RawJSON(), `"content":null`) || len(got.Choices[0].Message.ToolCalls) != 2 {
		t.Errorf("got %s, %v", got.RawJSON(), err)
	}
}

func TestClientToolCallsStream(t *testing.T) {
	f := answered()
	c := client(serve(t, f, nil))
	p := withTools()
	p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "now"})
	p.ParallelToolCalls = openai.Bool(false)
	stream := c.Chat.Completions.NewStreaming(t.Context(), p)
	defer stream.Close()
	var acc openai.ChatCompletionAccumulator
	reasoning, fragments := "", 0
	for stream.Next() {
		chunk := stream.Current()
		if !acc.AddChunk(chunk) {
			t.Errorf("the client does not take %s", chunk.RawJSON())
		}
		for _, x := range chunk.Choices {
			fragments += len(x.Delta.ToolCalls)
			if r := x.Delta.JSON.ExtraFields["reasoning_content"]; r.Raw() != "" {
				reasoning += r.Raw()
			}
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	checkCalls(t, acc.Choices[0])
	if reasoning != `"Hmm, ""weather."` || fragments != 5 {
		t.Errorf("reasoning %s, %d pieces of calls", reasoning, fragments)
	}
	if r := f.requests[0].Reading; r != (llm.Reading{Thinking: true, Tools: llm.ToolsRequired, Tool: "now", OneCall: true}) {
		t.Errorf("the backend is asked for %+v", r)
	}
}

func TestReasoningCanBeLeftOut(t *testing.T) {
	s := serve(t, answered(), nil)
	for _, stream := range []string{"false", "true"} {
		_, body := s.ask("POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"include_reasoning":false,"stream":`+stream+`}`)
		if strings.Contains(body, "reasoning") || !strings.Contains(body, "see.") {
			t.Errorf("stream %s: %s", stream, body)
		}
	}
}
