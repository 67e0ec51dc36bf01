//go:build linux && (amd64 || arm64) && !nogpu

package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"weir/internal/backend/cuda/kern"
	"weir/internal/weights"
)

// bench is a device of a test, with one launcher.
type bench struct {
	testing.TB
	*launcher
	rng  *rand.Rand
	mine []pointer
	maps map[mapKey]kern.TensorMap
}

// eachTarget runs f with the kernels of each target that the machine's GPU runs.
func eachTarget(t *testing.T, f func(*testing.T, *bench)) {
	for _, target := range kern.Targets() {
		t.Run(target.String(), func(t *testing.T) {
			d, err := openDriver()
			if errors.Is(err, ErrAbsent) {
				t.Skipf("needs an NVIDIA GPU: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			v, err := d.openDevice(0)
			if err != nil {
				t.Fatal(err)
			}
			if !target.Runs(v.capability) {
				t.Skipf("needs an NVIDIA GPU that runs %v", target)
			}
			done, err := v.use()
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			m, err := v.loadModule(target)
			if err != nil {
				t.Fatal(err)
			}
			l, err := newLauncher(m)
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{TB: t, launcher: l, rng: newRand(t)}
			f(t, b)
			for _, p := range b.mine {
				b.must(v.free(p))
			}
			b.must(l.close())
			b.must(m.close())
			b.must(v.close())
		})
	}
}

// hopperSpeed runs f, which measures kernels of sm_90a, where that is asked for.
func hopperSpeed(t *testing.T, f func(*bench)) {
	if os.Getenv("WEIR_GPU_SPEED") == "" {
		t.Skip("needs an NVIDIA GPU that nobody else uses, and WEIR_GPU_SPEED=1")
	}
	eachTarget(t, func(_ *testing.T, b *bench) {
		if b.target == kern.SM90a {
			f(b)
		}
	})
}

func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("WEIR_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("WEIR_SEED: %v", err)
		}
	}
	t.Logf("WEIR_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) alloc(n int) pointer {
	b.Helper()
	p, err := b.allocate(int64(n))
	b.must(err)
	b.mine = append(b.mine, p)
	return p
}

// put makes device memory with a slice's content.
func put[T any](b *bench, x []T) pointer {
	b.Helper()
	data := unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
	p := b.alloc(len(data))
	b.must(b.upload(p, data))
	return p
}

func get[T any](b *bench, p pointer, n int) []T {
	b.Helper()
	x := make([]T, n)
	b.must(b.download(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), n*int(unsafe.Sizeof(x[0]))), p))
	return x
}

// bf16s draws numbers in [-1, 1) and their rounded values.
func (b *bench) bf16s(n int) ([]uint16, []float32) {
	h, f := make([]uint16, n), make([]float32, n)
	for i := range h {
		h[i] = weights.F32ToBF16(2*b.rng.Float32() - 1)
		f[i] = math.Float32frombits(uint32(h[i]) << 16)
	}
	return h, f
}

// e4m3s draws random E4M3 and their values.
func (b *bench) e4m3s(n int) ([]uint8, []float32) {
	h, f := make([]uint8, n), make([]float32, n)
	for i := range h {
		for h[i] = uint8(b.rng.Uint32()); h[i]&0x7f > 0x50; h[i] = uint8(b.rng.Uint32()) { // at most 8
		}
		f[i] = e4m3Value(h[i])
	}
	return h, f
}

func e4m3Value(v uint8) float32 {
	e, m := int(v>>3&15), float64(v&7)
	x := math.Ldexp(1+m/8, e-7)
	if e == 0 {
		x = math.Ldexp(m/8, -6)
	}
	if v&0x80 != 0 {
		x = -x
	}
	return float32(x)
}

// product is a float64 reference at sampled places.
func (b *bench) checkProduct(what string, got []float32, x, w []float32, tokens, rows, k, ld int, scale func(t, r int) float64) {
	b.Helper()
	bad := 0
	check := func(t, r int) {
		var sum, size float64
		for c := range k {
			p := float64(x[t*k+c]) * float64(w[r*k+c])
			sum, size = sum+p, size+math.Abs(p)
		}
		f := scale(t, r)
		limit := 2e-3 * size * math.Abs(f) / math.Sqrt(float64(k))
		if strings.Contains(what, "e4m3") { // Hopper adds up E4M3's products with about 14 bits: seen are 1e-3
			limit = 3e-3 * size * math.Abs(f)
		}
		if d := math.Abs(float64(got[t*ld+r]) - sum*f); !(d <= limit+1e-6) {
			if bad++; bad < 4 {
				b.Errorf("%s [%d, %d] = %v, want %v (size %v)", what, t, r, got[t*ld+r], sum*f, size*f)
			}
		}
	}
	if tokens*rows*k <= 1<<24 {
		for t := range tokens {
			for r := range rows {
				check(t, r)
			}
		}
		return
	}
	for range 4000 {
		check(b.rng.IntN(tokens), b.rng.IntN(rows))
	}
	check(tokens-1, rows-1)
}

