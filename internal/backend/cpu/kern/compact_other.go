//go:build !amd64 && !arm64

package kern

// Compact panics.
func (l Level) Compact(*Compact) { panic(none) }

// Restore panics.
func (l Level) Restore(*Compact) { panic(none) }

// DecodeCompact panics.
func (l Level) DecodeCompact(*Decode) { panic(none) }
