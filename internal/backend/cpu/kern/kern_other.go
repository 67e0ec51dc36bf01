//go:build !amd64

package kern

// Levels lists what this machine can run: the portable loops.
func Levels() []Level { return []Level{Portable} }

// Dots panics: there is no level with kernels.
func (l Level) Dots(*Dots) { panic("kern: internal error: no kernels on this architecture") }

// Axpy panics: there is no level with kernels.
func (l Level) Axpy(*Axpy) { panic("kern: internal error: no kernels on this architecture") }
