package lint

import (
	"go/ast"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// exact are the packages whose arithmetic must have the same bits on every
// platform: what reaches a token goes through them.
var exact = []string{"internal/backend/cpu", "internal/backend/cpu/kern", "internal/exact", "internal/model", "internal/sample", "internal/weights"}

// sameEverywhere are the functions of package math whose results IEEE 754 or
// their definition fixes to the bit. The others (Exp, Log, Pow, Sin, ...) have
// assembly on some platforms, and fused operations on others.
var sameEverywhere = map[string]bool{
	"Abs": true, "Ceil": true, "Copysign": true, "FMA": true, "Floor": true, "Frexp": true, "Inf": true, "IsInf": true,
	"IsNaN": true, "Ldexp": true, "Max": true, "Min": true, "Modf": true, "NaN": true, "Nextafter": true, "Nextafter32": true,
	"Round": true, "RoundToEven": true, "Signbit": true, "Sqrt": true, "Trunc": true,
	"Float32bits": true, "Float32frombits": true, "Float64bits": true, "Float64frombits": true,
}

func TestNoPlatformMath(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests || !withinAny(s.dir, exact) {
			continue
		}
		s.uses(func(pkg, name string, at ast.Node) {
			call := pkg == "math" && !sameEverywhere[name] && ast.IsExported(name) && isFunc(name)
			if call {
				t.Errorf("%s:%d: math.%s has other bits on other platforms: use package exact, so that a seed gives the same tokens everywhere", s.path, s.line(at), name)
			}
		})
	}
}

// isFunc tells functions of package math from its constants.
func isFunc(name string) bool {
	return !regexp.MustCompile(`^(Pi|E|Phi|Ln2|Ln10|Log2E|Log10E|Sqrt.+|(Max|Min|Smallest).+)$`).MatchString(name)
}

// fused matches the instructions that multiply and add with one rounding.
var fused = regexp.MustCompile(`\(([^()\s]+\.go:\d+)\)\s+(F(?:N?MADD|N?MSUB)[SD]|VFN?M(?:ADD|SUB)\d+S[SD])\s`)

// TestNoFusedArithmetic compiles the exact packages for platforms on which the
// compiler may fuse x*y+z into one operation, and looks for it in the machine
// code. The language forbids fusing across an explicit conversion, so
// float32(x*y)+z is the cure; a variable in between is none.
func TestNoFusedArithmetic(t *testing.T) {
	root := module(t)
	for _, platform := range []string{"GOARCH=arm64", "GOARCH=amd64 GOAMD64=v3"} {
		for _, pkg := range exact {
			cmd := exec.Command("go", "build", "-gcflags=-S", "./"+pkg)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
			cmd.Env = append(cmd.Env, strings.Fields(platform)...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s go build ./%s: %v\n%s", platform, pkg, err, tail(out))
			}
			if !strings.Contains(string(out), "TEXT") {
				t.Fatalf("%s go build -gcflags=-S ./%s shows no machine code: the test would see nothing", platform, pkg)
			}
			reported := map[string]bool{}
			for _, m := range fused.FindAllStringSubmatch(string(out), -1) {
				place := strings.TrimPrefix(m[1], root+"/")
				if !reported[place] && strings.Contains(place, pkg) {
					t.Errorf("%s: %s on %s: write float32(x*y)+z or float64(x*y)+z, so that platforms without it give the same bits", place, m[2], platform)
				}
				reported[place] = true
			}
		}
	}
}

// tail returns the end of a long output.
func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
