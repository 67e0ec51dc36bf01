package lint

import (
	"path"
	"strings"
	"testing"
)

// layers are the packages from the bottom up: a package may import those of
// lower layers only. A folder below a listed one belongs to it, and may import
// its parent and be imported by it (backend/cpu implements backend, chat is
// built on chat/jinja). why says what is lost if something below, or beside,
// imports a package of the layer.
var layers = []struct {
	packages []string
	why      string
}{
	{[]string{"internal/llm", "internal/exact"},
		"one is the vocabulary and the other the arithmetic that everything shares"},
	{[]string{"internal/host", "internal/diagnose"},
		"facts about the machine and its logs are for those who plan and report; what computes is told a budget"},
	{[]string{"internal/weights", "internal/token", "internal/hub", "internal/builtin"},
		"files and formats know nothing of each other, so that each reader is tested and fuzzed alone; model and engine bring them together"},
	{[]string{"internal/backend"},
		"it computes, and what decides must not need a device to be tested"},
	{[]string{"internal/kv", "internal/sample", "internal/grammar", "internal/chat"},
		"each turns plain data into plain data and is tested without the others; the engine connects them"},
	{[]string{"internal/model"},
		"a family is a forward pass over backend operations: it must not know who asks, schedules or samples"},
	{[]string{"internal/sched", "internal/spec"},
		"policy is pure; the engine acts on it, not the other way round"},
	{[]string{"internal/engine", "internal/driver"},
		"they implement llm.Generator, and nothing below knows who serves"},
	{[]string{"internal/router"},
		"it picks a generator; a generator that knew of others could not be driven alone"},
	{[]string{"internal/auth", "internal/metrics", "internal/trace"},
		"they know callers, counts and spans, whatever is asked and by whatever protocol; what computes reports and is not watched"},
	{[]string{"internal/openai", "internal/anthropic", "internal/ollama"},
		"a dialect is a pure translation to and from llm: what computes must not depend on how it was asked"},
	{[]string{"internal/server"},
		"HTTP stays in one place; nothing below may depend on there being a server"},
	{[]string{"internal/bench", "internal/doctor"},
		"they measure and check the rest from outside"},
	{[]string{"cmd", "tools", "deploy"},
		"programs compose packages; nothing imports a program"},
	{[]string{"internal/lint"},
		"it holds tests only"},
}

// bans are imports that a package must not have whatever its layer. A path that
// ends in /... stands for what is below it too.
var bans = []struct {
	packages []string // where; except says where not
	except   []string
	imports  []string
	harmless string // names of the import that may be used all the same begin with this
	why      string
}{
	{
		packages: []string{"internal/kv", "internal/sample", "internal/grammar", "internal/chat", "internal/sched", "internal/spec",
			"internal/openai", "internal/anthropic", "internal/ollama", "internal/llm", "internal/model", "internal/token"},
		imports:  []string{"os", "os/exec", "os/signal", "net", "net/http", "syscall", "io/ioutil"},
		harmless: "Status", // of net/http, which a dialect maps errors to
		why:      "it is pure: it decides or translates and others act, so that its tests need nothing and untrusted input reaches no file and no socket",
	},
	{
		packages: []string{"internal"},
		except:   []string{"internal/server", "internal/driver", "internal/bench", "internal/doctor", "internal/hub"},
		imports:  []string{"net/http"},
		harmless: "Status",
		why:      "HTTP belongs to the server, to clients of other servers, and to downloads",
	},
	{
		packages: []string{"internal"},
		except:   []string{"internal/driver", "internal/doctor", "internal/lint"},
		imports:  []string{"os/exec"},
		why:      "only drivers supervise processes: a process that nobody supervises outlives weir",
	},
	{
		packages: []string{"internal"},
		except:   []string{"internal/backend", "internal/weights", "internal/host"},
		imports:  []string{"unsafe"},
		why:      "memory off the Go heap is handled by those that own it",
	},
	{
		packages: []string{"internal", "cmd", "tools"},
		imports:  []string{"C"},
		why:      "weir builds with Go alone (CGO_ENABLED=0)",
	},
	{
		packages: []string{"internal", "cmd"},
		imports:  []string{"log"},
		why:      "logs go through log/slog, with levels and fields",
	},
	{
		packages: []string{"internal", "cmd", "tools"},
		imports:  []string{"math/rand"},
		why:      "math/rand/v2 has generators whose numbers a seed fixes for good",
	},
	{
		packages: []string{"internal", "cmd"},
		imports:  []string{"github.com/gpustack/gguf-parser-go/...", "github.com/openai/openai-go/..."},
		why:      "they are oracles and clients for tests, and stay out of the binary",
	},
	{
		packages: []string{"internal", "cmd"},
		imports:  []string{"weir/internal/backend/backendtest/...", "weir/internal/model/modeltest/..."},
		why:      "it is for tests and stays out of the binary",
	},
}