func one(int, int) float64 { return 1 }

const poisonF32 = 0x7fc0dead

func poison(b *bench, n int) pointer {
	x := make([]uint32, n)
	for i := range x {
		x[i] = poisonF32
	}
	return put(b, x)
}

type gemmCase struct{ tokens, rows, k, splits int }

var gemmCases = []gemmCase{{1, 128, 64, 1}, {3, 200, 128, 2}, {16, 256, 512, 3}, {17, 384, 1024, 1}, {64, 640, 4096, 8}, {100, 130, 192, 2}, {128, 256, 256, 1}, {300, 500, 640, 1}, {513, 1000, 2048, 2}}

func TestGemm(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		for _, c := range gemmCases {
			for nt, stages := range map[int]int{16: 4, 64: 4, 128: 3} {
				x, xf := b.bf16s(c.tokens * c.k)
				w, wf := b.bf16s(c.rows * c.k)
				tiles, ty := (c.rows+127)/128, (c.tokens+nt-1)/nt
				out := poison(b, c.tokens*c.rows)
				a := kern.Gemm{X: uint64(put(b, x)), Tokens: uint64(put(b, []int32{int32(c.tokens)})),
					Work: uint64(b.alloc(tiles * ty * c.splits * nt * 128 * 4)), Counts: uint64(put(b, make([]uint32, tiles*ty))),
					N: 1, K: int32(c.k), LdX: int32(c.k), LdW: int32(c.k)}
				a.Out[0] = kern.Out{W: uint64(put(b, w)), Dst: uint64(out), Rows: int32(c.rows), LdD: int32(c.rows), Tiles: int32(tiles)}
				shared := stages*(128+nt)*128 + 1024
				k := b.kernel(fmt.Sprintf("gemm_%d", nt), shared)
				for range 2 { // the counters must be as they were
					b.must(b.launch(k, ty, tiles, c.splits, 256, shared, unsafe.Pointer(&a)))
				}
				b.must(b.wait())
				b.checkProduct(fmt.Sprintf("%v nt %d", c, nt), get[float32](b, out, c.tokens*c.rows), xf, wf, c.tokens, c.rows, c.k, c.rows, one)
			}
		}
	})
}

var hopperStages = map[int]int{16: 8, 32: 8, 64: 8, 128: 6, 256: 4}

func TestHopper(t *testing.T) {
	eachTarget(t, func(t *testing.T, b *bench) {
		if b.target != kern.SM90a {
			t.Skip("needs an NVIDIA GPU and the kernels of sm_90a")
		}
		for _, c := range gemmCases {
			for nt := range hopperStages {
				for _, fp8 := range []bool{false, true} {
					b.hopperCase(c, nt, fp8)
				}
			}
		}
	})
}

