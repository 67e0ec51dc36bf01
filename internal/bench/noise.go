package bench

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is the unit of processor time in /proc, in ticks a second. It is part of
// Linux's interface and the same on every platform that Go runs on.
const ticks = 100

// cpuTime is what processors have done until a moment.
type cpuTime struct {
	when   time.Time
	busy   float64 // seconds of all processors, the hypervisor's share not included
	own    float64 // of them, this process's
	stolen float64 // seconds that the hypervisor gave to others
	known  bool
}

// readCPUTime reads /proc; elsewhere nothing is known.
func readCPUTime() cpuTime {
	t := cpuTime{when: time.Now()}
	all, err1 := os.ReadFile("/proc/stat")
	self, err2 := os.ReadFile("/proc/self/stat")
	if err1 != nil || err2 != nil {
		return t
	}
	var ok1, ok2 bool
	t.busy, t.stolen, ok1 = parseStat(string(all))
	t.own, ok2 = parseSelfStat(string(self))
	t.known = ok1 && ok2
	return t
}

// parseStat reads the first line of /proc/stat: "cpu", then ticks as user, nice,
// system, idle, waiting for input or output, interrupts, soft interrupts, stolen.
// Guests' time that follows is in user's.
func parseStat(s string) (busy, stolen float64, ok bool) {
	line, _, _ := strings.Cut(s, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, false
	}
	var v [8]float64
	for i := range v {
		n, err := strconv.ParseUint(fields[1+i], 10, 64)
		if err != nil {
			return 0, 0, false
		}
		v[i] = float64(n) / ticks
	}
	return v[0] + v[1] + v[2] + v[5] + v[6], v[7], true
}

// parseSelfStat reads user and system time, fields 14 and 15. The second is a
// name in parentheses that may hold anything.
func parseSelfStat(s string) (seconds float64, ok bool) {
	end := strings.LastIndexByte(s, ')')
	if end < 0 {
		return 0, false
	}
	fields := strings.Fields(s[end+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	return float64(user+system) / ticks, err1 == nil && err2 == nil
}

// load is the load average of the last minute, if it is known.
func load() *float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil
	}
	word, _, _ := strings.Cut(string(data), " ")
	v, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return nil
	}
	return &v
}

// processorName is what the machine's processor calls itself.
func processorName() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// disturbance adds up what others did while something was measured.
type disturbance struct {
	wall, others, stolen float64 // seconds
	unknown              bool
}

func (d *disturbance) add(from, to cpuTime) {
	d.wall += to.when.Sub(from.when).Seconds()
	d.unknown = d.unknown || !from.known || !to.known
	d.others += max(0, to.busy-from.busy-(to.own-from.own))
	d.stolen += max(0, to.stolen-from.stolen)
}

// measurable is the least time over which the 10 ms steps of /proc mean anything.
const measurable = 0.5 // seconds

// CPUs tells how many processors others and the hypervisor took; nil if that is
// not known.
func (d *disturbance) CPUs() (others, stolen *float64) {
	if d.unknown || d.wall < measurable {
		return nil, nil
	}
	o, s := d.others/d.wall, d.stolen/d.wall
	return &o, &s
}
