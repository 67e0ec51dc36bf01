//go:build arm64 && !linux && !darwin

package kern

// hasBF16: nobody says so here.
func hasBF16() bool { return false }
