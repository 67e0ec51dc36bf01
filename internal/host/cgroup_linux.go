package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// cgroup is a group that the process is in, in one hierarchy.
type cgroup struct {
	version int
	mount   string // where the hierarchy is mounted
	sub     string // the group's path under it; "/" for the topmost that can be seen
}

// levels returns the folders of the group and of those above it, innermost
// first. A limit of any of them holds.
func (g cgroup) levels() []string {
	var dirs []string
	for sub := g.sub; ; sub = path.Dir(sub) {
		dirs = append(dirs, path.Join(g.mount, sub))
		if sub == "/" {
			return dirs
		}
	}
}

// cgroups finds the groups of this process that may hold limits of a kind:
// "memory" or "cpu". A machine can have both versions mounted (the "hybrid"
// layout), in which one of them is without the controller's files.
func (h *Host) cgroups(controller string) ([]cgroup, error) {
	mounts, err := h.cgroupMounts(controller)
	if err != nil || len(mounts) == 0 {
		return nil, err
	}
	lines, err := h.lines("/proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without cgroups
	}
	if err != nil {
		return nil, err
	}
	var groups []cgroup
	for _, line := range lines {
		// hierarchy:controllers:path, as cgroups(7) has it.
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("/proc/self/cgroup: line %q has no three fields", line)
		}
		version := 1
		if f[0] == "0" && f[1] == "" {
			version = 2
		} else if !listed(f[1], controller) {
			continue
		}
		if m, ok := mounts[version]; ok {
			groups = append(groups, cgroup{version, m.point, m.under(f[2])})
		}
	}
	return groups, nil
}

// cgroupMount is where a hierarchy is mounted, and which group of it lies
// there: a container sees a part of the host's tree.
type cgroupMount struct{ point, group string }

// under returns a group's path below the mount point. A group outside what is
// mounted ("/../x" in a namespace) cannot be seen; the topmost stands for it.
func (m cgroupMount) under(group string) string {
	rest, ok := strings.CutPrefix(group, strings.TrimSuffix(m.group, "/"))
	if !ok || strings.HasPrefix(group, "/..") || rest != "" && rest[0] != '/' {
		return "/"
	}
	return path.Clean("/" + rest)
}

// cgroupMounts returns the hierarchies mounted for a controller, by version.
func (h *Host) cgroupMounts(controller string) (map[int]cgroupMount, error) {
	lines, err := h.lines("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounts := map[int]cgroupMount{}
	for _, line := range lines {
		// ... root mountpoint options [tags] - type source superoptions (proc(5))
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue
		}
		version := 0
		switch {
		case g[0] == "cgroup2":
			version = 2
		case g[0] == "cgroup" && listed(g[2], controller):
			version = 1
		default:
			continue
		}
		if _, twice := mounts[version]; !twice {
			mounts[version] = cgroupMount{point: unescape(f[4]), group: unescape(f[3])}
		}
	}
	return mounts, nil
}

// unescape undoes what the kernel does to blanks in mountinfo: "\040".
func unescape(s string) string {
	for _, e := range []struct{ code, char string }{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, e.code, e.char)
	}
	return s
}

// listed tells whether a word is in a comma-separated list.
func listed(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// lines reads a file of the machine.
func (h *Host) lines(name string) ([]string, error) {
	f, err := os.Open(h.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return lines, nil
}

// word reads a file that holds one line.
func (h *Host) word(name string) (string, error) {
	b, err := os.ReadFile(h.path(name))
	return strings.TrimSpace(string(b)), err
}

// field reads the value of a key from lines of "key value", as memory.stat has
// them; 0 if it is not there.
func (h *Host) field(name, key string) (int64, error) {
	lines, err := h.lines(name)
	if err != nil {
		return 0, err
	}
	for _, line := range lines {
		if k, v, ok := strings.Cut(line, " "); ok && k == key {
			return strconv.ParseInt(v, 10, 64)
		}
	}
	return 0, nil
}
