//go:build !linux || (!amd64 && !arm64) || nogpu

package cuda

import (
	"weir/internal/backend"
	"weir/internal/weights"
)

// Open finds no GPU: this weir was built without them.
func Open(Options) (*Backend, error) { return nil, ErrAbsent }

// Backend is what Open would give.
type Backend struct{ backend.Backend }

// Describe is the card and the driver, for people.
func (b *Backend) Describe() string { return ErrAbsent.Error() }

// Memory is the bytes that the GPU has free and in all.
func (b *Backend) Memory() (free, total int64, unified bool, err error) {
	return 0, 0, false, ErrAbsent
}

// NewMeter would measure the GPU.
func (b *Backend) NewMeter() (Meter, error) { return nil, ErrAbsent }

// TooWide adds nothing.
func (b *Backend) TooWide(err error, _ bool) error { return err }

// LoadRandom would make random numbers on the GPU.
func (b *Backend) LoadRandom(weights.Tensor) (backend.Weight, error) { return nil, ErrAbsent }
