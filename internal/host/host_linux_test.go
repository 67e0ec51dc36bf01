package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a picture of a machine: files by path. A content that starts
// with "->" is a symbolic link.
func machine(t *testing.T, files ...map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	for _, m := range files {
		for name, content := range m {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			if target, ok := strings.CutPrefix(content, "->"); ok {
				err = os.Symlink(target, file)
			} else {
				err = os.WriteFile(file, []byte(content), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return New(root)
}

const gib = 1 << 30

// bare is a machine of 16 GiB, 12 of them free, without cgroups.
var bare = map[string]string{
	"/proc/meminfo":                  "MemTotal:       16777216 kB\nMemFree:         4194304 kB\nMemAvailable:   12582912 kB\nCached:   2097152 kB\nHugePages_Total:       0\n",
	"/proc/self/status":              "Name:\tweir\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n",
	"/sys/devices/system/cpu/online": "0-7\n",
}

const (
	mountV2     = "25 30 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	mountV1     = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	mountV1Box  = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
	mountHybrid = mountV1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

// group is one folder of a version 2 hierarchy.
func group(dir string, limit, used, cache int64, more map[string]string) map[string]string {
	m := map[string]string{
		dir + "/memory.max":     fmt.Sprintln(limit),
		dir + "/memory.high":    "max\n",
		dir + "/memory.current": fmt.Sprintln(used),
		dir + "/memory.stat":    fmt.Sprintf("anon 1\nactive_file 99\ninactive_file %d\n", cache),
	}
	if limit == 0 {
		m[dir+"/memory.max"] = "max\n"
	}
	for k, v := range more {
		m[dir+"/"+k] = v
	}
	return m
}

// group1 is one folder of a version 1 hierarchy.
func group1(dir string, limit, used, cache int64) map[string]string {
	return map[string]string{
		dir + "/memory.limit_in_bytes": fmt.Sprintln(limit),
		dir + "/memory.usage_in_bytes": fmt.Sprintln(used),
		dir + "/memory.stat":           fmt.Sprintf("inactive_file 5\ntotal_inactive_file %d\n", cache),
	}
}

func self(cgroup, mounts string) map[string]string {
	return map[string]string{"/proc/self/cgroup": cgroup, "/proc/self/mountinfo": mounts}
}

func TestMemory(t *testing.T) {
	const box = "/sys/fs/cgroup/a.slice/b.service"
	cases := map[string]struct {
		files     []map[string]string
		available int64
		binding   string
		text      string
	}{
		"no cgroups": {nil, 12 * gib, "", "12.0 GiB available (of 16.0 GiB; no cgroup limit)"},
		"before MemAvailable": {
			[]map[string]string{{"/proc/meminfo": "MemTotal: 16777216 kB\nMemFree: 4194304 kB\nCached: 2097152 kB\n"}},
			6 * gib, "", "",
		},
		"unlimited": {
			[]map[string]string{self("0::/a.slice/b.service\n", mountV2), group(box, 0, gib, 0, nil)},
			12 * gib, "", "no cgroup limit",
		},
		"own limit, cache gives way": {
			[]map[string]string{self("0::/a.slice/b.service\n", mountV2), group(box, 4*gib, 3*gib, 2*gib, nil)},
			3 * gib, box + "/memory.max",
			"3.0 GiB available (4.0 GiB allowed by " + box + "/memory.max, 1.0 GiB of it used; the machine has 12.0 GiB of 16.0 GiB free)",
		},
		"the parent's limit, shared with others": {
			[]map[string]string{self("0::/a.slice/b.service\n", mountV2),
				group(box, 4*gib, gib, 0, nil), group("/sys/fs/cgroup/a.slice", 6*gib, 5*gib, 0, nil)},
			gib, "/sys/fs/cgroup/a.slice/memory.max", "",
		},
		"memory.high": {
			[]map[string]string{self("0::/a.slice/b.service\n", mountV2),
				group(box, 8*gib, gib, 0, map[string]string{"memory.high": fmt.Sprintln(3 * gib)})},
			2 * gib, box + "/memory.high", "",
		},
		"a limit over what is free": {
			[]map[string]string{self("0::/a.slice/b.service\n", mountV2), group(box, 15*gib, gib, 0, nil)},
			12 * gib, "", "12.0 GiB available (of 16.0 GiB; the limit of 15.0 GiB in " + box + "/memory.max leaves more)",
		},
		"used up": {
			[]map[string]string{self("0::/a.slice/b.service\n", mountV2), group(box, gib, 2*gib, 0, nil)},
			0, box + "/memory.max", "",
		},
		"a container's own namespace": {
			[]map[string]string{self("0::/\n", mountV2), group("/sys/fs/cgroup", 2*gib, gib, 0, nil)},
			gib, "/sys/fs/cgroup/memory.max", "",
		},
		"a group outside the namespace": {
			[]map[string]string{self("0::/../x\n", mountV2), group("/sys/fs/cgroup", 2*gib, gib, 0, nil)},
			gib, "/sys/fs/cgroup/memory.max", "",
		},
		"usage hidden": {
			[]map[string]string{self("0::/\n", mountV2), {"/sys/fs/cgroup/memory.max": "1073741824\n"}},
			gib, "/sys/fs/cgroup/memory.max", "",
		},
		"version 1": {
			[]map[string]string{self("5:cpu,cpuacct:/x\n4:memory:/x/y\n0::/\n", mountV1),
				group1("/sys/fs/cgroup/memory", 9223372036854771712, 9*gib, 0),
				group1("/sys/fs/cgroup/memory/x", 3*gib, 2*gib, gib),
				group1("/sys/fs/cgroup/memory/x/y", 9223372036854771712, gib, 0)},
			2 * gib, "/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "",
		},
		"version 1 in a container": {
			[]map[string]string{self("4:memory:/docker/abc\n", mountV1Box), group1("/sys/fs/cgroup/memory", 2*gib, gib, 0)},
			gib, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "",
		},
		"another container's part is mounted": {
			[]map[string]string{self("4:memory:/docker/abcdef\n", mountV1Box), group1("/sys/fs/cgroup/memory", 2*gib, gib, 0)},
			gib, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "",
		},
		"both versions": {
			[]map[string]string{self("4:memory:/x\n0::/u\n", mountHybrid),
				group1("/sys/fs/cgroup/memory/x", 3*gib, gib, 0),
				group("/sys/fs/cgroup/unified/u", 2*gib, gib, 0, nil)},
			gib, "/sys/fs/cgroup/unified/u/memory.max", "",
		},
		"blanks in the path": {
			[]map[string]string{self("0::/\n", strings.ReplaceAll(mountV2, "/sys/fs/cgroup", `/sys/fs/c\040group`)),
				group("/sys/fs/c group", 2*gib, gib, 0, nil)},
			gib, "/sys/fs/c group/memory.max", "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m, err := machine(t, append([]map[string]string{bare}, c.files...)...).Memory()
			if err != nil {
				t.Fatal(err)
			}
			if m.Total != 16*gib || m.Available() != c.available {
				t.Errorf("%s of %s available, want %s of 16 GiB", Bytes(m.Available()), Bytes(m.Total), Bytes(c.available))
			}
			binding := ""
			if b := m.Binding(); b != nil {
				binding = b.File
			}
			if binding != c.binding {
				t.Errorf("bound by %q, want %q", binding, c.binding)
			}
			if !strings.Contains(m.String(), c.text) {
				t.Errorf("it says %q, want %q", m, c.text)
			}
		})
	}
}

func TestMemoryErrors(t *testing.T) {
	cases := map[string]struct {
		files map[string]string
		want  string
	}{
		"empty meminfo":   {map[string]string{"/proc/meminfo": ""}, "MemTotal"},
		"limit no number": {group("/sys/fs/cgroup", 1, 1, 1, map[string]string{"memory.max": "much"}), "memory.max"},
		"usage no number": {group("/sys/fs/cgroup", 1, 1, 1, map[string]string{"memory.current": "-1"}), "memory.current"},
		"stat no number":  {group("/sys/fs/cgroup", 1, 1, 1, map[string]string{"memory.stat": "inactive_file x"}), "memory.stat"},
		"no cgroup line":  {map[string]string{"/proc/self/cgroup": "rubbish\n"}, "/proc/self/cgroup"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := machine(t, bare, self("0::/\n", mountV2), c.files).Memory()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that names %s", err, c.want)
			}
		})
	}
	if _, err := machine(t).Memory(); err == nil {
		t.Error("no error without /proc")
	}
}

func TestCPUs(t *testing.T) {
	// Four cores of two threads each: processors i and i+4 share core i.
	threads := map[string]string{}
	for i := range 8 {
		dir := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/", i)
		threads[dir+"physical_package_id"] = "0\n"
		threads[dir+"core_id"] = fmt.Sprintln(i % 4)
	}
	// The same, but the core ids of two dies repeat.
	dies := map[string]string{}
	for k, v := range threads {
		dies[k] = v
	}
	for i := range 8 {
		dies[fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/die_id", i)] = fmt.Sprintln(i / 4)
	}
	cases := map[string]struct {
		files []map[string]string
		want  string
	}{
		"no topology": {nil, "8 cores"},
		"threads":     {[]map[string]string{threads}, "4 cores (8 threads)"},
		"dies":        {[]map[string]string{dies}, "8 cores"},
		"affinity": {
			[]map[string]string{threads, {"/proc/self/status": "Cpus_allowed_list:\t0,4-5\n"}},
			"2 cores (3 threads), 3 of the machine's 8 processors allowed",
		},
		"one": {
			[]map[string]string{{"/proc/self/status": "Cpus_allowed_list:\t5\n", "/sys/devices/system/cpu/online": "5\n"}},
			"1 core",
		},
		"quota, version 2, of the parent": {
			[]map[string]string{self("0::/a/b\n", mountV2), {
				"/sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "/sys/fs/cgroup/a/cpu.max": "250000 100000\n",
			}},
			"8 cores, limited to the time of 2.5 by /sys/fs/cgroup/a/cpu.max",
		},
		"quota, version 1": {
			[]map[string]string{self("5:cpu,cpuacct:/x\n0::/\n", mountV1), {
				"/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us":  "150000\n",
				"/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "50000\n",
				"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":    "-1\n",
				"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":   "100000\n",
			}},
			"8 cores, limited to the time of 3 by /sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := machineOver(t, bare, c.files).CPUs()
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func machineOver(t *testing.T, base map[string]string, files []map[string]string) *Host {
	return machine(t, append([]map[string]string{base}, files...)...)
}

func TestCPUErrors(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no mask":    {"/proc/self/status": "Name: weir\n"},
		"bad mask":   {"/proc/self/status": "Cpus_allowed_list:\t0-\n"},
		"huge mask":  {"/proc/self/status": "Cpus_allowed_list:\t0-99999999\n"},
		"bad online": {"/sys/devices/system/cpu/online": "-1\n"},
		"bad quota":  {"/sys/fs/cgroup/cpu.max": "0 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := machine(t, bare, self("0::/\n", mountV2), files).CPUs(); err == nil {
				t.Errorf("no error but %+v", c)
			}
		})
	}
}

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:A001 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0000000000000000 20 4 30 10 -1
`

const tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0000000000000000 100 0 0 10 0
`

func TestPortHolder(t *testing.T) {
	h := machine(t, map[string]string{
		"/proc/self/net/tcp":  tcpTable,
		"/proc/self/net/tcp6": tcp6Table,
		"/proc/9/fd/0":        "->/dev/null",
		"/proc/300/fd/7":      "->socket:[4242]", // a child that got the socket
		"/proc/300/comm":      "child\n",
		"/proc/20/fd/3":       "->socket:[4242]",
		"/proc/20/comm":       "python3\n",
		"/proc/20/cmdline":    "python3\x00-m\x00http.server\x00--bind\x00x\x00",
	})
	p, err := h.PortHolder(8080)
	if want := "python3 (pid 20: python3 -m http.server …)"; err != nil || p.String() != want || p.Addr != "127.0.0.1" {
		t.Errorf("port 8080 is held by %q on %s, %v, want %q", p, p.Addr, err, want)
	}
	p, err = h.PortHolder(8082)
	if want := "a process of user 0 that is hidden from this one"; err != nil || p.String() != want || p.Addr != "::1" {
		t.Errorf("port 8082 is held by %q on %s, %v, want %q", p, p.Addr, err, want)
	}
	for _, port := range []int{8081, 9999, -1, 1 << 20} { // 8081 is connected, not listening
		if p, err := h.PortHolder(port); !errors.Is(err, ErrNotListening) {
			t.Errorf("port %d is held by %q, %v, want nobody", port, p, err)
		}
	}
	if _, err := machine(t, map[string]string{"/proc/self/net/tcp": strings.Replace(tcpTable, "  1000 ", "  none ", 1)}).PortHolder(8080); err == nil {
		t.Error("no error for a table that makes no sense")
	}
}

// TestPortHolderReal finds this very process.
func TestPortHolderReal(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Logf("%s cannot be listened on here: %v", addr, err)
			continue
		}
		defer l.Close()
		p, err := New("/").PortHolder(l.Addr().(*net.TCPAddr).Port)
		if err != nil || p.PID != os.Getpid() {
			t.Errorf("%v is held by %v, %v, want this process, %d", l.Addr(), p, err, os.Getpid())
		}
	}
}

func TestLargePages(t *testing.T) {
	const file = "/sys/kernel/mm/transparent_hugepage/enabled"
	for content, want := range map[string]bool{"always [madvise] never\n": true, "[always] madvise never\n": true, "always madvise [never]\n": false, "": false} {
		if got := machine(t, map[string]string{file: content}).LargePages(); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
	if machine(t).LargePages() {
		t.Error("a machine that does not tell has large pages")
	}
}
