package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// image is a linked blob.
type image struct {
	path    string
	blob    []byte
	kernels []symbol // exported, by address
	funcs   []symbol // all functions, by address
	stack   map[string]int
}

type symbol struct {
	name      string
	addr, end int
}

// linkScript puts code and constants into one section at address 0, so that a
// reference from one to the other is a distance that no loader has to adjust.
const linkScript = `SECTIONS {
  . = 0;
  .blob : { *(.text .text.*) . = ALIGN(64); *(.rodata .rodata.* .lrodata .lrodata.*) }
  .bad : { *(.data .data.* .ldata .bss .bss.* .got .got.* COMMON) }
  /DISCARD/ : { *(.eh_frame*) *(.comment) *(.note*) *(.llvm*) }
}
`

func build(t tools, work, dir string, l level, source string) (image, error) {
	object, linked := filepath.Join(work, "k.o"), filepath.Join(work, "k.elf")
	script := filepath.Join(work, "k.ld")
	if err := os.WriteFile(script, []byte(linkScript), 0o600); err != nil {
		return image{}, err
	}
	args := append(slices.Clone(common), l.flags...)
	args = append(args, "-I", filepath.Join(dir, "c"))
	if err := compile(t, args, l.again, source, object); err != nil {
		return image{}, err
	}
	if err := command(t.lld, "-static", "-e", "0", "--emit-relocs", "-T", script, object, "-o", linked); err != nil {
		return image{}, err
	}
	im, err := readImage(linked)
	if err != nil {
		return image{}, err
	}
	im.stack, err = readStackUse(filepath.Join(work, "k.su"))
	return im, err
}

// compile makes the object, by way of assembly without named encodings if it is to be assembled
// with other flags.
func compile(t tools, args, again []string, source, object string) error {
	if again == nil {
		return command(t.clang, append(args, "-c", source, "-o", object)...)
	}
	text := strings.TrimSuffix(object, ".o") + ".s"
	if err := command(t.clang, append(args, "-S", source, "-o", text)...); err != nil {
		return err
	}
	data, err := os.ReadFile(text)
	if err != nil {
		return err
	}
	if err := os.WriteFile(text, bytes.ReplaceAll(data, []byte("{vex}"), nil), 0o600); err != nil {
		return err
	}
	return command(t.clang, append(slices.Clone(again), "-c", text, "-o", object)...)
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// readImage takes the blob and its functions from the linked file. It refuses
// writable data and relocations that would depend on where the blob is loaded.
func readImage(path string) (image, error) {
	f, err := elf.Open(path)
	if err != nil {
		return image{}, err
	}
	defer f.Close()
	if bad := f.Section(".bad"); bad != nil && bad.Size > 0 {
		return image{}, fmt.Errorf("the kernels have %d bytes of writable or global-offset data; make it const and static", bad.Size)
	}
	section := f.Section(".blob")
	if section == nil {
		return image{}, fmt.Errorf("the linked file has no code")
	}
	im := image{path: path}
	if im.blob, err = section.Data(); err != nil {
		return image{}, err
	}
	if err := checkRelocations(f); err != nil {
		return image{}, err
	}
	return im, im.readSymbols(f)
}

func (im *image) readSymbols(f *elf.File) error {
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		fn := symbol{name: s.Name, addr: int(s.Value), end: int(s.Value + s.Size)}
		im.funcs = append(im.funcs, fn)
		isKernel, exported := strings.HasPrefix(s.Name, "k_"), elf.ST_BIND(s.Info) == elf.STB_GLOBAL
		if isKernel != exported {
			return fmt.Errorf("function %s: kernels, and only they, are named k_ and exported (KERNEL); all else is static", s.Name)
		}
		if isKernel {
			im.kernels = append(im.kernels, fn)
		}
	}
	byAddr := func(a, b symbol) int { return a.addr - b.addr }
	slices.SortFunc(im.kernels, byAddr)
	slices.SortFunc(im.funcs, byAddr)
	if len(im.kernels) == 0 {
		return fmt.Errorf("no kernel is exported")
	}
	return nil
}

// relative lists relocations that the linker has settled for good: distances
// within the blob.
var relative = map[elf.Machine][]uint32{
	elf.EM_X86_64: {uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_PLT32)},
	elf.EM_AARCH64: {uint32(elf.R_AARCH64_ADR_PREL_LO21), uint32(elf.R_AARCH64_CALL26), uint32(elf.R_AARCH64_JUMP26),
		uint32(elf.R_AARCH64_CONDBR19), uint32(elf.R_AARCH64_TSTBR14), 273 /* LD_PREL_LO19 */},
}

func checkRelocations(f *elf.File) error {
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return err
		}
		for i := 0; i+24 <= len(data); i += 24 {
			kind := f.ByteOrder.Uint32(data[i+8:])
			if !slices.Contains(relative[f.Machine], kind) {
				return fmt.Errorf("a relocation of type %d at %#x is left: the code would depend on its address", kind, f.ByteOrder.Uint64(data[i:]))
			}
		}
	}
	return nil
}

// readStackUse reads clang's .su file: "file:line:function<TAB>bytes<TAB>static".
func readStackUse(path string) (map[string]int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	use := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.Split(line, "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("stack use %q is not understood", line)
		}
		name := f[0][strings.LastIndex(f[0], ":")+1:]
		n, err := strconv.Atoi(f[1])
		if err != nil || f[2] != "static" {
			return nil, fmt.Errorf("function %s has a stack frame of no fixed size (%s %s)", name, f[1], f[2])
		}
		use[name] = n
	}
	return use, nil
}
