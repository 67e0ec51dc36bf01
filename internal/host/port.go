package host

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
)

// ErrNotListening is what PortHolder returns, wrapped, if nobody listens.
var ErrNotListening = errors.New("nobody listens")

// Holder is a process that listens on a TCP port.
type Holder struct {
	Addr string // the address it listens on, "127.0.0.1" or "::"
	// PID is 0 if the process is hidden: another user's, or another container's.
	PID     int
	Name    string
	Command []string // with arguments, which may hold secrets
	UID     int      // the user that opened the socket
}

// String names the holder for an error message: "python3 (pid 4711: python3 -m
// http.server)". The command ends before the first option in long form, as
// those can carry keys.
func (p Holder) String() string {
	if p.PID == 0 {
		return fmt.Sprintf("a process of user %d that is hidden from this one", p.UID)
	}
	shown := p.Command
	for i, arg := range shown {
		if strings.HasPrefix(arg, "--") {
			shown = append(shown[:i:i], "…")
			break
		}
	}
	s := printable(p.Name) + fmt.Sprintf(" (pid %d", p.PID)
	if command := shorten(printable(strings.Join(shown, " ")), 100); command != "" {
		s += ": " + command
	}
	return s + ")"
}

// printable replaces what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// portsTried bounds FreePort's search.
const portsTried = 1000

// FreePort returns the first port after one that can be listened on at an
// address ("" for all). Another process may take it at any moment.
func FreePort(addr string, after int) (int, error) {
	last := min(after+portsTried, 65535)
	for port := after + 1; port <= last; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
		if err == nil {
			l.Close()
			return port, nil
		}
		var dns *net.DNSError
		var bad *net.AddrError
		if errors.As(err, &dns) || errors.As(err, &bad) {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
	}
	return 0, fmt.Errorf("find a free port: none from %d to %d can be listened on at %q", after+1, last, addr)
}
