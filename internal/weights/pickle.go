package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// A pickle is a program for a small stack machine whose instructions can call
// any Python function: that is why loading one runs code. This machine runs no
// code. It knows the instructions that a PyTorch state dict is written with and
// the few names that such a file has a use for, builds plain values, and refuses
// everything else by name.

// pickle is the machine.
type pickle struct {
	b     []byte
	at    int
	stack []any
	marks []int // of the stack's heights
	memo  map[int]any
}

// The values besides string, int64, float64, bool and nil.
type (
	pyTuple  []any
	pyList   struct{ items []any }
	pyGlobal string
	pyDict   struct {
		keys   []string
		values []any
	}
	// pyStorage is a file of numbers in the archive.
	pyStorage struct {
		typ, key string
		elems    int64
	}
	pyTensor struct {
		storage        pyStorage
		offset         int64
		shape, strides []int64
	}
)

// knownGlobals are the names that a state dict may refer to.
var knownGlobals = map[string]bool{
	"collections.OrderedDict":         true,
	"torch._utils._rebuild_tensor_v2": true,
	"torch._utils._rebuild_parameter": true,
}

// maxPickle bounds the instructions: a state dict has some dozens a tensor.
const maxPickle = 16 << 20

// unpickle runs the program in b and returns the state dict that it makes.
func unpickle(b []byte) (*pyDict, error) {
	if len(b) > maxPickle {
		return nil, fmt.Errorf("the pickle has %d bytes, more than a state dict needs (%d)", len(b), maxPickle)
	}
	p := &pickle{b: b, memo: map[int]any{}}
	for {
		at := p.at
		op, err := p.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			break
		}
		if err := p.do(op); err != nil {
			return nil, fmt.Errorf("at byte %d of the pickle: %w", at, err)
		}
	}
	v, err := p.pop()
	if err != nil {
		return nil, err
	}
	d, ok := v.(*pyDict)
	if !ok || len(p.stack) > 0 || len(p.marks) > 0 {
		return nil, fmt.Errorf("the pickle does not end in one dict of tensors")
	}
	return d, nil
}

func (p *pickle) take(n int) ([]byte, error) {
	if n < 0 || n > len(p.b)-p.at {
		return nil, fmt.Errorf("the pickle ends in the middle of an instruction")
	}
	b := p.b[p.at : p.at+n]
	p.at += n
	return b, nil
}

