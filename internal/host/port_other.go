//go:build !linux

package host

import (
	"errors"
	"fmt"
	"runtime"
)

// PortHolder cannot tell who listens on a port without C or privileges here;
// the error wraps errors.ErrUnsupported and names the command that can.
func (h *Host) PortHolder(port int) (Holder, error) {
	command := fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN", port)
	if runtime.GOOS == "windows" {
		command = fmt.Sprintf("netstat -ano -p tcp | findstr :%d", port)
	}
	return Holder{}, fmt.Errorf("who holds port %d is not known on %s (%s tells): %w",
		port, runtime.GOOS, command, errors.ErrUnsupported)
}
