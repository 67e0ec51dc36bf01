//go:build !linux

package cpu

// preferLargePages: there is no asking for them here.
func preferLargePages([]byte) {}
