package chat

import (
	"embed"
	"path"
	"strings"
)

// Templates for models that come without one, by the name that people call the
// format by. They are written for this project; tests compare them with the
// templates that models ship.
//
//go:embed bundled/*.jinja
var bundled embed.FS

// Bundled gives the template of a format, and whether there is one.
func Bundled(name string) (source string, ok bool) {
	if strings.ContainsAny(name, "/\\") {
		return "", false
	}
	b, err := bundled.ReadFile("bundled/" + name + ".jinja")
	return strings.TrimSuffix(string(b), "\n"), err == nil
}

// BundledNames lists the formats, sorted.
func BundledNames() []string {
	files, err := bundled.ReadDir("bundled")
	if err != nil {
		panic("chat: internal error: the templates are not embedded: " + err.Error())
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), path.Ext(f.Name())))
	}
	return names
}

// marks are the tokens by which a vocabulary shows a format.
var marks = []struct {
	format string
	tokens []string
}{
	{"chatml", []string{"<|im_start|>", "<|im_end|>"}},
	{"llama3", []string{"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
	{"gemma", []string{"<start_of_turn>", "<end_of_turn>"}},
	{"phi3", []string{"<|user|>", "<|assistant|>", "<|end|>"}},
	{"mistral", []string{"[INST]", "[/INST]"}},
}

// Likely names the format whose marks a vocabulary has; "": none. It is a hint and
// no more: base models have the marks, too, and have never learnt what they mean.
func Likely(has func(token string) bool) string {
next:
	for _, m := range marks {
		for _, t := range m.tokens {
			if !has(t) {
				continue next
			}
		}
		return m.format
	}
	return ""
}
