// Package host tells what the machine has for weir: processors, memory, disk,
// ports, and who holds one.
//
// What the machine has and what a process may use differ: a container's cgroup
// or a service's limits it, at any level of the hierarchy above it, and a
// process that believes /proc/meminfo there is killed. So [Host.CPUs] and
// [Host.Memory] look at the affinity mask and at every cgroup (version 1 or 2)
// from the process's own up to the root, and name the file whose limit binds.
//
// On Linux everything comes from /proc and /sys. Elsewhere there are no cgroups
// and what cannot be known without privileges or C is said to be unknown,
// rather than guessed.
package host

import (
	"fmt"
	"path/filepath"
	"runtime"
)

// Host is the machine, or a picture of one.
type Host struct {
	root string
}

// New returns the machine whose /proc and /sys are under root: "/", or a
// folder that a test made. Systems without them ignore root.
func New(root string) *Host { return &Host{root: root} }

// path returns the place of an absolute path under the root.
func (h *Host) path(abs ...string) string {
	return filepath.Join(h.root, filepath.Join(abs...))
}

// CPUs is what computes.
type CPUs struct {
	Online  int // logical processors of the machine
	Allowed int // of them, those that the process's affinity mask lets it use
	// Cores are physical: of the allowed processors, those that share no core.
	// Where the system does not tell, as many as Allowed.
	Cores int
	// Quota is how many processors' time a cgroup grants, nil without a limit.
	Quota *Quota
}

// Quota is a limit of processor time.
type Quota struct {
	CPUs float64 // processors' worth of time
	File string  // where it is set
}

// Workers returns how many threads that never rest the machine can run at full
// speed: one a core, and no more than the quota pays for, as threads over it
// are all stopped for the rest of each period.
func (c CPUs) Workers() int {
	n := c.Cores
	if c.Quota != nil {
		n = min(n, int(c.Quota.CPUs))
	}
	return max(n, 1)
}

// String describes the processors in a phrase: "8 cores (16 threads)".
func (c CPUs) String() string {
	s := plural(c.Cores, "core")
	if c.Allowed > c.Cores {
		s += fmt.Sprintf(" (%d threads)", c.Allowed)
	}
	if c.Online > c.Allowed {
		s += fmt.Sprintf(", %d of the machine's %d processors allowed", c.Allowed, c.Online)
	}
	if c.Quota != nil {
		s += fmt.Sprintf(", limited to the time of %.3g by %s", c.Quota.CPUs, c.Quota.File)
	}
	return s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Memory is what there is to compute in, in bytes.
type Memory struct {
	Total int64 // of the machine
	Free  int64 // of the machine: unused, or used by caches that give way
	// Limits are those set on the process, innermost first.
	Limits []Limit
}

// Limit is a bound that a cgroup sets on the memory of its processes together.
type Limit struct {
	Bytes int64
	Used  int64 // less the file cache that gives way
	File  string
}

// left returns what the limit leaves to take.
func (l Limit) left() int64 { return max(l.Bytes-l.Used, 0) }

// Available returns how much a process may take without being killed or
// swapped, as far as can be told: the least that the machine and each limit
// leave.
func (m Memory) Available() int64 {
	if l := m.Binding(); l != nil {
		return l.left()
	}
	return m.Free
}

// Binding returns the limit that leaves less than the machine has free, and the
// least of all; nil if it is the machine itself that binds.
func (m Memory) Binding() *Limit {
	var binding *Limit
	least := m.Free
	for i := range m.Limits {
		if left := m.Limits[i].left(); left < least {
			binding, least = &m.Limits[i], left
		}
	}
	return binding
}

// String says what is available and why not more:
//
//	23.1 GiB available (of 23.5 GiB; no cgroup limit)
//	1.5 GiB available (2.0 GiB allowed by /sys/fs/cgroup/box/memory.max, 0.5 GiB of it used; the machine has 19.2 of 23.5 GiB free)
func (m Memory) String() string {
	available := Bytes(m.Available()) + " available"
	if b := m.Binding(); b != nil {
		return fmt.Sprintf("%s (%s allowed by %s, %s of it used; the machine has %s of %s free)",
			available, Bytes(b.Bytes), b.File, Bytes(b.Used), Bytes(m.Free), Bytes(m.Total))
	}
	if runtime.GOOS != "linux" {
		return fmt.Sprintf("%s (of %s)", available, Bytes(m.Total))
	}
	if len(m.Limits) == 0 {
		return fmt.Sprintf("%s (of %s; no cgroup limit)", available, Bytes(m.Total))
	}
	l := m.Limits[0]
	return fmt.Sprintf("%s (of %s; the limit of %s in %s leaves more)", available, Bytes(m.Total), Bytes(l.Bytes), l.File)
}

// Bytes writes a size as people read it: "512 B", "3.2 MiB", "23.1 GiB".
func Bytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, " KMGT"[unit])
}

// Disk is a file system.
type Disk struct {
	Total, Free int64 // bytes; Free is what this user may still write
}
