package cpu

import (
	"slices"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
)

// TestSharing: from two spans of six rows on they share panels; one alone lies turned.
func TestSharing(t *testing.T) {
	for _, c := range []struct {
		level kern.Level
		rows  int
		want  []string
	}{
		{kern.AVX512, 4, []string{"rows"}},
		{kern.AVX512, 5, []string{"turned"}},
		{kern.AVX512, 16, []string{"turned"}},
		{kern.AMX, 21, []string{"turned", "turned"}},
		{kern.AMX, 22, []string{"few", "few"}},
		{kern.AVX512BF16, 35, []string{"few", "few", "rows"}},
		{kern.AMX, 64, []string{"few", "few", "few", "few"}},
		{kern.AVX2, 35, []string{"turned", "turned", "turned"}},
	} {
		var rows classes
		rows.set(c.rows, func(int) backend.Class { return backend.Decode })
		task := linearTask{arith: arith{level: c.level}, classes: &rows}
		task.byShared = task.shares()
		var got []string
		for _, sp := range rows.decode {
			switch {
			case task.few(sp):
				got = append(got, "few")
			case task.turned(sp, true):
				got = append(got, "turned")
			default:
				got = append(got, "rows")
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v, %d rows: %v, want %v", c.level, c.rows, got, c.want)
		}
	}
}
