package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/bench"
	"weir/internal/host"
	"weir/internal/weights"
)

// mediumFile is a model's file of some megabytes, written as most files are: in small pages.
func mediumFile(t *testing.T) *weights.File {
	t.Helper()
	shape, err := bench.ParseShape("llama-68m")
	if err != nil {
		t.Fatal(err)
	}
	quant, err := bench.ParseQuant("q4_0")
	if err != nil {
		t.Fatal(err)
	}
	m, err := bench.Random(shape, quant)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path + ".small.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for at := 0; at < len(data); at += 4096 {
		if _, err := file.Write(data[at:min(at+4096, len(data))]); err != nil {
			t.Fatal(err)
		}
	}
	f, err := weights.Open(file.Name(), weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestEnlargeWithinMemory: weights are copied where --load and memory allow it, and nobody is left in the dark.
func TestEnlargeWithinMemory(t *testing.T) {
	if !host.New("/").LargePages() {
		t.Skip("the kernel has no large pages to ask for")
	}
	f := mediumFile(t)
	said := ""
	log := func(msg string, args ...any) { said += msg + fmt.Sprint(args...) + "\n" }
	for _, c := range []struct {
		load    string
		reserve int64
		want    string
	}{
		{"mmap", 0, ""}, {"read", 0, ""},
		{"large", math.MaxInt64 / 2, "no room for a copy"},
		{"large", 0, "weights are in large pages"},
	} {
		said = ""
		enlarge(t.Context(), c.load, c.reserve, log, f)
		if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("--load %s with %d in reserve said %q, want %q", c.load, c.reserve, said, c.want)
		}
	}
	small, err := weights.Open(smallFile(t), weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	said = ""
	if enlarge(t.Context(), "large", 0, log, small); !strings.Contains(said, "no weights are copied") {
		t.Errorf("of a file smaller than a page it said %q", said)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	said = ""
	if enlarge(ended, "large", 0, log, f); said != "" {
		t.Errorf("once ended it said %q", said)
	}
}
