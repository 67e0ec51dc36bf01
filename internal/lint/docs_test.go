package lint

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	codeBlock  = regexp.MustCompile("(?s)```.*?```")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	link       = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	lineNumber = regexp.MustCompile(`^L\d`)
)

// TestDocs checks that links in the documents lead somewhere. Links to the web
// are not followed.
func TestDocs(t *testing.T) {
	n := 0
	walk(t, func(name string) {
		if path.Ext(name) != ".md" {
			return
		}
		n++
		text := codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(string(read(t, name)), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") && !strings.HasPrefix(m[1], "mailto:") {
				checkLink(t, name, m[1])
			}
		}
	})
	if n == 0 {
		t.Error("no documents found: the walk is broken")
	}
}

func checkLink(t *testing.T, from, to string) {
	t.Helper()
	file, anchor, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
	}
	if _, err := os.Stat(filepath.Join(module(t), filepath.FromSlash(target))); err != nil {
		t.Errorf("%s links to %s, which does not exist", from, to)
		return
	}
	switch {
	case anchor == "":
	case lineNumber.MatchString(anchor):
		t.Errorf("%s links to %s: lines move; link the file and name the symbol", from, to)
	case path.Ext(target) == ".md" && !anchors(string(read(t, target)))[anchor]:
		t.Errorf("%s links to %s, but %s has no such heading", from, to, target)
	}
}

// anchors returns the names that a document's headings get: lower case, without
// punctuation, blanks as hyphens.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(m[1]))] = true
	}
	return names
}

func TestAnchors(t *testing.T) {
	got := anchors("# Why? A `code` heading\n```\n# comment\n```\n## The life of a request\n")
	for _, want := range []string{"why-a-code-heading", "the-life-of-a-request"} {
		if !got[want] {
			t.Errorf("no anchor %s in %v", want, got)
		}
	}
	if got["comment"] {
		t.Error("a comment in code counts as a heading")
	}
}
