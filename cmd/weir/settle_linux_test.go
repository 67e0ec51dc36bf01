package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/bench"
	"weir/internal/host"
	"weir/internal/model"
	"weir/internal/weights"
)

// mediumFile is a model's file of some megabytes, written as most files are: in small pages.
func mediumFile(t *testing.T, typ string) *weights.File {
	t.Helper()
	shape, err := bench.ParseShape("llama-68m")
	if err != nil {
		t.Fatal(err)
	}
	quant, err := bench.ParseQuant(typ)
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
	f := mediumFile(t, "q4_0")
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

// TestCompactWithinMemory: BF16 weights are kept in fewer bytes where --load and memory allow it, and the file's pages are given back.
func TestCompactWithinMemory(t *testing.T) {
	if len(kern.Levels()) == 1 {
		t.Skip("needs a processor level with kernels: this machine has the portable one only")
	}
	f := mediumFile(t, "bf16")
	said := ""
	log := func(msg string, args ...any) { said += msg + fmt.Sprint(args...) + "\n" }
	b, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := model.Load(f, b, model.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Prefetch(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		load    string
		reserve int64
		want    string
	}{
		{"mmap", 0, ""}, {"read", 0, ""},
		{"compact", math.MaxInt64 / 2, "BF16 weights stay as the file has them: memory has no room"},
		{"compact", 0, "BF16 weights are compact"},
		{"compact", 0, ""}, // they are already
	} {
		said = ""
		_, before := residentBytes()
		settle(t.Context(), c.load, b, c.reserve, log, f)
		if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("--load %s with %d in reserve said %q, want %q", c.load, c.reserve, said, c.want)
		}
		if _, after := residentBytes(); c.want == "BF16 weights are compact" && after > before-f.Bytes()*3/4 {
			t.Errorf("of a file of %d bytes, and others, %d are resident, before %d", f.Bytes(), after, before)
		}
	}
}
