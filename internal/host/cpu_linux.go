package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// CPUs tells what processors the machine has and which this process may use.
func (h *Host) CPUs() (CPUs, error) {
	allowed, err := h.allowedCPUs()
	if err != nil {
		return CPUs{}, fmt.Errorf("find the allowed processors: %w", err)
	}
	c := CPUs{Online: len(allowed), Allowed: len(allowed), Cores: h.coresOf(allowed)}
	if s, err := h.word("/sys/devices/system/cpu/online"); err == nil {
		online, err := parseCPUList(s)
		if err != nil {
			return CPUs{}, fmt.Errorf("read /sys/devices/system/cpu/online: %w", err)
		}
		c.Online = max(len(online), c.Allowed)
	}
	if c.Quota, err = h.cpuQuota(); err != nil {
		return CPUs{}, err
	}
	return c, nil
}

// allowedCPUs reads the affinity mask, in which cpusets are included.
func (h *Host) allowedCPUs() ([]int, error) {
	lines, err := h.lines("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return parseCPUList(strings.TrimSpace(list))
		}
	}
	return nil, errors.New("/proc/self/status has no Cpus_allowed_list")
}

// maxCPUs is more than Linux can be built for; a list beyond it is nonsense.
const maxCPUs = 1 << 16

// parseCPUList reads "0-3,8,10-11".
func parseCPUList(s string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(last)
		}
		if err != nil || a < 0 || b < a || b >= maxCPUs || len(cpus) >= maxCPUs {
			return nil, fmt.Errorf("%q is no list of processors", s)
		}
		for i := a; i <= b; i++ {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// coresOf counts the physical cores of processors. Where the topology is
// hidden, as in some sandboxes, each counts as one.
func (h *Host) coresOf(cpus []int) int {
	cores := map[string]bool{}
	for _, cpu := range cpus {
		dir := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology", cpu)
		socket, err1 := h.word(path.Join(dir, "physical_package_id"))
		core, err2 := h.word(path.Join(dir, "core_id"))
		// Cores of different dies of a socket may share an id.
		die, _ := h.word(path.Join(dir, "die_id"))
		if err1 != nil || err2 != nil {
			return len(cpus)
		}
		cores[socket+"/"+die+"/"+core] = true
	}
	return len(cores)
}

// cpuQuota returns the tightest quota of the process's cgroups, or nil.
func (h *Host) cpuQuota() (*Quota, error) {
	groups, err := h.cgroups("cpu")
	if err != nil {
		return nil, fmt.Errorf("find the cpu cgroup: %w", err)
	}
	var tightest *Quota
	for _, g := range groups {
		for _, dir := range g.levels() {
			q, err := h.quotaAt(g.version, dir)
			if err != nil {
				return nil, err
			}
			if q != nil && (tightest == nil || q.CPUs < tightest.CPUs) {
				tightest = q
			}
		}
	}
	return tightest, nil
}

// quotaAt reads one folder's quota, in microseconds of each period: version 2
// has "200000 100000" or "max 100000" in one file, version 1 two files and -1
// for no limit.
func (h *Host) quotaAt(version int, dir string) (*Quota, error) {
	file := path.Join(dir, "cpu.max")
	if version == 1 {
		file = path.Join(dir, "cpu.cfs_quota_us")
	}
	s, err := h.word(file)
	if version == 1 && err == nil {
		var period string
		period, err = h.word(path.Join(dir, "cpu.cfs_period_us"))
		s += " " + period
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	quota, period, _ := strings.Cut(s, " ")
	if quota == "max" || quota == "-1" {
		return nil, nil
	}
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || !(q > 0 && p > 0) {
		return nil, fmt.Errorf("read %s: %q is no quota", file, s)
	}
	return &Quota{CPUs: q / p, File: file}, nil
}
