package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// settings give flags their values from the environment and a YAML file. Each
// option has one name: --max-queue is WEIR_MAX_QUEUE and max-queue. The flag
// wins over the environment, the environment over the file.
type settings struct {
	file   string
	values map[string]any
	env    map[string]string // the WEIR_ variables that are set to something
	used   map[string]string // by flag that took its value from here: from where
	lines  map[string]int    // by key of the file: its line

	environ []string // the whole environment
}

// loadSettings finds and reads the file. The flag that names it has to be found
// before the flags are parsed, since the parse needs the file's values.
func loadSettings(args, env []string) (*settings, error) {
	s := &settings{env: map[string]string{}, values: map[string]any{}, used: map[string]string{}, environ: env}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "WEIR_") && value != "" && !isServiceLink(name, value) {
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
		return nil, fmt.Errorf("reading the file of options: %w", err)
	}
	s.file = path
	if err := readYAML(data, &s.values); err != nil {
		return nil, fmt.Errorf("%s is not YAML lines of `option: value`: %s", path, strings.TrimSpace(err.Error()))
	}
	s.lines = keyLines(data)
	return s, nil
}

// readYAML reads a file of options. The library panics on some texts that are no
// YAML, and options are read again while a server runs.
func readYAML(data []byte, into *map[string]any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the reader of YAML broke on it: %v", p)
		}
	}()
	return yaml.Unmarshal(data, into)
}

// keyLines tells on which line of a file each key is.
func keyLines(data []byte) map[string]int {
	lines := map[string]int{}
	file, err := parser.ParseBytes(data, 0)
	if err != nil || len(file.Docs) == 0 {
		return lines
	}
	for _, n := range mappings(file.Docs[0].Body) {
		lines[n.Key.GetToken().Value] = n.Key.GetToken().Position.Line
	}
	return lines
}

func mappings(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode: // a file of one line
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// These match what Kubernetes puts into the environment of each container for a
// service named weir or weir-something: above all WEIR_PORT, an address there.
var (
	serviceLink  = regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	serviceValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceValue.MatchString(value)
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

// commandLineOnly are flags that say what to do rather than how.
var commandLineOnly = []string{"help", "version", "config"}

// Resolve gives a flag that the command line leaves out its value.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if slices.Contains(commandLineOnly, flag.Name) {
		return nil, nil
	}
	if v, ok := s.env[envName(flag.Name)]; ok {
		s.used[flag.Name] = envName(flag.Name)
		return v, nil
	}
	v, ok := s.values[flag.Name]
	if !ok {
		return nil, nil
	}
	s.used[flag.Name] = s.file + ": " + flag.Name
	switch v := v.(type) {
	case []any:
		if _, words := flag.Target.Interface().(wordList); words {
			return joinWords(v)
		}
		return nil, errors.New("one value is wanted, not a list")
	case map[string]any:
		return nil, errors.New("a value is wanted, not a mapping")
	case nil:
		return nil, errors.New("the value is missing")
	}
	return fmt.Sprint(v), nil
}

// joinWords writes a list of a file as a flag has it.
func joinWords(list []any) (any, error) {
	var words []string
	for _, w := range list {
		s, ok := w.(string)
		if !ok || strings.Contains(s, ",") {
			return nil, fmt.Errorf("a list of words is wanted; %v is none", w)
		}
		words = append(words, s)
	}
	return strings.Join(words, ","), nil
}

// explain words an error of the parser: it is about a flag, but the user may
// have set it elsewhere.
func (s *settings) explain(err error, app *kong.Application) string {
	message := err.Error()
	for _, verb := range app.Children {
		message = strings.TrimPrefix(message, verb.Name+": ")
	}
	for flag, from := range s.used {
		if rest, ok := strings.CutPrefix(message, "--"+flag); ok && strings.IndexAny(rest, ": ") == 0 {
			return from + rest
		}
	}
	return message
}

// Validate refuses keys of the file that no verb has, and says which was meant.
// (An option of another verb is fine: one file serves them all.)
func (s *settings) Validate(app *kong.Application) error {
	known := flagNames(app.Node)
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if slices.Contains(commandLineOnly, key) {
			return fmt.Errorf("%s: %s can't be set in a file", s.file, key)
		}
		if !slices.Contains(known, key) {
			return fmt.Errorf("%s: %q is not an option%s", s.file, key, didYouMean(key, known, seeHelp))
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
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s is set in the environment but is not an option%s", name, didYouMean(name, names, seeHelp))
		}
	}
	return nil
}

// testVariables belong to weir's own tests.
var testVariables = []string{"WEIR_SHARED"}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		if !slices.Contains(commandLineOnly, f.Name) {
			names = append(names, f.Name)
		}
	}
	for _, child := range n.Children {
		names = append(names, flagNames(child)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const seeHelp = "`weir COMMAND --help` lists them"

// didYouMean names the nearest of known if one is near: one that the word
// begins, or one that few letters change into. Else it points to the list.
func didYouMean(word string, known []string, list string) string {
	best, at := 1+min(3, len(word)/2), ""
	for _, k := range known {
		d := distance(word, k)
		if len(word) > 1 && strings.HasPrefix(k, word) {
			d = 0
		}
		if d < best {
			best, at = d, k
		}
	}
	if at == "" {
		return "; " + list
	}
	return fmt.Sprintf("; did you mean %s?", at)
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
