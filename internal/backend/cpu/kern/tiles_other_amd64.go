//go:build !linux

package kern

// hasTiles: how other systems let AMX be used is not known here.
func hasTiles() bool { return false }
