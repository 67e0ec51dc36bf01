// Command licences lists the modules that are linked into a program with their
// licences, and fails for one that is not known to permit that. It reads the
// modules' own files and needs no network.
//
//	go run ./tools/licences ./cmd/weir
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licences PACKAGE")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// module is one that a package is built of.
type module struct{ path, version, dir string }

func run(w io.Writer, pkg string) error {
	modules, err := linked(pkg)
	if err != nil {
		return err
	}
	var bad []string
	for _, m := range modules {
		name, err := licenceOf(m.dir)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", m.path, err))
			continue
		}
		fmt.Fprintf(w, "%-13s %s %s\n", name, m.path, m.version)
	}
	if len(bad) > 0 {
		return errors.New("these may not be linked, or nobody has looked at their licence:\n" + strings.Join(bad, "\n"))
	}
	if len(modules) == 0 {
		return errors.New("no modules found: the list is broken")
	}
	return nil
}

// linked lists the other modules that a package is built of.
func linked(pkg string) ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing what %s is built of: %w", pkg, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	var modules []module
	for _, l := range slices.Compact(lines) {
		if f := strings.Split(l, "\t"); len(f) == 3 {
			modules = append(modules, module{f[0], f[1], f[2]})
		}
	}
	return modules, nil
}

// permitted are licences under which a module may be linked into weir, each with
// words that its text has and others' have not.
var permitted = []struct {
	name  string
	words []string
}{
	{"Apache-2.0", []string{"Apache License", "Version 2.0"}},
	{"MIT", []string{"Permission is hereby granted, free of charge", "THE SOFTWARE IS PROVIDED \"AS IS\""}},
	{"BSD", []string{"Redistribution and use in source and binary forms", "provided that the following conditions are met"}},
	{"ISC", []string{"Permission to use, copy, modify, and/or distribute this software"}},
}

// refused are words of licences that ask for more than a notice.
var refused = []string{"GNU GENERAL PUBLIC LICENSE", "GNU LESSER GENERAL PUBLIC", "GNU AFFERO", "Business Source License", "Server Side Public License", "Commons Clause"}

// licenceOf names the licence of the module in a folder.
func licenceOf(dir string) (string, error) {
	var files []string
	for _, pattern := range []string{"LICEN[SC]E*", "COPYING*", "licen[sc]e*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		files = append(files, found...)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a folder of that name
		}
		if name, err := classify(text); name != "" || err != nil {
			return name, err
		}
	}
	return "", errors.New("it has no licence that is known")
}

// classify names the licence of a text, "" if it is none that is known.
func classify(text []byte) (string, error) {
	flat := strings.Join(strings.Fields(string(bytes.ToValidUTF8(text, nil))), " ")
	for _, w := range refused {
		if strings.Contains(strings.ToUpper(flat), strings.ToUpper(w)) {
			return "", errors.New("its licence is the " + w)
		}
	}
	for _, p := range permitted {
		all := true
		for _, w := range p.words {
			all = all && strings.Contains(strings.ToLower(flat), strings.ToLower(w))
		}
		if all {
			return p.name, nil
		}
	}
	return "", nil
}
