package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// settings give flags their values from the environment and a YAML file. Each
// option has one name: --max-queue is WEIR_MAX_QUEUE and max-queue. The flag
// wins over the environment, the environment over the file.
type settings struct {
	file   string
	values map[string]any
	env    map[string]string // the WEIR_ variables that are set to something
}

// loadSettings finds and reads the file. The flag that names it has to be found
// before the flags are parsed, since the parse needs the file's values.
func loadSettings(args, env []string) (*settings, error) {
	s := &settings{env: map[string]string{}, values: map[string]any{}}
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "WEIR_") && value != "" {
			s.env[name] = value
		}
	}
	path, asked := configPath(args, s.env["WEIR_CONFIG"])
	if path == "" {
		return s, nil
	}
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) && !asked {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	s.file = path
	if err := yaml.Unmarshal(data, &s.values); err != nil {
		return nil, fmt.Errorf("%s is not a YAML list of `option: value` lines: %w", path, err)
	}
	return s, nil
}

// configPath tells which file to read and whether the user named it.
func configPath(args []string, fromEnv string) (path string, asked bool) {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v, true
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1], true
		}
		if a == "--" {
			break
		}
	}
	if fromEnv != "" {
		return fromEnv, true
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", false // no home: no file
	}
	return filepath.Join(dir, "weir", "config.yaml"), false
}

func envName(flag string) string {
	return "WEIR_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Resolve gives a flag that the command line leaves out its value.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Name == "config" || flag.Name == "help" {
		return nil, nil
	}
	if v, ok := s.env[envName(flag.Name)]; ok {
		return v, nil
	}
	v, ok := s.values[flag.Name]
	if !ok {
		return nil, nil
	}
	switch v := v.(type) {
	case []any:
		var parts []string
		for _, p := range v {
			parts = append(parts, fmt.Sprint(p))
		}
		return strings.Join(parts, ","), nil
	case map[string]any, nil:
		return nil, fmt.Errorf("%s: option %q wants a plain value", s.file, flag.Name)
	}
	return fmt.Sprint(v), nil
}

// Validate refuses keys of the file that no verb has, and says which was meant.
// (An option of another verb is fine: one file serves them all.)
func (s *settings) Validate(app *kong.Application) error {
	known := flagNames(app.Node)
	for key := range s.values {
		if !slices.Contains(known, key) {
			return fmt.Errorf("%s: %q is not an option%s", s.file, key, didYouMean(key, known))
		}
	}
	return s.checkEnvironment(known)
}

// checkEnvironment refuses a WEIR_ variable that means nothing: a misspelt one
// would be ignored in silence otherwise.
func (s *settings) checkEnvironment(known []string) error {
	names := append([]string{"WEIR_CONFIG"}, testVariables...)
	for _, flag := range known {
		names = append(names, envName(flag))
	}
	for name := range s.env {
		if !slices.Contains(names, name) {
			return fmt.Errorf("the environment variable %s is not an option%s", name, didYouMean(name, names))
		}
	}
	return nil
}

// testVariables belong to weir's own tests.
var testVariables = []string{"WEIR_SHARED"}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		names = append(names, f.Name)
	}
	for _, child := range n.Children {
		names = append(names, flagNames(child)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// didYouMean names the nearest of known if one is near.
func didYouMean(word string, known []string) string {
	best, at := 4, ""
	for _, k := range known {
		if d := distance(word, k); d < best {
			best, at = d, k
		}
	}
	if at == "" {
		return "; `weir COMMAND --help` lists them"
	}
	return fmt.Sprintf("; did you mean %q?", at)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
