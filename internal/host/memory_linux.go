package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Memory tells what memory the machine has and what this process may use.
func (h *Host) Memory() (Memory, error) {
	m, err := h.meminfo()
	if err != nil {
		return Memory{}, err
	}
	groups, err := h.cgroups("memory")
	if err != nil {
		return Memory{}, fmt.Errorf("find the memory cgroup: %w", err)
	}
	for _, g := range groups {
		for _, dir := range g.levels() {
			l, err := h.memoryLimits(g.version, dir)
			if err != nil {
				return Memory{}, err
			}
			m.Limits = append(m.Limits, l...)
		}
	}
	return m, nil
}

// meminfo reads the machine's side: MemAvailable is the kernel's estimate of
// what can be had without swapping, caches that give way included.
func (h *Host) meminfo() (Memory, error) {
	lines, err := h.lines("/proc/meminfo")
	if err != nil {
		return Memory{}, fmt.Errorf("read the machine's memory: %w", err)
	}
	kib := map[string]int64{}
	for _, line := range lines {
		key, rest, _ := strings.Cut(line, ":")
		if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
			kib[key] = n
		}
	}
	m := Memory{Total: kib["MemTotal"] << 10, Free: kib["MemAvailable"] << 10}
	if m.Total <= 0 {
		return Memory{}, errors.New("/proc/meminfo has no MemTotal: is /proc mounted?")
	}
	if _, ok := kib["MemAvailable"]; !ok { // a kernel before 3.14, or a sandbox
		m.Free = (kib["MemFree"] + kib["Cached"]) << 10
	}
	return m, nil
}

// memoryFiles are the names of one version's files.
type memoryFiles struct {
	limits   []string
	usage    string
	inactive string // in memory.stat: file cache not used lately, the first to give way
}

var memoryFilesOf = map[int]memoryFiles{
	1: {[]string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"},
	// Above memory.high processes are slowed down to a crawl: no less a limit.
	2: {[]string{"memory.max", "memory.high"}, "memory.current", "inactive_file"},
}

// unlimited is from where a limit means none: version 1 writes the largest
// multiple of a page that an int64 holds.
const unlimited = 1 << 60

// memoryLimits reads the limits that one folder of a cgroup hierarchy sets.
func (h *Host) memoryLimits(version int, dir string) ([]Limit, error) {
	files := memoryFilesOf[version]
	var limits []Limit
	for _, name := range files.limits {
		file := path.Join(dir, name)
		s, err := h.word(file)
		if errors.Is(err, fs.ErrNotExist) || s == "max" {
			continue // the root has no such file, nor has a group without the controller
		}
		n, err := parseBytes(file, s, err)
		if err != nil {
			return nil, err
		}
		if n >= unlimited {
			continue
		}
		used, err := h.memoryUsed(files, dir)
		if err != nil {
			return nil, err
		}
		limits = append(limits, Limit{Bytes: n, Used: used, File: file})
	}
	return limits, nil
}

// memoryUsed reads what a group uses. Sandboxes that set limits may hide it;
// then the whole limit counts as left.
func (h *Host) memoryUsed(files memoryFiles, dir string) (int64, error) {
	file := path.Join(dir, files.usage)
	s, err := h.word(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	used, err := parseBytes(file, s, err)
	if err != nil {
		return 0, err
	}
	stat := path.Join(dir, "memory.stat")
	cache, err := h.field(stat, files.inactive)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read %s: %w", stat, err)
	}
	return max(used-cache, 0), nil
}

// parseBytes reads a number of bytes that was read from file, if err is nil.
func parseBytes(file, s string, err error) (int64, error) {
	var n uint64
	if err == nil {
		n, err = strconv.ParseUint(s, 10, 64)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	return int64(min(n, unlimited)), nil
}