func (p *pickle) byte() (byte, error) {
	b, err := p.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// uint reads a little-endian number of so many bytes.
func (p *pickle) uint(bytes int) (int, error) {
	b, err := p.take(bytes)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	n := binary.LittleEndian.Uint64(wide[:])
	if n > math.MaxInt32 {
		return 0, fmt.Errorf("the number %d is larger than anything in a state dict", n)
	}
	return int(n), nil
}

func (p *pickle) line() (string, error) {
	n := strings.IndexByte(string(p.b[p.at:min(len(p.b), p.at+256)]), '\n')
	if n < 0 {
		return "", fmt.Errorf("a name has no end")
	}
	b, err := p.take(n + 1)
	return string(b[:n]), err
}

func (p *pickle) push(v any) { p.stack = append(p.stack, v) }

// pop takes the top of the stack, but not through a mark.
func (p *pickle) pop() (any, error) {
	floor := 0
	if n := len(p.marks); n > 0 {
		floor = p.marks[n-1]
	}
	if len(p.stack) <= floor {
		return nil, fmt.Errorf("the stack is empty")
	}
	v := p.stack[len(p.stack)-1]
	p.stack = p.stack[:len(p.stack)-1]
	return v, nil
}

// popMark takes everything above the last mark.
func (p *pickle) popMark() ([]any, error) {
	n := len(p.marks)
	if n == 0 {
		return nil, fmt.Errorf("there is no mark")
	}
	from := p.marks[n-1]
	p.marks = p.marks[:n-1]
	items := append([]any(nil), p.stack[from:]...)
	p.stack = p.stack[:from]
	return items, nil
}

// do runs an instruction.
func (p *pickle) do(op byte) error {
	switch op {
	case 0x80: // PROTO
		return p.proto()
	case 0x95: // FRAME
		_, err := p.take(8)
		return err
	case '(':
		p.marks = append(p.marks, len(p.stack))
	case '}':
		p.push(&pyDict{})
	case ']':
		p.push(&pyList{})
	case ')':
		p.push(pyTuple{})
	case 'N':
		p.push(nil)
	case 0x88, 0x89:
		p.push(op == 0x88)
	case 't', 0x85, 0x86, 0x87:
		return p.tuple(op)
	case 'K', 'M', 'J', 0x8a, 'G':
		return p.number(op)
	case 'X', 0x8c, 0x8d:
		return p.text(op)
	case 'q', 'r', 'h', 'j', 0x94:
		return p.remember(op)
	case 'c', 0x93:
		return p.global(op)
	case 'Q':
		return p.persistent()
	case 'R':
		return p.reduce()
	case 's', 'u', 'a', 'e', 'b':
		return p.fill(op)
	default:
		return fmt.Errorf("the instruction %q is not one that a state dict needs, and may run code: refused", op)
	}
	return nil
}

func (p *pickle) proto() error {
	v, err := p.byte()
	if err == nil && (v < 2 || v > 5) {
		err = fmt.Errorf("protocol %d is not supported", v)
	}
	return err
}

func (p *pickle) tuple(op byte) error {
	if op == 't' {
		items, err := p.popMark()
		p.push(pyTuple(items))
		return err
	}
	t := make(pyTuple, op-0x84)
	for i := len(t) - 1; i >= 0; i-- {
		var err error
		if t[i], err = p.pop(); err != nil {
			return err
		}
	}
	p.push(t)
	return nil
}

func (p *pickle) number(op byte) error {
	switch op {
	case 'G':
		b, err := p.take(8)
		if err == nil {
			p.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
		return err
	case 'J':
		b, err := p.take(4)
		if err == nil {
			p.push(int64(int32(binary.LittleEndian.Uint32(b))))
		}
		return err
	case 0x8a: // LONG1
		n, err := p.byte()
		if err != nil {
			return err
		}
		b, err := p.take(int(n))
		if err == nil && n > 8 {
			err = fmt.Errorf("a number of %d bytes", n)
		}
		if err == nil {
			p.push(signed(b))
		}
		return err
	}
	n, err := p.uint(map[byte]int{'K': 1, 'M': 2}[op])
	p.push(int64(n))
	return err
}

// signed reads a little-endian number in two's complement.
func signed(b []byte) int64 {
	var n int64
	for i, v := range b {
		n |= int64(v) << (8 * i)
	}
	if len(b) > 0 && len(b) < 8 && b[len(b)-1] >= 0x80 {
		n -= 1 << (8 * len(b))
	}
	return n
}

func (p *pickle) text(op byte) error {
	n, err := p.uint(map[byte]int{'X': 4, 0x8c: 1, 0x8d: 8}[op])
	if err != nil {
		return err
	}
	b, err := p.take(n)
	p.push(string(b))
	return err
}

// remember is the memo's instructions.
func (p *pickle) remember(op byte) error {
	if op == 0x94 { // MEMOIZE
		return p.put(len(p.memo))
	}
	n, err := p.uint(map[byte]int{'q': 1, 'h': 1, 'r': 4, 'j': 4}[op])
	if err != nil {
		return err
	}
	if op == 'q' || op == 'r' {
		return p.put(n)
	}
	v, ok := p.memo[n]
	if !ok {
		return fmt.Errorf("value %d was never remembered", n)
	}
	p.push(v)
	return nil
}

func (p *pickle) put(n int) error {
	if len(p.stack) == 0 {
		return fmt.Errorf("there is nothing to remember")
	}
	p.memo[n] = p.stack[len(p.stack)-1]
	return nil
}

// global pushes a name, if it is one that a state dict has a use for.
func (p *pickle) global(op byte) error {
	var module, name string
	var err error
	if op == 'c' {
		if module, err = p.line(); err == nil {
			name, err = p.line()
		}
	} else {
		name, err = p.popText()
		if err == nil {
			module, err = p.popText()
		}
	}
	if err != nil {
		return err
	}
	full := module + "." + name
	if !knownGlobals[full] && !isStorage(full) {
		return fmt.Errorf("the file refers to %.80q, which is not part of a state dict and may run code: refused; convert it to safetensors where it can be trusted", full)
	}
	p.push(pyGlobal(full))
	return nil
}

func (p *pickle) popText() (string, error) {
	v, err := p.pop()
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("a name is not a text")
	}
	return s, nil
}

// storageTypes are what the storage classes of torch hold.
var storageTypes = map[string]Type{
	"torch.FloatStorage":    F32,
	"torch.HalfStorage":     F16,
	"torch.BFloat16Storage": BF16,
	"torch.DoubleStorage":   F64,
	"torch.LongStorage":     I64,
	"torch.IntStorage":      I32,
	"torch.ShortStorage":    I16,
	"torch.CharStorage":     I8,
	"torch.BoolStorage":     Foreign,
	"torch.ByteStorage":     Foreign,
}

func isStorage(global string) bool {
	_, is := storageTypes[global]
	return is
}

// persistent makes a storage of ('storage', class, key, device, elements).
func (p *pickle) persistent() error {
	v, err := p.pop()
	if err != nil {
		return err
	}
	t, ok := v.(pyTuple)
	if ok && len(t) == 5 && t[0] == "storage" {
		class, ok1 := t[1].(pyGlobal)
		key, ok2 := t[2].(string)
		elems, ok3 := t[4].(int64)
		if ok1 && ok2 && ok3 && elems >= 0 && isStorage(string(class)) {
			p.push(pyStorage{string(class), key, elems})
			return nil
		}
	}
	return fmt.Errorf("a reference is not to a storage")
}

// reduce is a call; of the three functions that are known.
func (p *pickle) reduce() error {
	v, err := p.pop()
	if err != nil {
		return err
	}
	f, err := p.pop()
	if err != nil {
		return err
	}
	args, ok := v.(pyTuple)
	name, isName := f.(pyGlobal)
	switch {
	case !ok || !isName:
	case name == "collections.OrderedDict" && len(args) == 0:
		p.push(&pyDict{})
		return nil
	case name == "torch._utils._rebuild_parameter" && len(args) >= 1:
		if t, ok := args[0].(pyTensor); ok {
			p.push(t)
			return nil
		}
	case name == "torch._utils._rebuild_tensor_v2" && len(args) >= 4:
		return p.tensor(args)
	}
	return fmt.Errorf("a call that a state dict does not need: refused")
}

func (p *pickle) tensor(args pyTuple) error {
	storage, ok1 := args[0].(pyStorage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := ints(args[2])
	strides, ok4 := ints(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || offset < 0 || len(shape) != len(strides) {
		return fmt.Errorf("a tensor is not made of a storage, an offset, a shape and strides")
	}
	p.push(pyTensor{storage, offset, shape, strides})
	return nil
}

func ints(v any) ([]int64, bool) {
	t, ok := v.(pyTuple)
	if !ok || len(t) > 8 {
		return nil, false
	}
	var list []int64
	for _, item := range t {
		n, ok := item.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		list = append(list, n)
	}
	return list, true
}

// fill is the instructions that put things into what is below them.
func (p *pickle) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'u', 'e':
		items, err = p.popMark()
	case 's':
		items = make([]any, 2)
		if items[1], err = p.pop(); err == nil {
			items[0], err = p.pop()
		}
	default:
		items = make([]any, 1)
		items[0], err = p.pop()
	}
	if err != nil {
		return err
	}
	if len(p.stack) == 0 {
		return fmt.Errorf("there is nothing to fill")
	}
	switch to := p.stack[len(p.stack)-1].(type) {
	case *pyDict:
		if op == 'b' { // a state dict's _metadata: versions of modules
			return nil
		}
		if op == 's' || op == 'u' {
			return to.set(items)
		}
	case *pyList:
		if op == 'a' || op == 'e' {
			to.items = append(to.items, items...)
			return nil
		}
	}
	return fmt.Errorf("something is put into what is no dict and no list")
}

func (d *pyDict) set(items []any) error {
	if len(items)%2 != 0 {
		return fmt.Errorf("a dict has a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		key, ok := items[i].(string)
		if !ok {
			return fmt.Errorf("a dict has a key that is not a text")
		}
		d.keys, d.values = append(d.keys, key), append(d.values, items[i+1])
	}
	return nil
}
