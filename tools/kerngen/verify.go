package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// frame is the stack that a trampoline gives, and bound what a kernel and the
// functions that it calls may use of it: the rest is for alignment and for the
// return addresses.
const (
	frame = 8192
	bound = 6144
)

// note is an instruction as the disassembler writes it.
type note struct {
	size int
	text string
}

var noteLine = regexp.MustCompile(`^\s*([0-9a-f]+):\s+((?:[0-9a-f]{2} )+|[0-9a-f]{8} )\s*(.*)$`)

// disassemble maps addresses to instructions.
func disassemble(t tools, path string, l level) (map[int]note, error) {
	out, err := exec.Command(t.objdump, "-d", "--section=.blob", path).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.objdump, err)
	}
	notes := map[int]note{}
	for _, line := range strings.Split(string(out), "\n") {
		m := noteLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		addr, err := strconv.ParseInt(m[1], 16, 64)
		if err != nil {
			return nil, err
		}
		size := len(strings.Fields(m[2]))
		if l.goarch == "arm64" {
			size = 4
		}
		text, _, _ := strings.Cut(m[3], "#")
		text, _, _ = strings.Cut(text, "//")
		notes[int(addr)] = note{size: size, text: strings.Join(strings.Fields(text), " ")}
	}
	return notes, nil
}

// reserved matches registers that Go keeps: on arm64 x28 is the goroutine and
// x18 the platform's. Signal handlers look at x28 and do not restore it.
var reserved = map[string]*regexp.Regexp{
	"arm64": regexp.MustCompile(`\b[xw](18|28)\b`),
}

// leaves matches what would leave the blob: indirect calls and jumps.
var leaves = regexp.MustCompile(`^(callq?|jmpq?) +\*|^(blr|br) `)

// verify refuses code that can't run inside a Go program.
func verify(im image, notes map[int]note, l level) error {
	if err := checkStack(im, notes); err != nil {
		return err
	}
	for addr, n := range notes {
		if leaves.MatchString(n.text) {
			return fmt.Errorf("the instruction at %#x leaves the blob: %s", addr, n.text)
		}
		if re := reserved[l.goarch]; re != nil && re.MatchString(n.text) {
			return fmt.Errorf("the instruction at %#x uses a register that Go keeps: %s", addr, n.text)
		}
	}
	return nil
}

// checkStack bounds the deepest frame. Static functions that were not inlined
// add their frames to their callers'; where the code has calls, two of the
// largest are assumed to stand on each other.
func checkStack(im image, notes map[int]note) error {
	deepest, most := "", bound
	for name, n := range im.stack {
		if deepest == "" || n > im.stack[deepest] {
			deepest = name
		}
	}
	for _, n := range notes {
		if calls.MatchString(n.text) {
			most = bound / 2
		}
	}
	if n := im.stack[deepest]; n > most {
		return fmt.Errorf("function %s uses %d bytes of stack; at most %d are allowed", deepest, n, most)
	}
	return nil
}

// calls matches calls within the blob.
var calls = regexp.MustCompile(`^(callq?|bl) `)
