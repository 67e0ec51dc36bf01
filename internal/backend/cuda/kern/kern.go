// Package kern has the GPU kernels: CUDA C++ sources, the PTX that tools/kerngen
// makes of them with the pinned clang, and the Go side of their parameters.
//
// PTX is text that NVIDIA's driver compiles for the card when it loads it. There
// are three targets, each with every kernel that it runs:
//
//   - sm_80 (Ampere and newer) and sm_89 (Ada and newer): mma.sync and cp.async.
//     Newer cards compile these when they load them.
//   - sm_90a (Hopper alone): wgmma and the tensor copy engine besides.
//
// Each kernel takes one struct; types.go has the same layout in Go, and a test
// compares sizes with what the compiler made of it.
package kern

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:generate go run weir/tools/kerngen -dir ../../cpu/kern -gpu .

// Target is what kernels are compiled for.
type Target int

const (
	SM80  Target = 80
	SM89  Target = 89
	SM90a Target = 90
)

var (
	//go:embed zsm_80.ptx.gz
	sm80 []byte
	//go:embed zsm_89.ptx.gz
	sm89 []byte
	//go:embed zsm_90a.ptx.gz
	sm90a []byte
)

// Targets lists them all.
func Targets() []Target { return []Target{SM80, SM89, SM90a} }

// String is the name that the compiler has for a target.
func (t Target) String() string {
	switch t {
	case SM80, SM89:
		return fmt.Sprintf("sm_%d", int(t))
	case SM90a:
		return "sm_90a"
	}
	return fmt.Sprintf("Target(%d)", int(t))
}

// ParseTarget reads what String writes.
func ParseTarget(s string) (Target, error) {
	var names []string
	for _, t := range Targets() {
		if strings.EqualFold(s, t.String()) {
			return t, nil
		}
		names = append(names, t.String())
	}
	return 0, fmt.Errorf("there are no kernels for %q; there are %s", s, strings.Join(names, ", "))
}

// Runs tells whether a card of a compute capability (90 is 9.0) runs a target.
func (t Target) Runs(capability int) bool {
	if t == SM90a {
		return capability == 90
	}
	return capability >= int(t)
}

// Best is the fastest target that a card runs.
func Best(capability int) (Target, bool) {
	for _, t := range []Target{SM90a, SM89, SM80} {
		if t.Runs(capability) {
			return t, true
		}
	}
	return 0, false
}

// PTX is the target's kernels.
func (t Target) PTX() string {
	packed := map[Target][]byte{SM80: sm80, SM89: sm89, SM90a: sm90a}[t]
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic("kern: the PTX for " + t.String() + ": " + err.Error())
	}
	text, err := io.ReadAll(r)
	if err != nil {
		panic("kern: the PTX for " + t.String() + ": " + err.Error())
	}
	return string(text)
}