func (b *bench) hopperCase(c gemmCase, nt int, fp8 bool) {
	tiles, ty := (c.rows+127)/128, (c.tokens+nt-1)/nt
	a := kern.Hopper{Tokens: uint64(put(b, []int32{int32(c.tokens)})),
		Work: uint64(b.alloc(tiles * ty * c.splits * nt * 128 * 4)), Counts: uint64(put(b, make([]uint32, tiles*ty))), N: 1}
	out := poison(b, c.tokens*c.rows)
	var x, w pointer
	var xf, wf []float32
	size, name, f := 2, fmt.Sprintf("hopper_bf16_%d", nt), one
	a.Out[0] = kern.Out{Dst: uint64(out), Rows: int32(c.rows), LdD: int32(c.rows), Tiles: int32(tiles)}
	if fp8 {
		size, name = 1, fmt.Sprintf("hopper_e4m3_%d", nt)
		hx, vx := b.e4m3s(c.tokens * c.k)
		hw, vw := b.e4m3s(c.rows * c.k)
		x, xf, w, wf = put(b, hx), vx, put(b, hw), vw
		ws, xs := make([]float32, c.rows), make([]float32, c.tokens)
		for i := range ws {
			ws[i] = 0.5 + b.rng.Float32()
		}
		for i := range xs {
			xs[i] = 0.5 + b.rng.Float32()
		}
		a.Out[0].Scale, a.XScale = uint64(put(b, ws)), uint64(put(b, xs))
		f = func(t, r int) float64 { return float64(xs[t]) * float64(ws[r]) }
	} else {
		hx, vx := b.bf16s(c.tokens * c.k)
		hw, vw := b.bf16s(c.rows * c.k)
		x, xf, w, wf = put(b, hx), vx, put(b, hw), vw
	}
	var err error
	a.X, err = b.tensorMap(x, c.tokens, c.k*size, c.k*size, nt)
	b.must(err)
	a.W[0], err = b.tensorMap(w, c.rows, c.k*size, c.k*size, 128)
	b.must(err)
	a.Steps = int32((c.k*size + 127) / 128)
	splits := min(c.splits, int(a.Steps))
	shared := hopperStages[nt]*((128+nt)*128+16) + 1024
	k := b.kernel(name, shared)
	for range 2 {
		b.must(b.launch(k, ty, tiles, splits, 384, shared, unsafe.Pointer(&a)))
	}
	b.must(b.wait())
	full := get[float32](b, out, c.tokens*c.rows)
	b.checkProduct(fmt.Sprintf("%v %s", c, name), full, xf, wf, c.tokens, c.rows, c.k, c.rows, f)

	// The same in bf16, which large tiles store in another way: bit for bit the
	// rounded result.
	ld := (c.rows + 63) / 64 * 64
	a.Out[0].Dst, a.Out[0].LdD, a.Out[0].Type = uint64(poison(b, c.tokens*ld)), int32(ld), kern.BF16
	b.must(b.launch(k, ty, tiles, splits, 384, shared, unsafe.Pointer(&a)))
	b.must(b.wait())
	half := get[uint16](b, pointer(a.Out[0].Dst), c.tokens*ld)
	for t := range c.tokens {
		for r := range c.rows {
			if want := weights.F32ToBF16(full[t*c.rows+r]); half[t*ld+r] != want {
				b.Errorf("%v %s, bf16 [%d, %d]: %#x, want %#x", c, name, t, r, half[t*ld+r], want)
				return
			}
		}
	}
}

// TestSpeed prints how fast the products run. WEIR_GPU_SPEED asks for it: few or
// many, or 1 for both.
func TestSpeed(t *testing.T) {
	asked := os.Getenv("WEIR_GPU_SPEED")
	if asked == "" {
		t.Skip("needs an NVIDIA GPU that nobody else uses, and WEIR_GPU_SPEED=1")
	}
	eachTarget(t, func(t *testing.T, b *bench) {
		const copies = 1 << 30
		from, to := b.alloc(copies), b.alloc(copies)
		ms := b.time(10, func(int) { b.must(b.call(cuMemcpyDtoDAsync, uintptr(to), uintptr(from), copies, b.queue)) })
		fmt.Printf("%v copy: %.0f GB/s read and written\n", b.target, 2*copies/ms/1e6)
		for _, fp8 := range []bool{false, true} {
			for _, tokens := range []int{1, 2, 4} {
				if asked == "many" {
					break
				}
				for _, sh := range [][2]int{{4096, 4096}, {6144, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096}} {
					b.fewSpeed(sh[0], sh[1], tokens, fp8)
				}
			}
		}
		if b.target == kern.SM89 || asked == "few" {
			return
		}
		for _, tokens := range []int{8, 16, 32, 64, 128, 256, 512, 2048, 8192} {
			for _, sh := range [][2]int{{4096, 4096}, {28672, 4096}, {4096, 14336}} {
				b.gemmSpeed(sh[0], sh[1], tokens, false)
				if b.target == kern.SM90a {
					b.gemmSpeed(sh[0], sh[1], tokens, true)
				}
			}
		}
	})
}

// time is the median milliseconds of f.
func (b *bench) time(n int, f func(i int)) float64 {
	var events [2]uintptr
	for i := range events {
		b.must(b.call(cuEventCreate, uintptr(unsafe.Pointer(&events[i])), 0))
	}
	for i := range 3 {
		f(i)
	}
	b.must(b.call(cuEventRecord, events[0], b.queue))
	for i := range n {
		f(i)
	}
	b.must(b.call(cuEventRecord, events[1], b.queue))
	b.must(b.call(cuEventSynchronize, events[1]))
	var ms float32
	b.must(b.call(cuEventElapsedTime, uintptr(unsafe.Pointer(&ms)), events[0], events[1]))
	for i := range events {
		b.must(b.call(cuEventDestroy, events[i]))
	}
	return float64(ms) / float64(n)
}

