package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// verb runs weir and gives what it prints.
func verb(t *testing.T, env []string, args ...string) (code int, out, errs string) {
	t.Helper()
	nowhere(t)
	var o, e bytes.Buffer
	code = run(args, streams{out: &o, err: &e}, env)
	return code, o.String(), e.String()
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigShow(t *testing.T) {
	file := configFile(t, "# ours\nport: 1\nmax-running: 11\n\nmemory: 50%\ncors-origins: [https://a.example, https://b.example]\n")
	code, out, errs := verb(t, []string{"WEIR_MAX_RUNNING=22", "WEIR_API_KEY=weir-0123456789-0123456789-0123"}, "config", "show", "serve", "--config", file, "--keep-alive", "0")
	if code != exitOK {
		t.Fatalf("%d %s", code, errs)
	}
	for _, want := range []string{
		"port 1 " + file + ":2", "max-running 22 WEIR_MAX_RUNNING", "memory 50% " + file + ":5", "keep-alive 0s command line",
		"page-size 16 default", "name - default", "api-key (set, not shown) WEIR_API_KEY", "max-body 32MiB default",
		"cors-origins https://a.example,https://b.example " + file + ":6", "batch-tokens - default", "log-level info default",
	} {
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.Join(strings.Fields(line), " ") == want }) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "0123456789") {
		t.Error("a key is shown")
	}
	if code, out, _ := verb(t, nil, "config", "show"); code != exitOK || !strings.Contains(out, "port") {
		t.Errorf("serve is not what is shown by itself: %d %s", code, out)
	}
	if code, out, _ := verb(t, nil, "config", "show", "run", "--ctx", "99"); code != exitOK || strings.Contains(out, "drain-timeout") {
		t.Errorf("run: %d %s", code, out)
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		file string
		code int
		want string
	}{
		{"port: 8081\nmax-running: 8\n", exitOK, "is right"},
		{"prot: 8081\n", exitUsage, "did you mean port?"},
		{"port: [1]\n", exitUsage, "not a list"},
		{"port: many\n", exitUsage, "port: \"many\" is not a whole number"},
		{"max-running: 0\n", exitUsage, "max-running is 0"},
		{"port: 1\nport: 2\n", exitUsage, "already"},
		{"{", exitUsage, "is not YAML"},
		{"tls-cert: x\n", exitUsage, "belong together"},
	} {
		code, out, errs := verb(t, nil, "config", "check", configFile(t, c.file))
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%q: %d %s%s, want %d %s", c.file, code, out, errs, c.code, c.want)
		}
	}
	if code, out, _ := verb(t, nil, "config", "check"); code != exitOK || !strings.Contains(out, "there is no file") {
		t.Errorf("without a file: %d %s", code, out)
	}
	if code, _, errs := verb(t, []string{"WEIR_PROT=1"}, "config", "check"); code != exitUsage || !strings.Contains(errs, "WEIR_PORT") {
		t.Errorf("a misspelt variable: %d %s", code, errs)
	}
}

// TestSchema holds docs/config.schema.json and docs/config.md to the options.
func TestSchema(t *testing.T) {
	code, schema, errs := verb(t, nil, "config", "schema")
	if code != exitOK {
		t.Fatal(errs)
	}
	compare(t, "../../docs/config.schema.json", schema)
	compare(t, "../../docs/config.md", configDoc(t))
}

func compare(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the options say (%v): go test ./cmd/weir -run Schema -update writes it anew", filepath.Base(file), err)
	}
}

const configHead = `# Options

Each option has one name. ` + "`--max-running 32`" + ` on the command line, ` + "`WEIR_MAX_RUNNING=32`" + `
in the environment and ` + "`max-running: 32`" + ` in a YAML file are the same; the first of them
wins. The file is the one of ` + "`--config`" + `, else ` + "`weir/config.yaml`" + ` in your configuration
folder. One file serves every command.

` + "```sh" + `
weir config check FILE     # each name and each value; the nearest name for one that is unknown
weir config show serve     # each option's value, and where it comes from
weir config schema         # the JSON schema, which is docs/config.schema.json too
` + "```" + `

Editors complete and check the file when its first line names the schema:

` + "```yaml" + `
# yaml-language-server: $schema=config.schema.json
port: 8080
max-running: 32
keys: /etc/weir/keys.yaml
` + "```" + `

This page and the schema are made from the options; a test keeps them equal.

`

