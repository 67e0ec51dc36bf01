package host

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// PortHolder tells who listens on a TCP port, of those in this network
// namespace. If nobody does, the error wraps ErrNotListening.
func (h *Host) PortHolder(port int) (Holder, error) {
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		s, err := h.listener(table, port)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6, say
		}
		if err != nil {
			return Holder{}, fmt.Errorf("find who holds port %d: %w", port, err)
		}
		if s == nil {
			continue
		}
		p := Holder{Addr: s.addr, UID: s.uid}
		h.identify(&p, s.inode)
		return p, nil
	}
	return Holder{}, fmt.Errorf("port %d: %w", port, ErrNotListening)
}

// socket is a listening one.
type socket struct {
	addr  string
	uid   int
	inode string
}

const stateListen = "0A"

// listener finds the socket that listens on a port, or nil. The columns are:
// slot, local address, remote address, state, queues, timer, retransmissions,
// uid, timeout, inode (proc_pid_net(5)).
func (h *Host) listener(table string, port int) (*socket, error) {
	lines, err := h.lines(table)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != stateListen {
			continue
		}
		ip, p, ok := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(p, 16, 16)
		if !ok || err != nil || int(n) != port {
			continue
		}
		uid, err := strconv.Atoi(f[7])
		if err != nil {
			return nil, fmt.Errorf("read %s: user %q is no number", table, f[7])
		}
		return &socket{addr: parseIP(ip), uid: uid, inode: f[9]}, nil
	}
	return nil, nil
}

// parseIP reads an address as the kernel prints it: 32-bit words of the
// machine's byte order, little on all that weir runs on.
func parseIP(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil || len(b)%4 != 0 {
		return s
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return s
	}
	return ip.Unmap().String()
}

// identify fills in the process that has a socket open. Without the right to
// look into a process it stays hidden.
func (h *Host) identify(p *Holder, inode string) {
	procs, err := os.ReadDir(h.path("/proc"))
	if err != nil {
		return
	}
	var pids []int
	for _, e := range procs {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids) // a parent that handed the socket on comes before its children
	for _, pid := range pids {
		dir := h.path("/proc", strconv.Itoa(pid))
		if !hasOpen(dir, "socket:["+inode+"]") {
			continue
		}
		p.PID = pid
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		p.Name = strings.TrimSpace(string(name))
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if s := strings.TrimRight(string(command), "\x00"); s != "" {
			p.Command = strings.Split(s, "\x00")
		}
		return
	}
}

// hasOpen tells whether a process has a file open.
func hasOpen(procDir, target string) bool {
	fds, err := os.ReadDir(filepath.Join(procDir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if t, err := os.Readlink(filepath.Join(procDir, "fd", fd.Name())); err == nil && t == target {
			return true
		}
	}
	return false
}
