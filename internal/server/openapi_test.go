package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"weir/internal/auth"
	"weir/internal/llm"
	"weir/internal/openai"
)

const openAPIFile = "../../docs/openapi.yaml"

// generated is what of the description is made from tables.
const generated = "    # go test ./internal/server -run OpenAPI -update\n"

// requestSchemas makes the schemas of requests. A field that is refused is not
// there, and nothing else is allowed.
func requestSchemas() string {
	var b strings.Builder
	for _, s := range []struct {
		name   string
		fields []openai.Field
	}{
		{"ChatRequest", openai.ChatFields()}, {"CompletionRequest", openai.CompletionFields()}, {"TokenizeRequest", openai.TokenizeFields()},
		{"DetokenizeRequest", openai.DetokenizeFields()}, {"TemplateRequest", openai.TemplateFields()}, {"PinRequest", openai.PinFields()}, {"ModelRequest", openai.ModelFields()},
	} {
		fmt.Fprintf(&b, "    %s:\n      type: object\n      additionalProperties: false\n      properties:\n", s.name)
		for _, f := range s.fields {
			if f.Support == openai.Rejected {
				continue
			}
			note, _ := json.Marshal(string(f.Support) + ": " + f.Note)
			fmt.Fprintf(&b, "        %s: {description: %s}\n", f.Name, note)
		}
	}
	return b.String()
}

// description is the OpenAPI document, parsed.
type description struct {
	Paths map[string]map[string]operation `json:"paths"`
}

type operation struct {
	Scope    string           `json:"x-scope"`
	Security []map[string]any `json:"security"`
	Params   []struct {
		Name    string `json:"name"`
		Example string `json:"example"`
	} `json:"parameters"`
	Body struct {
		Content map[string]struct {
			Examples map[string]struct {
				Value json.RawMessage `json:"value"`
			} `json:"examples"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]any `json:"content"`
	} `json:"responses"`
}

// readOpenAPI reads the document, as weir's and as a resource for schemas.
func readOpenAPI(t *testing.T) (description, *jsonschema.Compiler) {
	t.Helper()
	text, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	head, have, found := strings.Cut(string(text), generated)
	if want := requestSchemas(); !found || have != want {
		if !*update || !found {
			t.Errorf("the requests of %s have changed: go test ./internal/server -run OpenAPI -update", openAPIFile)
		} else if err := os.WriteFile(openAPIFile, []byte(head+generated+want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var d description
	if err := json.Unmarshal(asJSON, &d); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return d, c
}

func pathOf(rt route) string { return strings.ReplaceAll(rt.path, "...}", "}") }

// TestOpenAPIRoutes: what is described is routed, what is routed is described, and
// each needs the scope that it says.
func TestOpenAPIRoutes(t *testing.T) {
	d, _ := readOpenAPI(t)
	s := serve(t, fakeTexter{newFake()}, withMetrics)
	described := 0
	for _, methods := range d.Paths {
		described += len(methods)
	}
	for _, rt := range s.routes {
		o, ok := d.Paths[pathOf(rt)][strings.ToLower(rt.method)]
		if !ok {
			t.Errorf("%s %s is not described", rt.method, pathOf(rt))
			continue
		}
		if o.Scope != string(rt.scope) || (rt.scope == auth.Open) != (len(o.Security) == 1) {
			t.Errorf("%s %s needs %q, is described with %q", rt.method, pathOf(rt), rt.scope, o.Scope)
		}
	}
	if described != len(s.routes) {
		t.Errorf("%d operations are described, there are %d routes", described, len(s.routes))
	}
}

// TestOpenAPIAnswers sends each example to a running server and holds the answer to
// its description, and likewise what goes wrong.
func TestOpenAPIAnswers(t *testing.T) {
	d, c := readOpenAPI(t)
	s := serve(t, fakeTexter{newFake()}, withMetrics)
	sent := 0
	for path, methods := range d.Paths {
		for method, o := range methods {
			target := path
			for _, p := range o.Params {
				target = strings.ReplaceAll(target, "{"+p.Name+"}", p.Example)
			}
			ask := func(name, body string) {
				sent++
				t.Run(method+" "+path+" "+name, func(t *testing.T) {
					checkAnswer(t, c, s, path, method, o, target, body)
				})
			}
			for name, e := range o.Body.Content["application/json"].Examples {
				ask(name, string(e.Value))
			}
			if o.Body.Content == nil {
				ask("", "")
			}
			ask("nonsense", `{"nonsense":`)
		}
	}
	if sent < 25 {
		t.Errorf("only %d requests were sent", sent)
	}
	ring, err := auth.Single(auth.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	s.options.Store(func() *Options { o := *s.opts(); o.Keys = func() *auth.Ring { return ring }; return &o }())
	checkAnswer(t, c, s, "/v1/models", "get", d.Paths["/v1/models"]["get"], "/v1/models", "")
	s.health.live = &llm.Error{Message: "hangs"}
	checkAnswer(t, c, s, "/health", "get", d.Paths["/health"]["get"], "/health", "")
}

func checkAnswer(t *testing.T, c *jsonschema.Compiler, s *testServer, path, method string, o operation, target, body string) {
	t.Helper()
	r := httptest.NewRequest(strings.ToUpper(method), target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	status := fmt.Sprint(w.Code)
	if _, ok := o.Responses[status]; !ok {
		status = "default"
	}
	if status == "default" && w.Code < 400 {
		t.Errorf("status %d is not described", w.Code)
	}
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	if _, ok := o.Responses[status].Content[kind]; !ok {
		t.Errorf("%d %s is not described: %.200s", w.Code, kind, w.Body)
		return
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	schema, err := c.Compile("openapi.json#/paths/" + escape.Replace(path) + "/" + method + "/responses/" + status + "/content/" + escape.Replace(kind) + "/schema")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range payloads(kind, w.Body.String()) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			t.Errorf("%d: %v\n%s", w.Code, err, text)
		}
	}
}

// payloads gives the JSON texts of an answer.
func payloads(kind, body string) []string {
	switch kind {
	case "application/json":
		return []string{body}
	case "text/event-stream":
		var list []string
		for event := range strings.SplitSeq(body, "\n\n") {
			if data, ok := strings.CutPrefix(event, "data: "); ok && data != "[DONE]" {
				list = append(list, data)
			}
		}
		return list
	}
	return nil // text, whose schema is that it is one
}

// TestOpenAPIIsWhole: methods and statuses are HTTP's.
func TestOpenAPIIsWhole(t *testing.T) {
	d, c := readOpenAPI(t)
	for path, methods := range d.Paths {
		for method, o := range methods {
			if !slices.Contains([]string{"get", "post", "delete"}, method) || len(o.Responses) < 2 {
				t.Errorf("%s %s: %d responses", method, path, len(o.Responses))
			}
		}
	}
	schema, err := c.Compile("openapi.json#/components/schemas/ChatRequest")
	if err != nil {
		t.Fatal(err)
	}
	for text, right := range map[string]bool{`{"messages":[]}`: true, `{"mesages":[]}`: false, `{"functions":[]}`: false} {
		value, _ := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err := schema.Validate(value); (err == nil) != right {
			t.Errorf("%s: %v", text, err)
		}
	}
}
