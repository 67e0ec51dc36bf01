package openai

import (
	"reflect"
	"testing"

	"weir/internal/llm"
)

func TestStructures(t *testing.T) {
	for _, c := range []struct {
		body string
		want *llm.Structure
	}{
		{`"response_format":{"type":"text"}`, nil},
		{`"response_format":{"type":"json_object"}`, &llm.Structure{Object: true, Field: "response_format"}},
		{`"response_format":{"type":"json_object","schema":{"type":"array"}}`, &llm.Structure{Schema: []byte(`{"type":"array"}`), Field: "response_format.schema"}},
		{`"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"a": 1}}}`, &llm.Structure{Schema: []byte(`{"a": 1}`), Field: "response_format.json_schema.schema"}},
		{`"structured_outputs":{"json":"{\"a\":1}"}`, &llm.Structure{Schema: []byte(`{"a":1}`), Field: "structured_outputs.json"}},
		{`"structured_outputs":{"json_object":true,"regex":null}`, &llm.Structure{Object: true, Field: "structured_outputs.json_object"}},
		{`"structured_outputs":{"regex":"a+"}`, &llm.Structure{Regex: "a+", Field: "structured_outputs.regex"}},
		{`"structured_outputs":{"choice":["a","b"]}`, &llm.Structure{Choice: []string{"a", "b"}, Field: "structured_outputs.choice"}},
		{`"structured_outputs":{"grammar":"root ::= \"a\""}`, &llm.Structure{Grammar: `root ::= "a"`, Field: "structured_outputs.grammar"}},
		{`"guided_json":{}`, &llm.Structure{Schema: []byte(`{}`), Field: "guided_json"}},
		{`"guided_choice":["x"]`, &llm.Structure{Choice: []string{"x"}, Field: "guided_choice"}},
	} {
		r, err := DecodeCompletion([]byte(`{"prompt":"p",` + c.body + `}`))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		list, err := r.Requests(llm.Model{ID: "m", Vocab: 10, Context: 10})
		if err != nil {
			t.Fatal(err)
		}
		if got := list[0].Params.Structure; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.body, got, c.want)
		}
	}
}
