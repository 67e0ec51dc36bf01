//go:build linux && !nogpu

package cpu

// The program calls the GPU's driver through purego, which brings a C library, its
// threads and its signal masks into the process. Linked here, the backend is tested
// under all that as well: -tags nogpu tests it without.
import _ "github.com/ebitengine/purego"
