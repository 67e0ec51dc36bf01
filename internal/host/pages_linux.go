package host

import "strings"

// LargePages tells whether programs that ask for large pages of memory may have them.
func (h *Host) LargePages() bool {
	s, err := h.lines("/sys/kernel/mm/transparent_hugepage/enabled")
	return err == nil && len(s) > 0 && !strings.Contains(s[0], "[never]")
}
