//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package weights

// populate reads and maps the pages of a part of a mapping.
func populate(part []byte) error { return touch(part) }

// preferLargePages: there is no asking for them here.
func preferLargePages([]byte) {}