// layerOf returns the layer of a package's folder and the listed folder that it
// belongs to.
func layerOf(dir string) (layer int, element string, ok bool) {
	for i, l := range layers {
		for _, p := range l.packages {
			if within(dir, p) {
				return i, p, true
			}
		}
	}
	return 0, "", false
}

// within tells whether a path is another or below it.
func within(p, parent string) bool { return p == parent || strings.HasPrefix(p, parent+"/") }

func TestLayout(t *testing.T) {
	for _, s := range sources(t) {
		layer, element, ok := layerOf(s.dir)
		if !ok {
			t.Errorf("%s: package %s is not in the layout. A package that outgrows it is added on purpose: to docs/architecture.md and to the layers in internal/lint", s.path, s.dir)
			continue
		}
		for _, imp := range s.file.Imports {
			target, inModule := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), "weir/")
			if !inModule {
				continue
			}
			layer2, element2, ok := layerOf(target)
			switch {
			case !ok:
				t.Errorf("%s:%d imports %s, which is not in the layout", s.path, s.line(imp), target)
			case element == element2, layer2 < layer:
			case layer2 == layer && s.tests:
				// Tests may bring neighbours together: a tokeniser's need a
				// reader of vocabularies.
			case layer2 == layer:
				t.Errorf("%s:%d: %s imports %s, which stands on the same line: %s", s.path, s.line(imp), element, target, layers[layer2].why)
			default:
				t.Errorf("%s:%d: %s imports %s, which stands above it: %s", s.path, s.line(imp), element, target, layers[layer2].why)
			}
		}
	}
}

func TestBans(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests {
			continue
		}
		for _, b := range bans {
			if !withinAny(s.dir, b.packages) || withinAny(s.dir, b.except) {
				continue
			}
			for _, imp := range s.file.Imports {
				p := strings.Trim(imp.Path.Value, `"`)
				if matches(p, b.imports) && !s.usesOnly(p, b.harmless) {
					t.Errorf("%s:%d: %s imports %s: %s", s.path, s.line(imp), s.dir, p, b.why)
				}
			}
		}
	}
}

func withinAny(dir string, parents []string) bool {
	for _, p := range parents {
		if within(dir, p) {
			return true
		}
	}
	return false
}

// matches tells whether an import path is one of those listed.
func matches(p string, list []string) bool {
	for _, l := range list {
		if base, below := strings.CutSuffix(l, "/..."); p == l || below && within(p, base) {
			return true
		}
	}
	return false
}

// TestLayoutIsDrawn checks that every package stands in the picture of
// docs/architecture.md, which people read.
func TestLayoutIsDrawn(t *testing.T) {
	picture := string(read(t, "docs/architecture.md"))
	seen := map[string]bool{}
	for _, s := range sources(t) {
		_, element, ok := layerOf(s.dir)
		if !ok || seen[element] || element == "internal/lint" {
			continue
		}
		seen[element] = true
		if !strings.Contains(picture, path.Base(element)) {
			t.Errorf("docs/architecture.md does not mention %s", element)
		}
	}
}
