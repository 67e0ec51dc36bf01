package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// level is an instruction set that kernels are built for.
type level struct {
	name   string
	goarch string
	source string   // main file in c/; the headers beside it may be included
	flags  []string // of clang
	again  []string // flags of an assembler that chooses the encoding where the compiler named one
}

// file names a generated file: z sorts it after what people wrote.
func (l level) file(ext string) string { return fmt.Sprintf("z%s_%s%s", l.name, l.goarch, ext) }

// Floating-point contraction stays off: where a fused multiply-add is wanted the
// source says so, and sums have one order on every machine.
var common = []string{"-O3", "-std=c11", "-ffreestanding", "-fPIE", "-fvisibility=hidden", "-ffp-contract=off",
	"-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-jump-tables", "-fstack-usage",
	"-fno-math-errno", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"}

// amd64 code must leave no trace below the stack pointer: Go's signal handlers
// run on the goroutine's stack until they switch. Trampolines align the stack to lines:
// what the compiler keeps there must cross none, nor pages, which takes several times as long.
var amd64 = []string{"--target=x86_64-unknown-linux-gnu", "-mno-red-zone", "-mprefer-vector-width=512", "-mstack-alignment=64"}

// arm64: x28 holds the goroutine, and signal handlers look at it; x18 belongs to
// the platform. The tiny code model reaches constants by their distance.
var arm64 = []string{"--target=aarch64-unknown-linux-gnu", "-mcmodel=tiny", "-ffixed-x28", "-ffixed-x18"}

var levels = []level{
	{name: "avx2", goarch: "amd64", source: "avx2.c", flags: append([]string{"-march=haswell"}, amd64...)},
	{name: "avxvnni", goarch: "amd64", source: "avxvnni.c", flags: append([]string{"-march=haswell", "-mavxvnni"}, amd64...)},
	{name: "avx512", goarch: "amd64", source: "avx512.c", flags: append([]string{"-march=cascadelake"}, amd64...)},
	{name: "avx512bf16", goarch: "amd64", source: "bf16.c", flags: append([]string{"-march=cooperlake"}, amd64...)},
	{name: "amx", goarch: "amd64", source: "amx.c", flags: append([]string{"-march=cooperlake", "-mamx-tile", "-mamx-bf16"}, amd64...)},
	{name: "neon", goarch: "arm64", source: "neon.c", flags: append([]string{"-march=armv8.2-a+dotprod"}, arm64...)},
	{name: "neonbf16", goarch: "arm64", source: "neonbf16.c", flags: append([]string{"-march=armv8.2-a+dotprod+bf16+i8mm"}, arm64...)},
}

// chosen is all levels or, for a test, level avxvnni in the encoding that processors with
// AVX-512 run.
func chosen(vnni512 bool) []level {
	if !vnni512 {
		return levels
	}
	i := slices.IndexFunc(levels, func(l level) bool { return l.name == "avxvnni" })
	l := levels[i]
	l.again = []string{"--target=x86_64-unknown-linux-gnu", "-march=haswell", "-mavx512vl", "-mavx512vnni"}
	return []level{l}
}

// tools are the programs and the version that their output depends on.
type tools struct {
	clang, lld, objdump string
	version             string
}

// clangMajor is the pinned compiler; another may give other code.
const clangMajor = "22"

func findTools() (tools, error) {
	t := tools{clang: "clang-" + clangMajor, lld: "ld.lld-" + clangMajor, objdump: "llvm-objdump-" + clangMajor}
	for _, name := range []string{t.clang, t.lld, t.objdump} {
		if _, err := exec.LookPath(name); err != nil {
			return t, fmt.Errorf("%s is not installed; on Debian: apt-get install clang-%[2]s lld-%[2]s llvm-%[2]s", name, clangMajor)
		}
	}
	out, err := exec.Command(t.clang, "--version").Output()
	if err != nil {
		return t, fmt.Errorf("asking %s for its version: %w", t.clang, err)
	}
	v := regexp.MustCompile(`version (\d+\.\d+\.\d+)`).FindSubmatch(out)
	if v == nil {
		return t, fmt.Errorf("%s does not tell its version", t.clang)
	}
	t.version = "clang " + string(v[1])
	return t, nil
}

// readSources names the level's source and hashes it, what it includes of the
// package, and the flags: whatever the output depends on besides the compiler.
func readSources(t tools, dir string, l level) (string, string, error) {
	main := filepath.Join(dir, "c", l.source)
	args := append(slices.Clone(common), l.flags...)
	rule, err := exec.Command(t.clang, append(args, "-MM", main)...).Output()
	if err != nil {
		return "", "", fmt.Errorf("%s -MM %s: %w", t.clang, main, err)
	}
	_, list, _ := strings.Cut(string(rule), ":")
	files := strings.Fields(strings.ReplaceAll(list, "\\\n", " "))
	slices.Sort(files)
	h := sha256.New()
	fmt.Fprintln(h, strings.Join(append(args, l.again...), " "))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(f), len(data), data)
	}
	return main, fmt.Sprintf("%x", h.Sum(nil)), nil
}