// configDoc makes docs/config.md.
func configDoc(t *testing.T) string {
	t.Helper()
	var c cli
	p, _, err := newParser(&c, streams{}, &settings{})
	if err != nil {
		t.Fatal(err)
	}
	groups, commands := map[string][]*kong.Flag{}, map[string][]string{}
	for _, f := range allFlags(p.Model.Node) {
		name := "Command's own"
		if f.Group != nil {
			name = f.Group.Key
		}
		groups[name] = append(groups[name], f)
	}
	for _, cmd := range p.Model.Leaves(true) {
		for _, f := range cmd.Flags {
			commands[f.Name] = append(commands[f.Name], strings.TrimPrefix(cmd.Path(), "weir "))
		}
	}
	names := make([]string, 0, len(groups))
	for g := range groups {
		names = append(names, g)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString(configHead)
	for _, g := range names {
		fmt.Fprintf(&b, "## %s\n\n| option | of | default | |\n|---|---|---|---|\n", g)
		slices.SortFunc(groups[g], func(x, y *kong.Flag) int { return strings.Compare(x.Name, y.Name) })
		for _, f := range groups[g] {
			of := strings.Join(commands[f.Name], ", ")
			if len(commands[f.Name]) == 0 {
				of = "all"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, of, f.Default, strings.ReplaceAll(strings.ReplaceAll(f.Help, "|", "\\|"), "*", "\\*"))
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// TestSchemaAgrees: what weir takes the schema takes, and the other way round.
func TestSchemaAgrees(t *testing.T) {
	_, text, _ := verb(t, nil, "config", "schema")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	for file, right := range map[string]bool{
		"port: 1\nmemory: 12GiB\nkeep-alive: 0\ndrain-timeout: 1m30s\nprefix-cache: false\n":   true,
		"memory: 80%\ncors-origins: [https://a.example]\ntrace-sample: 0.5\nlog-level: warn\n": true,
		"allow-hosts: a,b\nmax-body: 1048576\n":                                                true,
		"prot: 1\n":                                                                            false,
		"port: x\n":                                                                            false,
		"log-level: loud\n":                                                                    false,
		"keep-alive: soon\n":                                                                   false,
		"memory: lots\n":                                                                       false,
		"port: [1]\n":                                                                          false,
		"prefix-cache: maybe\n":                                                                false,
	} {
		code, _, errs := verb(t, nil, "config", "check", configFile(t, file))
		if (code == exitOK) != right {
			t.Errorf("%q: weir says %s", file, errs)
		}
		var v any
		if err := yaml.Unmarshal([]byte(file), &v); err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(v)
		value, _ := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err := schema.Validate(value); (err == nil) != right {
			t.Errorf("%q: the schema says %v", file, err)
		}
	}
}

func TestMemorySizeString(t *testing.T) {
	for _, text := range []string{"12GiB", "80%", "0.5%", "32MiB", "1536", "3KiB", "2TiB"} {
		m, err := parseMemory(text)
		if err != nil || m.String() != text {
			t.Errorf("%s is shown as %s, %v", text, m, err)
		}
	}
}

// FuzzOptions: whatever the file of options holds, it is taken or refused.
func FuzzOptions(f *testing.F) {
	for _, seed := range []string{"port: 1\n", "! 0", "a: &x 1\nb: *x\n", "- 1", "{", "cors-origins: [a, b]\n", "? : :", "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values := map[string]any{}
		if readYAML(data, &values) == nil {
			keyLines(data)
		}
	})
}