// random fills device memory with small random bf16 or E4M3, made from a little.
func (b *bench) random(n int, fp8 bool) pointer {
	p := b.alloc(n)
	const part = 1 << 20
	data := make([]byte, part)
	for i := 0; i < part; i += 2 {
		if fp8 {
			data[i], data[i+1] = byte(b.rng.Uint32())&0xbf, byte(b.rng.Uint32())&0xbf
		} else {
			binary.LittleEndian.PutUint16(data[i:], weights.F32ToBF16(2*b.rng.Float32()-1))
		}
	}
	for at := 0; at < n; at += part {
		b.must(b.upload(p.at(at), data[:min(part, n-at)]))
	}
	return p
}

func (b *bench) gemmSpeed(rows, k, tokens int, fp8 bool) {
	size := 2
	if fp8 {
		size = 1
	}
	keep := len(b.mine)
	sets := 1
	if tokens < 256 {
		sets = max(1, 400<<20/(rows*k*size))
	}
	hopper := b.target == kern.SM90a
	nts := []int{16, 64, 128}
	if hopper {
		nts = []int{16, 32, 64, 128, 256}
	}
	x, out := b.random(tokens*k*size, fp8), b.alloc(tokens*rows*2)
	tk, scale := put(b, []int32{int32(tokens)}), b.random(max(rows, tokens)*4, false)
	ws := make([]pointer, sets)
	for i := range ws {
		ws[i] = b.random(rows*k*size, fp8)
	}
	work, counts := b.alloc(256<<20), put(b, make([]uint32, 1<<16))
	line := fmt.Sprintf("%v gemm fp8=%v [%d, %d] x %d:", b.target, fp8, rows, k, tokens)
	for _, nt := range nts {
		if nt > 16 && nt >= 4*tokens || nt < 128 && tokens > 8*nt {
			continue
		}
		tiles, ty := (rows+127)/128, (tokens+nt-1)/nt
		for _, splits := range []int{1, 2, 4, 8} {
			if splits > 1 && tiles*ty*splits > 4*b.processors {
				continue
			}
			var ms float64
			if hopper {
				a := make([]kern.Hopper, sets)
				for i := range a {
					a[i] = kern.Hopper{Tokens: uint64(tk), Work: uint64(work), Counts: uint64(counts), N: 1, Steps: int32(k * size / 128)}
					a[i].Out[0] = kern.Out{Dst: uint64(out), Rows: int32(rows), LdD: int32(rows), Tiles: int32(tiles), Type: kern.BF16}
					if fp8 {
						a[i].Out[0].Scale, a[i].XScale = uint64(scale), uint64(scale)
					}
					var err error
					a[i].X, err = b.tensorMap(x, tokens, k*size, k*size, nt)
					b.must(err)
					a[i].W[0], err = b.tensorMap(ws[i], rows, k*size, k*size, 128)
					b.must(err)
				}
				shared := hopperStages[nt]*((128+nt)*128+16) + 1024
				kn := b.kernel(fmt.Sprintf("hopper_%s_%d", map[bool]string{true: "e4m3", false: "bf16"}[fp8], nt), shared)
				ms = b.time(20, func(i int) { b.must(b.launch(kn, ty, tiles, splits, 384, shared, unsafe.Pointer(&a[i%sets]))) })
				if nt == 256 && splits == 1 && tiles%2 == 0 {
					line += b.wideSpeed(a, x, rows, k*size, tokens, fp8)
				}
			} else {
				a := make([]kern.Gemm, sets)
				for i := range a {
					a[i] = kern.Gemm{X: uint64(x), Tokens: uint64(tk), Work: uint64(work), Counts: uint64(counts), N: 1, K: int32(k), LdX: int32(k), LdW: int32(k)}
					a[i].Out[0] = kern.Out{W: uint64(ws[i]), Dst: uint64(out), Rows: int32(rows), LdD: int32(rows), Tiles: int32(tiles), Type: kern.BF16}
				}
				shared := map[int]int{16: 4, 64: 4, 128: 3}[nt]*(128+nt)*128 + 1024
				kn := b.kernel(fmt.Sprintf("gemm_%d", nt), shared)
				ms = b.time(20, func(i int) { b.must(b.launch(kn, ty, tiles, splits, 256, shared, unsafe.Pointer(&a[i%sets]))) })
			}
			line += fmt.Sprintf("  n%d/%d %.1fus %.0fGB/s %.0fT", nt, splits, ms*1e3, float64(rows*k*size)/ms/1e6, 2*float64(rows)*float64(k)*float64(tokens)/ms/1e9)
		}
	}
	fmt.Println(line)
	b.freeTo(keep)
}
