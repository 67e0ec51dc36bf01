//go:build !linux

package host

// LargePages tells whether programs that ask for large pages of memory may have them. Here there is no asking.
func (h *Host) LargePages() bool { return false }
