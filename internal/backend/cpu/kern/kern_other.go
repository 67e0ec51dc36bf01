//go:build !amd64 && !arm64

package kern

import "weir/internal/weights"

// Levels lists what this machine can run: the portable loops.
func Levels() []Level { return []Level{Portable} }

// There is no level with kernels, so nobody calls the methods.
const none = "kern: internal error: no kernels on this architecture"

// Dots panics.
func (l Level) Dots(*Dots) { panic(none) }

// Axpy panics.
func (l Level) Axpy(*Axpy) { panic(none) }

// Quantize panics.
func (l Level) Quantize(*Convert) { panic(none) }

// Decode panics.
func (l Level) Decode(weights.Type, *Decode) { panic(none) }

// Dequantize panics.
func (l Level) Dequantize(weights.Type, *Convert) { panic(none) }

// Panel panics.
func (l Level) Panel(weights.Type, *Convert) { panic(none) }

// Pack panics.
func (l Level) Pack(*Convert) { panic(none) }

// Gemm panics.
func (l Level) Gemm(*Gemm) { panic(none) }

// Peak panics.
func (l Level) Peak(*Probe) { panic(none) }

// PeakOps panics.
func (l Level) PeakOps() int { panic(none) }

// Norm panics.
func (l Level) Norm(*Norm) { panic(none) }

// Gate panics.
func (l Level) Gate(*Gate) { panic(none) }

// Rotate panics.
func (l Level) Rotate(*Rotate) { panic(none) }

// Keep panics.
func (l Level) Keep(KVType, *Convert) { panic(none) }

// Attend panics.
func (l Level) Attend(*Attend) { panic(none) }

// AttendMany panics.
func (l Level) AttendMany(*Attend) { panic(none) }

// Maxima panics.
func (l Level) Maxima(*Convert) { panic(none) }

// Weigh panics.
func (l Level) Weigh(*Weigh) { panic(none) }

// Read panics.
func (l Level) Read(*Probe) { panic(none) }
