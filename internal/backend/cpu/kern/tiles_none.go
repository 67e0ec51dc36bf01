//go:build !amd64

package kern

import "weir/internal/weights"

// No level here has tiles, so nobody calls these.
const noTiles = "kern: internal error: no tile kernels on this architecture"

// Lay panics.
func (l Level) Lay(*Convert) { panic(noTiles) }

// DecodeTiles panics.
func (l Level) DecodeTiles(weights.Type, *Decode) { panic(noTiles) }

// Multiply panics.
func (l Level) Multiply(*Block) { panic(noTiles) }

// AttendPrompt panics.
func (l Level) AttendPrompt(*Attend) { panic(noTiles) }
