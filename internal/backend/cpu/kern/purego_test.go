//go:build linux && !nogpu

package kern

// The program calls the GPU's driver through purego, which brings a C library, its
// threads and its signal masks into the process. Linked here, the kernels are tested
// under all that as well: -tags nogpu tests them without.
import _ "github.com/ebitengine/purego"
