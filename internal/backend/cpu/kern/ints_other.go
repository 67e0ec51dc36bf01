//go:build !amd64

package kern

import "weir/internal/weights"

// No level here has integer products of prompts, so nobody calls the methods.
const noIntegers = "kern: internal error: no integer products of prompts on this architecture"

// PackIntegers panics.
func (l Level) PackIntegers(*Convert) { panic(noIntegers) }

// IntegerPanel panics.
func (l Level) IntegerPanel(weights.Type, *Convert) { panic(noIntegers) }

// MultiplyIntegers panics.
func (l Level) MultiplyIntegers(weights.Type, *Integers) { panic(noIntegers) }
