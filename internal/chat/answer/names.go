package answer

import (
	"fmt"
	"strings"
)

// UnknownFormat is the error for a format that there is not.
func UnknownFormat(name string) error {
	var names []string
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return fmt.Errorf("there is no format of tool calls %q; there are %s", name, strings.Join(names, ", "))
}

// ThinkingNamed finds marks of thinking by name: that of their first, without its
// brackets. "" and "none" are no marks.
func ThinkingNamed(name string) (Thinking, error) {
	names := []string{"none"}
	for _, t := range thoughts {
		n := strings.ToLower(strings.Trim(t.Open, "<>[]"))
		if n == "think" && t.Open[0] == '[' {
			n = "mistral"
		}
		if n == name {
			return t, nil
		}
		names = append(names, n)
	}
	if name == "" || name == "none" {
		return Thinking{}, nil
	}
	return Thinking{}, fmt.Errorf("there are no marks of thinking called %q; there are %s", name, strings.Join(names, ", "))
}
