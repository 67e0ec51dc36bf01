package kern

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"weir/internal/weights"
)

// BenchmarkStream measures decode kernels on weights that come from memory, a
// gigabyte of random data, beside a plain read of as much in the same run. Each
// pass goes over another part. What others on the machine do changes the
// figures, so types and reads take turns; "share" is the median of a type's speed over that
// of the reads around it. Run with -benchtime 1x.
func BenchmarkStream(b *testing.B) {
	if testing.Short() {
		b.Skip("needs a gigabyte of memory")
	}
	const size, part, repeats = 1 << 30, 96 << 20, 9
	data := randomBytes(size + 1<<20)
	for _, l := range Levels()[1:] {
		for threads := 1; threads <= min(2, runtime.NumCPU()); threads++ {
			for _, typ := range weights.Types() {
				b.Run(fmt.Sprintf("%v/threads=%d/%v", l, threads, typ), func(b *testing.B) {
					for b.Loop() {
						var speeds, reads, shares []float64
						at := 0
						next := func() []byte {
							at = (at + part) % (size - part)
							return data[at+1 : at+1+part]
						}
						for range repeats {
							before := speed(threads, next(), readPass(l))
							v := speed(threads, next(), decodePass(l, typ))
							read := (before + speed(threads, next(), readPass(l))) / 2
							speeds, reads, shares = append(speeds, v), append(reads, read), append(shares, v/read)
						}
						b.ReportMetric(median(speeds), "GB/s")
						b.ReportMetric(median(reads), "read-GB/s")
						b.ReportMetric(median(shares), "share")
						b.ReportMetric(slices.Max(speeds)/slices.Max(reads), "best-share")
						b.ReportMetric(0, "ns/op")
					}
				})
			}
		}
	}
}

// randomBytes are numbers without infinities or NaNs, whatever they are read as.
func randomBytes(n int) []byte {
	data := make([]byte, n)
	s := uint64(88172645463325252)
	for i := 0; i+8 <= n; i += 8 {
		s ^= s << 13
		s ^= s >> 7
		s ^= s << 17
		for j := range 8 {
			data[i+j] = byte(s>>(8*j)) & 0xbf
		}
	}
	return data
}

func median[T cmp.Ordered](x []T) T {
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}

// speed runs pass on equal pieces of data by turns and gives GB/s in all.
func speed(threads int, data []byte, pass func([]byte)) float64 {
	const piece = 1 << 20
	pieces := make(chan []byte, len(data)/piece)
	for at := 0; at+piece <= len(data); at += piece {
		pieces <- data[at : at+piece]
	}
	close(pieces)
	n := cap(pieces) * piece
	begin := time.Now()
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for p := range pieces {
				pass(p)
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(begin).Seconds() / 1e9
}

func readPass(l Level) func([]byte) {
	return func(p []byte) { l.Read(&Probe{Data: &p[0], N: int64(len(p) / 512 * 512)}) }
}

func decodePass(l Level, typ weights.Type) func([]byte) {
	const cols = 2048
	size, _ := typ.RowBytes(cols)
	x := make([]float32, cols)
	for i := range x {
		x[i] = float32(i%17) - 8
	}
	o := newOperand(l, typ, x, 1, cols)
	return func(p []byte) {
		n := len(p) / size
		var out [1 << 20 / 512]float32
		l.Decode(typ, &Decode{W: &p[0], X: &o.data[0], Out: &out[0], Cols: cols, Rows: 1, N: int64(n),
			LdW: int64(size), LdX: int64(o.ld), LdO: int64(n)})
	}
}
