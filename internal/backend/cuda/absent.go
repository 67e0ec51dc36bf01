//go:build !linux || (!amd64 && !arm64) || nogpu

package cuda

import "weir/internal/backend"

// Open finds no GPU: this weir was built without them.
func Open(Options) (*Backend, error) { return nil, ErrAbsent }

// Backend is what Open would give.
type Backend struct{ backend.Backend }
