//go:build unix && !linux

package bench

// preferLargePages: there is no asking for them here.
func preferLargePages([]byte) {}
