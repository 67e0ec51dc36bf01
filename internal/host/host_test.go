package host

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

// TestReal asks the machine that the tests run on.
func TestReal(t *testing.T) {
	h := New("/")
	c, err := h.CPUs()
	if err != nil {
		t.Fatal(err)
	}
	if c.Allowed < 1 || c.Cores < 1 || c.Cores > c.Allowed || c.Allowed > c.Online || c.Workers() < 1 {
		t.Errorf("processors make no sense: %+v", c)
	}
	m, err := h.Memory()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m.Total < 1<<26 || m.Free <= 0 || m.Free > m.Total || m.Available() > m.Free {
		t.Errorf("memory makes no sense: %+v", m)
	}
	d, err := DiskOf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if d.Total <= 0 || d.Free < 0 || d.Free > d.Total {
		t.Errorf("the disk makes no sense: %+v", d)
	}
	t.Logf("%v; %v; disk %s free", c, m, Bytes(d.Free))
}

func TestDiskOfNothing(t *testing.T) {
	if _, err := DiskOf(t.TempDir() + "/none"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("error %v, want one that names the path", err)
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB",
		23<<30 + 1<<29: "23.5 GiB", 3 << 40: "3.0 TiB", 5000 << 40: "5000.0 TiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestWorkers(t *testing.T) {
	for _, c := range []struct {
		cpus CPUs
		want int
	}{
		{CPUs{Online: 16, Allowed: 16, Cores: 8}, 8},
		{CPUs{Online: 16, Allowed: 16, Cores: 8, Quota: &Quota{CPUs: 2.9}}, 2},
		{CPUs{Online: 16, Allowed: 16, Cores: 8, Quota: &Quota{CPUs: 0.5}}, 1},
		{CPUs{Online: 16, Allowed: 2, Cores: 2, Quota: &Quota{CPUs: 12}}, 2},
	} {
		if got := c.cpus.Workers(); got != c.want {
			t.Errorf("%v: %d workers, want %d", c.cpus, got, c.want)
		}
	}
}

func TestFreePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	port, err := FreePort("127.0.0.1", taken-1)
	if err != nil {
		t.Fatal(err)
	}
	if port <= taken {
		t.Errorf("port %d, want one after %d, which is taken", port, taken)
	}
	if _, err := FreePort("127.0.0.1", 65535); err == nil {
		t.Error("found a port after the last one")
	}
	if _, err := FreePort("not an address", 8080); err == nil {
		t.Error("found a port on no address")
	}
}

func TestHolderString(t *testing.T) {
	for _, c := range []struct {
		holder Holder
		want   string
	}{
		{Holder{UID: 1000}, "a process of user 1000 that is hidden from this one"},
		{Holder{PID: 7, Name: "weir"}, "weir (pid 7)"},
		{Holder{PID: 7, Name: "weir", Command: []string{"weir", "serve"}}, "weir (pid 7: weir serve)"},
		{Holder{PID: 7, Name: "python3", Command: []string{"python3", "-m", "vllm", "--api-key", "secret"}},
			"python3 (pid 7: python3 -m vllm …)"},
		{Holder{PID: 7, Name: "evil\x1b[2J", Command: []string{"a\nb"}}, "evil?[2J (pid 7: a?b)"},
		{Holder{PID: 7, Name: "long", Command: slices.Repeat([]string{"12345678é"}, 20)},
			"long (pid 7: " + strings.TrimSpace(strings.Repeat("12345678é ", 10)) + "…)"},
	} {
		if got := c.holder.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
