package openai

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/api.md anew")

// TestDocs keeps the tables of docs/api.md equal to those that decode: between
// <!-- fields: NAME --> and <!-- end -->. go test -update writes them.
func TestDocs(t *testing.T) {
	const file = "../../docs/api.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, fields := range map[string][]Field{
		"chat": ChatFields(), "completions": CompletionFields(),
		"tokenize": TokenizeFields(), "detokenize": DetokenizeFields(), "apply-template": TemplateFields(), "cache-prefixes": PinFields(), "models-load": ModelFields(),
	} {
		before, rest, found := strings.Cut(text, "<!-- fields: "+name+" -->\n")
		have, after, ends := strings.Cut(rest, "<!-- end -->")
		if !found || !ends {
			t.Errorf("%s has no place for the fields of %s", file, name)
			continue
		}
		want := fieldTable(fields)
		if have != want && !*update {
			t.Errorf("the fields of %s have changed: run go test ./internal/openai -run TestDocs -update\ngot\n%s\nwant\n%s", name, have, want)
		}
		text = before + "<!-- fields: " + name + " -->\n" + want + "<!-- end -->" + after
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fieldTable writes fields as a table; neighbours that are treated alike share a row.
func fieldTable(fields []Field) string {
	var b strings.Builder
	b.WriteString("\n| field | | |\n|---|---|---|\n")
	for i := 0; i < len(fields); {
		f, names := fields[i], []string{}
		for ; i < len(fields) && fields[i].Support == f.Support && fields[i].Note == f.Note; i++ {
			names = append(names, "`"+fields[i].Name+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(names, ", "), f.Support, strings.ReplaceAll(f.Note, "|", `\|`))
	}
	b.WriteString("\n")
	return b.String()
}

// Every field that is said to be refused is refused, and every other is read:
// the table's words are tried on the decoder.
func TestTableHonest(t *testing.T) {
	check := func(fields []Field, decode func(string) error) {
		for _, f := range fields {
			err := decode(fmt.Sprintf(`{%q:{"weir":"nonsense"}}`, f.Name)) // no field takes this but free objects
			refused := err != nil && AsError(err).Code == "unsupported_parameter" && AsError(err).Param == f.Name
			if want := f.Support == Rejected || f.Support == Limited; refused != want {
				t.Errorf("%s is %s, but: %v", f.Name, f.Support, err)
			}
			if f.Note == "" {
				t.Errorf("%s has no note", f.Name)
			}
		}
	}
	check(ChatFields(), func(s string) error { _, err := DecodeChat([]byte(s)); return err })
	check(CompletionFields(), func(s string) error { _, err := DecodeCompletion([]byte(s)); return err })
}
