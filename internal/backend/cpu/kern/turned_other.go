//go:build !amd64

package kern

import "weir/internal/weights"

// No level here turns rows, so nobody calls the methods.
const noTurning = "kern: internal error: no turned rows on this architecture"

// Turn panics.
func (l Level) Turn(*Convert) { panic(noTurning) }

// DecodeTurned panics.
func (l Level) DecodeTurned(weights.Type, *Decode) { panic(noTurning) }
