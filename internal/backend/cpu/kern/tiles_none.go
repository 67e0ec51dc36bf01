//go:build !amd64

package kern

import "weir/internal/weights"

// No level here has tiles, so nobody calls these.
const noTiles = "kern: internal error: no tile kernels on this architecture"

// Multiply panics.
func (l Level) Multiply(*Block) { panic(noTiles) }

// MultiplyLaying panics.
func (l Level) MultiplyLaying(weights.Type, *Block) { panic(noTiles) }

// AttendPrompt panics.
func (l Level) AttendPrompt(*Attend) { panic(noTiles) }
