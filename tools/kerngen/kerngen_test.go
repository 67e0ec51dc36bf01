package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const preamble = `
#include <stdint.h>
#define KERNEL __attribute__((visibility("default"), used)) void
struct args { int64_t n, out; };
`

// kernels makes a package folder whose only level is amd64 with this source.
func kernels(t *testing.T, source string) (tools, string, level) {
	t.Helper()
	found, err := findTools()
	if err != nil {
		t.Skipf("needs the pinned compiler: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c", "k.c"), []byte(preamble+source), 0o600); err != nil {
		t.Fatal(err)
	}
	return found, dir, level{name: "test", goarch: "amd64", source: "k.c", flags: append([]string{"-march=haswell"}, amd64...)}
}

func TestGenerate(t *testing.T) {
	found, dir, l := kernels(t, `
		static const int64_t table[4] = {3, 5, 7, 11};
		KERNEL k_pick(struct args *p) { p->out = table[p->n & 3]; }
	`)
	files, err := generate(found, dir, l)
	if err != nil {
		t.Fatal(err)
	}
	code, decls := string(files["ztest_amd64.s"]), string(files["ztest_amd64.go"])
	for _, want := range []string{"DO NOT EDIT", "clang 22.", "sha256", "TEXT ·test_pick(SB)", "// k_pick", "// retq"} {
		if !strings.Contains(code, want) {
			t.Errorf("the assembly has no %q:\n%s", want, code)
		}
	}
	if !strings.Contains(decls, "//go:noescape\nfunc test_pick(args unsafe.Pointer)") {
		t.Errorf("declarations:\n%s", decls)
	}
	again, err := generate(found, dir, l)
	if err != nil || !bytes.Equal(again["ztest_amd64.s"], files["ztest_amd64.s"]) {
		t.Errorf("a second run gives something else (%v)", err)
	}
}

// What could not run inside a Go program is refused.
func TestGenerateRefuses(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"writable data": {"static int64_t calls; KERNEL k_f(struct args *p) { p->out = ++calls; }", "writable"},
		"exported data": {"int64_t calls; KERNEL k_f(struct args *p) { p->out = ++calls; }", "writable"},
		"a table of pointers": {`static int64_t one(int64_t n) { return n + 1; } static int64_t two(int64_t n) { return n * 2; }
			static int64_t (*const f[2])(int64_t) = {one, two}; KERNEL k_f(struct args *p) { p->out = f[p->n & 1](p->n); }`, "writable"},
		"an address of its own": {`KERNEL k_f(struct args *p) { int64_t at; __asm__("movabsq $k_f, %0" : "=r"(at)); p->out = at; }`, "relocation"},
		"a missing function":    {"int64_t strlen(const char *); KERNEL k_f(struct args *p) { p->out = strlen((char *)p); }", "strlen"},
		"a huge frame":          {"KERNEL k_f(struct args *p) { volatile char b[7000]; b[p->n] = 1; p->out = b[p->n + 1]; }", "bytes of stack"},
		"a frame without bound": {"KERNEL k_f(struct args *p) { volatile char b[p->n]; b[0] = 1; p->out = b[p->n - 1]; }", "no fixed size"},
		"two deep frames": {`static __attribute__((noinline)) int64_t f(int64_t n) { volatile char b[4000]; b[n] = 1; return b[n + 1]; }
			KERNEL k_f(struct args *p) { p->out = f(p->n); }`, "bytes of stack"},
		"a kernel that is hidden":  {"__attribute__((used)) static void k_f(struct args *p) { p->out = 1; } KERNEL k_g(struct args *p) { k_f(p); }", "k_f"},
		"an exported function":     {"KERNEL helper(struct args *p) { p->out = 1; }", "helper"},
		"no kernel":                {"static __attribute__((used)) int f(void) { return 1; }", "no kernel"},
		"a call through a pointer": {"KERNEL k_f(struct args *p) { p->out = ((int64_t (*)(void))p->n)() + 1; }", "leaves the blob"},
		"a warning":                {"KERNEL k_f(struct args *p) { int unused; p->out = 1; }", "unused"},
	} {
		t.Run(name, func(t *testing.T) {
			found, dir, l := kernels(t, c.source)
			if _, err := generate(found, dir, l); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("generate: %v; want an error with %q", err, c.want)
			}
		})
	}
}

