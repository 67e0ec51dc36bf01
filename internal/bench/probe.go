package bench

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"

	"weir/internal/backend/cpu"
	"weir/internal/backend/cpu/kern"
	"weir/internal/host"
)

const (
	// ProbeBytes is the random data that reading is measured on: more than any
	// cache holds.
	ProbeBytes = 1 << 30
	// readPass is how much a probe reads; each goes on where the last ended.
	readPass  = 256 << 20
	readPiece = 1 << 20
	// computeTime is about how long a probe computes.
	computeTime = 25 * time.Millisecond
)

// cpuProber measures what the machine can do, on the threads that the engine uses.
type cpuProber struct {
	pool *cpu.Pool
	data []byte // random
	at   int
	read reader
	peak computer
}

// newProber fills the data that is read, at least readPass bytes.
func newProber(pool *cpu.Pool, level kern.Level, bytes int64) (*cpuProber, error) {
	data, err := allocate(bytes)
	if err != nil {
		return nil, fmt.Errorf("allocate %s to measure memory with: %w", host.Bytes(bytes), err)
	}
	p := &cpuProber{pool: pool, data: data}
	pool.Run(len(data)/readPiece, fillTask(data))
	// How fast memory is read is the machine's affair, not the level's.
	p.read.level = kern.Best()
	p.peak.level = level
	g := newGenerator("operands", 0)
	fillFloats(&g, p.peak.operands[:], floatLayout{8, 7, 127}, 1) // as float32, too, they are near 1
	return p, nil
}

func (p *cpuProber) close() error { return release(p.data) }

func (p *cpuProber) bytes() int64 { return int64(len(p.data)) }

func (p *cpuProber) methods() (read, arithmetic string) { return p.read.method(), p.peak.method() }

type fillTask []byte

func (t fillTask) Do(_, item int) {
	g := newGenerator("probe", item)
	g.fill(t[item*readPiece:][:readPiece], allBits, 0)
}

// bandwidth reads a part of the data and gives bytes a second.
func (p *cpuProber) bandwidth() float64 {
	if p.at+readPass > len(p.data) {
		p.at = 0
	}
	p.read.data = p.data[p.at:][:readPass]
	p.at += readPass
	began := time.Now()
	p.pool.Run(readPass/readPiece, &p.read)
	return readPass / time.Since(began).Seconds()
}

// reader reads pieces of data.
type reader struct {
	level kern.Level
	data  []byte
}

func (r *reader) method() string {
	if r.level == kern.Portable {
		return "Go loop over words of 8 bytes"
	}
	return r.level.String() + " kernel"
}

func (r *reader) Do(_, item int) {
	b := r.data[item*readPiece:][:readPiece]
	if r.level == kern.Portable {
		sum := readWords(b)
		runtime.KeepAlive(&sum)
		return
	}
	r.level.Read(&kern.Probe{Data: &b[0], N: int64(len(b))})
}

// readWords is four sums at once, so that none waits for another.
func readWords(b []byte) uint64 {
	var s, t, u, v uint64
	for ; len(b) >= 32; b = b[32:] {
		s += binary.LittleEndian.Uint64(b)
		t += binary.LittleEndian.Uint64(b[8:])
		u += binary.LittleEndian.Uint64(b[16:])
		v += binary.LittleEndian.Uint64(b[24:])
	}
	return s + t + u + v
}

// arithmetic multiplies and adds for a while and gives operations a second, two
// for each multiply-add.
func (p *cpuProber) arithmetic() float64 {
	items := 16 * p.pool.Threads()
	began := time.Now()
	runs := 0
	for time.Since(began) < computeTime {
		p.pool.Run(items, &p.peak)
		runs++
	}
	return float64(runs) * float64(items) * p.peak.flops() / time.Since(began).Seconds()
}

// computer is multiply-adds in registers.
type computer struct {
	level    kern.Level
	operands [kern.PeakBytes]byte
}

// computeSteps keeps an item well below half a millisecond, on the portable level
// too.
const computeSteps = 1 << 12

func (c *computer) method() string {
	if c.level == kern.Portable {
		return "portable loop in Go, float32"
	}
	return fmt.Sprintf("%v kernel, %d multiply-adds a step", c.level, c.level.PeakOps())
}

// flops is the operations of an item.
func (c *computer) flops() float64 {
	if c.level == kern.Portable {
		return 2 * portableOps * computeSteps
	}
	return 2 * float64(c.level.PeakOps()) * computeSteps
}

func (c *computer) Do(int, int) {
	if c.level == kern.Portable {
		sum := multiplyAdd(c.operands[:])
		runtime.KeepAlive(&sum)
		return
	}
	c.level.Peak(&kern.Probe{Data: &c.operands[0], N: computeSteps})
}

// portableOps is the multiply-adds of a step of multiplyAdd.
const portableOps = 8

// multiplyAdd is what the portable level's products are made of: rounded
// products, added to eight sums.
func multiplyAdd(operands []byte) float32 {
	x, y := float32(operands[0])/256, float32(operands[1])/256
	a, b, c, d := x, y, x+y, x-y
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for range computeSteps {
		s0 += float32(a * x)
		s1 += float32(b * x)
		s2 += float32(c * x)
		s3 += float32(d * x)
		s4 += float32(a * y)
		s5 += float32(b * y)
		s6 += float32(c * y)
		s7 += float32(d * y)
		x, y = y, x // so that no product is the same as in the step before
	}
	return s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
}
