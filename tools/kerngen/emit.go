package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"go/format"
	"strings"
)

// goName is the Go function of a kernel: level avx2, k_dot_q8_0 -> avx2_dot_q8_0.
func (l level) goName(kernel string) string {
	return l.name + "_" + strings.TrimPrefix(kernel, "k_")
}

// assembly writes the trampolines and the blob.
func assembly(header string, im image, notes map[int]note, l level) []byte {
	var o bytes.Buffer
	o.WriteString(header + "\n#include \"textflag.h\"\n\n")
	for _, k := range im.kernels {
		trampoline(&o, l, k)
	}
	fmt.Fprintf(&o, "TEXT %s(SB), NOSPLIT|NOFRAME, $0-0\n\tPCALIGN $64\n", l.blobName())
	starts := map[int]string{}
	for _, f := range im.funcs {
		starts[f.addr] = f.name
	}
	for i := 0; i < len(im.blob); {
		if name, ok := starts[i]; ok {
			fmt.Fprintf(&o, "\t// %s\n", name)
		}
		i += emit(&o, im, notes, l, i)
	}
	return o.Bytes()
}

func (l level) blobName() string { return "·" + l.name + "_blob<>" }

// trampoline calls a kernel with its argument in the C convention's register,
// on an aligned part of its own frame.
func trampoline(o *bytes.Buffer, l level, k symbol) {
	fmt.Fprintf(o, "// func %s(args unsafe.Pointer)\nTEXT ·%s(SB), 0, $%d-8\n", l.goName(k.name), l.goName(k.name), frame)
	if l.goarch == "arm64" {
		fmt.Fprintf(o, "\tMOVD args+0(FP), R0\n\tMOVD RSP, R19\n\tADD $%d, R19, R1\n\tAND $~63, R1, R1\n\tMOVD R1, RSP\n\tMOVD $%s(SB), R2\n\tADD $%d, R2, R2\n\tCALL (R2)\n\tMOVD R19, RSP\n\tRET\n\n", frame-64, l.blobName(), k.addr)
		return
	}
	fmt.Fprintf(o, "\tMOVQ args+0(FP), DI\n\tMOVQ SP, R12\n\tLEAQ %d(SP), AX\n\tANDQ $~63, AX\n\tMOVQ AX, SP\n\tLEAQ %s(SB), AX\n\tADDQ $%d, AX\n\tCALL AX\n\tMOVQ R12, SP\n\tRET\n\n", frame-64, l.blobName(), k.addr)
}

// emit writes the instruction at i with its disassembly, or a piece of data,
// and returns how many bytes that was.
func emit(o *bytes.Buffer, im image, notes map[int]note, l level, i int) int {
	if n, ok := notes[i]; ok && im.isCode(i) {
		fmt.Fprintf(o, "\t%s // %s\n", directives(im.blob[i:i+n.size], l), n.text)
		return n.size
	}
	n := min(8, len(im.blob)-i)
	if l.goarch == "arm64" {
		n = 4
	}
	for _, f := range im.funcs {
		if f.addr > i {
			n = min(n, f.addr-i)
			break
		}
	}
	fmt.Fprintf(o, "\t%s\n", directives(im.blob[i:i+n], l))
	return n
}

func (im image) isCode(i int) bool {
	for _, f := range im.funcs {
		if i >= f.addr && i < f.end {
			return true
		}
	}
	return false
}

// directives writes bytes as the assembler's data directives. On arm64, where
// instructions have four bytes, WORD is that; on amd64 it is two.
func directives(b []byte, l level) string {
	if l.goarch == "arm64" {
		return fmt.Sprintf("WORD $0x%08x", binary.LittleEndian.Uint32(b))
	}
	var parts []string
	for len(b) > 0 {
		for _, d := range []struct {
			size int
			name string
		}{{8, "QUAD"}, {4, "LONG"}, {2, "WORD"}, {1, "BYTE"}} {
			if len(b) >= d.size {
				parts = append(parts, fmt.Sprintf("%s $0x%s", d.name, bigEndianHex(b[:d.size])))
				b = b[d.size:]
				break
			}
		}
	}
	return strings.Join(parts, "; ")
}

func bigEndianHex(b []byte) string {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	return hex.EncodeToString(r)
}

// declarations writes the Go side of the trampolines.
func declarations(header string, im image, l level) []byte {
	var o bytes.Buffer
	o.WriteString(header + "\npackage kern\n\nimport \"unsafe\"\n\n")
	for _, k := range im.kernels {
		fmt.Fprintf(&o, "//go:noescape\nfunc %s(args unsafe.Pointer)\n\n", l.goName(k.name))
	}
	out, err := format.Source(o.Bytes())
	if err != nil {
		panic("kerngen: internal error: " + err.Error())
	}
	return out
}
