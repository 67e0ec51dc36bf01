//go:build linux && amd64

package kern

import (
	"bytes"
	"os"
	"testing"
)

func TestVendor(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if intel := bytes.Contains(info, []byte("GenuineIntel")); slowBF16() != intel {
		t.Errorf("slowBF16() is %v, but that the processor is Intel's is %v", slowBF16(), intel)
	}
}

func TestAhead(t *testing.T) {
	if got := aheadOf('G' | 'e'<<8 | 'n'<<16 | 'u'<<24); got.near == 0 || got.far <= got.near {
		t.Errorf("Intel's: %v, want both caches, the second-level one earlier", got)
	}
	if got := aheadOf('A' | 'u'<<8 | 't'<<16 | 'h'<<24); got.near != 0 || got.far == 0 {
		t.Errorf("AMD's: %v, want the second-level cache alone", got)
	}
}

func TestFastest(t *testing.T) {
	for _, c := range []struct {
		levels []Level
		slow   bool
		want   Level
	}{
		{[]Level{Portable}, true, Portable},
		{[]Level{Portable, AVX2, AVXVNNI}, true, AVXVNNI},
		{[]Level{Portable, AVX2, AVX512}, true, AVX512},
		{[]Level{Portable, AVX2, AVXVNNI, AVX512}, false, AVX512},
		{[]Level{Portable, AVX2, AVX512, AVX512BF16}, true, AVX512},
		{[]Level{Portable, AVX2, AVX512, AVX512BF16}, false, AVX512BF16},
		{[]Level{Portable, AVX2, AVX512, AVX512BF16, AMX}, true, AMX},
	} {
		if got := fastest(c.levels, c.slow); got != c.want {
			t.Errorf("of %v, bf16 slow %v: %v, want %v", c.levels, c.slow, got, c.want)
		}
	}
}
