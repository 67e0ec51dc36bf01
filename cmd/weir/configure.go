package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
)

// configCmd is about options: where they come from, and whether they are right.
type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Check a file of options: each name and each value."`
	Show   configShowCmd   `cmd:"" help:"Show each option of a command, its value, and where that comes from."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON schema of the file of options, for editors."`
}

type configCheckCmd struct {
	File string `arg:"" optional:"" help:"The file (default: the one that is used)." placeholder:"FILE"`
}

type configShowCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"A command and its options, as they would be given (default: serve)."`
}

type configSchemaCmd struct{}

// configured are the commands that a file of options is for, with the arguments
// that they need.
var configured = [][]string{{"serve"}, {"run"}, {"show"}, {"bench", "engine"}}

// Run checks the file as every command would read it.
func (c *configCheckCmd) Run(io streams, s *settings) error {
	var general []string
	if c.File != "" {
		general = []string{"--config", c.File}
	}
	file := ""
	for _, verb := range configured {
		_, _, inner, err := parseFor(slices.Concat(verb, general), s.environ)
		if err != nil {
			return codedError{err, exitUsage}
		}
		file = inner.file
	}
	if file == "" {
		fmt.Fprintln(io.out, "there is no file of options; the environment is right")
		return nil
	}
	fmt.Fprintf(io.out, "%s is right\n", file)
	return nil
}

// parseFor parses a command line as main does, without running anything.
func parseFor(args, env []string) (*kong.Context, *kong.Kong, *settings, error) {
	s, err := loadSettings(args, env)
	if err != nil {
		return nil, nil, nil, err
	}
	var c cli
	parser, exit, err := newParser(&c, streams{out: io.Discard, err: io.Discard}, s)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, nil, nil, errors.New(s.explain(err, parser.Model))
	}
	if exit.done {
		return nil, nil, nil, errors.New("give a command and its options, without --help")
	}
	return ctx, parser, s, nil
}

// Run shows the options of a command as they would be.
func (c *configShowCmd) Run(io streams, s *settings) error {
	args := c.Args
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"serve"}, args...)
	}
	ctx, _, inner, err := parseFor(args, s.environ)
	if err != nil {
		return codedError{err, exitUsage}
	}
	w := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	given := map[string]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag.Name] = true
		}
	}
	for _, f := range ctx.Flags() {
		if slices.Contains(commandLineOnly, f.Name) {
			continue
		}
		from := "default"
		switch {
		case given[f.Name]:
			from = "command line"
		case inner.used[f.Name] != "":
			from = inner.origin(f.Name)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, shown(f), from)
	}
	return w.Flush()
}

// origin tells where an option's value comes from.
func (s *settings) origin(flag string) string {
	if line := s.lines[flag]; line > 0 && s.env[envName(flag)] == "" {
		return fmt.Sprintf("%s:%d", s.file, line)
	}
	return s.used[flag]
}

// secretFlags have values that are not shown.
var secretFlags = []string{"api-key"}

// shown is a flag's value for people.
func shown(f *kong.Flag) string {
	v := f.Target
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "-"
		}
		v = v.Elem()
	}
	text := fmt.Sprint(v.Interface())
	if words, ok := v.Interface().(wordList); ok {
		text = strings.Join(words, ",")
	}
	switch {
	case text == "":
		return "-"
	case slices.Contains(secretFlags, f.Name):
		return "(set, not shown)"
	}
	return text
}

// String is a size as people write it.
func (m memorySize) String() string {
	if m.share > 0 {
		return fmt.Sprintf("%g%%", m.share*100)
	}
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if m.bytes >= u.size && m.bytes%u.size == 0 {
			return fmt.Sprintf("%d%s", m.bytes/u.size, u.name)
		}
	}
	return fmt.Sprint(m.bytes)
}

// Run prints the schema.
func (*configSchemaCmd) Run(to streams) error {
	var c cli
	parser, _, err := newParser(&c, streams{out: io.Discard, err: io.Discard}, &settings{})
	if err != nil {
		return err
	}
	b, err := schemaOf(parser.Model)
	if err != nil {
		return err
	}
	_, err = to.out.Write(b)
	return err
}

// property is an option in the schema.
type property struct {
	Description string   `json:"description"`
	Type        any      `json:"type"`
	Items       any      `json:"items,omitempty"`
	Enum        []string `json:"enum,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	Default     any      `json:"default,omitempty"`
}

// schemaOf makes the JSON schema of a file with every command's options.
func schemaOf(app *kong.Application) ([]byte, error) {
	properties := map[string]property{}
	for name, f := range allFlags(app.Node) {
		properties[name] = propertyOf(f)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "weir's file of options",
		"type":                 "object",
		"additionalProperties": false,
		"properties":           properties,
	})
	return b.Bytes(), err
}

// allFlags gives every command's options that a file may have.
func allFlags(n *kong.Node) map[string]*kong.Flag {
	flags := map[string]*kong.Flag{}
	for _, f := range n.Flags {
		if !slices.Contains(commandLineOnly, f.Name) {
			flags[f.Name] = f
		}
	}
	for _, child := range n.Children {
		for name, f := range allFlags(child) {
			flags[name] = f
		}
	}
	return flags
}

const (
	durationPattern = `^(0|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$`
	sizePattern     = `^\s*[0-9.]+\s*(%|[kKmMgGtT]?([iI]?[bB])?)\s*$`
)

// propertyOf describes an option's values.
func propertyOf(f *kong.Flag) property {
	p := property{Description: f.Help}
	t := f.Target.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[memorySize]():
		p.Type, p.Pattern = []string{"string", "integer"}, sizePattern
	case t == reflect.TypeFor[time.Duration]():
		p.Type, p.Pattern = []string{"string", "integer"}, durationPattern
	case t == reflect.TypeFor[wordList]():
		p.Type, p.Items = []string{"string", "array"}, map[string]string{"type": "string"}
	case t.Kind() == reflect.Bool:
		p.Type = "boolean"
	case t.Kind() == reflect.Float64:
		p.Type = "number"
	case t.Kind() == reflect.String:
		p.Type = "string"
	default:
		p.Type = "integer"
	}
	if f.Enum != "" {
		p.Enum = strings.Split(f.Enum, ",")
	}
	if f.HasDefault && f.Default != "" {
		p.Default = defaultOf(p.Type, f.Default)
	}
	return p
}

// defaultOf gives a default the type of its option.
func defaultOf(kind any, text string) any {
	if kind != "integer" && kind != "number" && kind != "boolean" {
		return text
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return text
	}
	return v
}