// On arm64 constants are reached by distance, and two registers are not to be
// touched.
func TestGenerateARM64(t *testing.T) {
	onARM := func(source string) (map[string][]byte, error) {
		found, dir, l := kernels(t, source)
		l.goarch, l.flags = "arm64", arm64
		return generate(found, dir, l)
	}
	files, err := onARM(`
		static const int64_t table[4] = {3, 5, 7, 11};
		KERNEL k_pick(struct args *p) { p->out = table[p->n & 3]; }
	`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"TEXT ·test_pick(SB)", "// adr x", "// ret"} {
		if code := string(files["ztest_arm64.s"]); !strings.Contains(code, want) {
			t.Errorf("the assembly has no %q:\n%s", want, code)
		}
	}
	for name, c := range map[string]struct{ source, want string }{
		"the goroutine's register": {`KERNEL k_f(struct args *p) { __asm__ volatile("add x28, x28, %0" : : "r"(p->n)); p->out = 1; }`, "that Go keeps"},
		"the platform's register":  {`KERNEL k_f(struct args *p) { int64_t v; __asm__ volatile("mov %w0, w18" : "=r"(v)); p->out = v; }`, "that Go keeps"},
		"a call through a pointer": {"KERNEL k_f(struct args *p) { p->out = ((int64_t (*)(void))p->n)() + 1; }", "leaves the blob"},
		"writable data":            {"static int64_t calls; KERNEL k_f(struct args *p) { p->out = ++calls; }", "writable"},
		"an address of its own":    {`KERNEL k_f(struct args *p) { int64_t at; __asm__("movz %0, #:abs_g0_nc:k_f" : "=r"(at)); p->out = at; }`, "relocation"},
		"a huge frame":             {"KERNEL k_f(struct args *p) { volatile char b[7000]; b[p->n] = 1; p->out = b[p->n + 1]; }", "bytes of stack"},
	} {
		if _, err := onARM(c.source); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: generate: %v; want an error with %q", name, err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "z.s")
	if err := place(path, []byte("a"), true); err == nil {
		t.Error("a missing file passes the check")
	}
	if err := place(path, []byte("a"), false); err != nil {
		t.Fatal(err)
	}
	if err := place(path, []byte("a"), true); err != nil {
		t.Error(err)
	}
	if err := place(path, []byte("b"), true); err == nil {
		t.Error("another content passes the check")
	}
}

// The generated files of the kernels are those of their sources.
func TestKernelsAreCurrent(t *testing.T) {
	if _, err := findTools(); err != nil {
		t.Skipf("needs the pinned compiler: %v", err)
	}
	if err := run("../../internal/backend/cpu/kern", true, levels); err != nil {
		t.Error(err)
	}
}

// The PTX of the GPU kernels is that of their sources.
func TestKernelsAreCurrentGPU(t *testing.T) {
	if _, err := findTools(); err != nil {
		t.Skipf("needs the pinned compiler: %v", err)
	}
	if err := runGPU("../../internal/backend/cuda/kern", true); err != nil {
		t.Error(err)
	}
}

// What would be slow, or need another driver than meant, is refused.
func TestGPURefuses(t *testing.T) {
	found, err := findTools()
	if err != nil {
		t.Skipf("needs the pinned compiler: %v", err)
	}
	const begin = "#define GLOBAL extern \"C\" __attribute__((global)) void\n"
	for name, c := range map[string]struct{ source, want string }{
		"an array in local memory": {begin + "GLOBAL k(float *p, int n) { float a[8]; for (int i = 0; i < 8; i++) a[i] = p[i]; p[0] = a[n & 7]; p[1] = a[n >> 3 & 7]; }", "local memory"},
		"a call":                   {begin + "static __attribute__((device, noinline)) float f(float x) { return x * x + 1; } GLOBAL k(float *p) { p[0] = f(p[1]) + f(p[2]); }", "not inlined"},
		"no kernel":                {"static __attribute__((device, used)) int f() { return 1; }", "no kernel"},
		"a warning":                {begin + "GLOBAL k(int *p) { int unused; p[0] = 1; }", "unused"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "cu"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "cu", "all.cu"), []byte(c.source), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := compileGPU(found, dir, gpuTargets[0]); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("compileGPU: %v; want an error with %q", err, c.want)
			}
		})
	}
}
