package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	for text, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                                                                                      "Apache-2.0",
		"Permission is hereby granted, free of\ncharge, to ... THE SOFTWARE IS PROVIDED \"AS IS\"":                                          "MIT",
		"Redistribution and use in source and binary forms, with or without, are permitted provided that the following\nconditions are met": "BSD",
		"All rights reserved.": "",
	} {
		if got, err := classify([]byte(text)); got != want || err != nil {
			t.Errorf("%.40q is %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"GNU General Public License, version 3", "under the GNU\nAffero General Public License. Apache License Version 2.0"} {
		if got, err := classify([]byte(text)); err == nil {
			t.Errorf("%q is taken for %q", text, got)
		}
	}
}

func TestLicenceOf(t *testing.T) {
	dir := t.TempDir()
	if _, err := licenceOf(dir); err == nil {
		t.Error("a module without a licence is taken")
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE.md"), []byte("Apache License Version 2.0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := licenceOf(dir); err != nil || got != "Apache-2.0" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestWeir is the check itself, of what weir is built of.
func TestWeir(t *testing.T) {
	var b bytes.Buffer
	if err := run(&b, "weir/cmd/weir"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(b.String(), "github.com/alecthomas/kong") {
		t.Errorf("the list lacks what is surely linked:\n%s", &b)
	}
	if err := run(&b, "weir/no/such/package"); err == nil {
		t.Error("a package that is not there is taken")
	}
}
