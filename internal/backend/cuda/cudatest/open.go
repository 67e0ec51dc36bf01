// Package cudatest opens a GPU for tests of the packages above the backend.
package cudatest

import (
	"errors"
	"testing"

	"weir/internal/backend/cuda"
)

// Open opens the machine's GPU, or skips the test where there is none. Who asked closes it.
func Open(t testing.TB, o cuda.Options) *cuda.Backend {
	t.Helper()
	b, err := cuda.Open(o)
	if errors.Is(err, cuda.ErrAbsent) {
		t.Skipf("needs an NVIDIA GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}
