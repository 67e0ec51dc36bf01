package check

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// unit reads a systemd unit: sections, keys, values.
func unit(t *testing.T, file string) map[string]map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sections, section := map[string]map[string][]string{}, ""
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line[1 : len(line)-1]
			sections[section] = map[string][]string{}
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" || !regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`).MatchString(key) {
				t.Fatalf("%s:%d: %q is neither a section nor a setting", file, i+1, line)
			}
			sections[section][key] = append(sections[section][key], value)
		}
	}
	return sections
}

func TestUnit(t *testing.T) {
	const file = "../systemd/weir.service"
	u := unit(t, file)
	s := u["Service"]
	for key, want := range map[string]string{
		"DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "CapabilityBoundingSet": "",
		"PrivateTmp": "yes", "PrivateDevices": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes",
		"RestrictNamespaces": "yes", "SystemCallArchitectures": "native", "KillSignal": "SIGTERM", "Restart": "on-failure",
	} {
		if !slices.Equal(s[key], []string{want}) {
			t.Errorf("%s is %q, want %q", key, s[key], want)
		}
	}
	stop, err := time.ParseDuration(s["TimeoutStopSec"][0] + "s")
	if drain := defaultOf(t, "drain-timeout"); err != nil || stop <= drain {
		t.Errorf("systemd kills after %v, before a drain of %v has ended", stop, drain)
	}
	if exec := s["ExecStart"][0]; !strings.HasPrefix(exec, "/usr/local/bin/weir serve --config ") {
		t.Errorf("it starts %s", exec)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("no systemd-analyze here: the unit is not verified by systemd itself")
		return
	}
	// It complains of the binary, which is not installed here; of nothing else.
	out, _ := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.Contains(line, "weir.service") && !strings.Contains(line, "not executable") {
			t.Error(line)
		}
	}
}

// defaultOf is an option's default, from the schema.
func defaultOf(t *testing.T, option string) time.Duration {
	t.Helper()
	text, err := os.ReadFile("../../docs/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]struct{ Default any }
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	d, err := time.ParseDuration(schema.Properties[option].Default.(string))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stages reads a container file: the instructions of each stage.
func stages(t *testing.T, file string) [][][2]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
	var all [][][2]string
	for line := range strings.SplitSeq(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if !slices.Contains(known, name) || rest == "" {
			t.Fatalf("%s: %q is no instruction", file, line)
		}
		if name == "FROM" {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], [2]string{name, rest})
	}
	return all
}

func TestContainerFiles(t *testing.T) {
	for file, base := range map[string]string{"../container/Containerfile": "debian:trixie-slim", "../container/Containerfile.nogpu": "scratch"} {
		all := stages(t, file)
		build, last := all[0], all[len(all)-1]
		if len(all) != 2 || last[0][1] != base {
			t.Errorf("%s ends in %v", file, last[0])
		}
		mod, err := os.ReadFile("../../go.mod")
		if err != nil {
			t.Fatal(err)
		}
		if want := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(mod)[1]; !strings.HasPrefix(build[0][1], "golang:"+string(want)+"-") {
			t.Errorf("%s builds with %s, go.mod wants %s", file, build[0][1], want)
		}
		settings := map[string]string{}
		for _, i := range last {
			settings[i[0]] = i[1]
			if from, ok := strings.CutPrefix(i[1], "LICENSE "); i[0] == "COPY" && ok && from != "" {
				if _, err := os.Stat(filepath.Join("../..", "LICENSE")); err != nil {
					t.Error(err)
				}
			}
		}
		if settings["USER"] != "65532:65532" || settings["STOPSIGNAL"] != "SIGTERM" || !strings.Contains(settings["ENV"], "WEIR_HOST=0.0.0.0") {
			t.Errorf("%s: %v", file, settings)
		}
		var entry []string
		if err := json.Unmarshal([]byte(settings["ENTRYPOINT"]), &entry); err != nil || len(entry) != 1 {
			t.Errorf("%s: the entry point %s is not the binary alone: a shell would swallow signals", file, settings["ENTRYPOINT"])
		}
		for _, i := range build {
			if i[0] == "RUN" && strings.Contains(i[1], "go build") {
				static := strings.Contains(i[1], "-tags nogpu")
				if !strings.Contains(i[1], "CGO_ENABLED=0") || static != (base == "scratch") {
					t.Errorf("%s builds by %s", file, i[1])
				}
			}
		}
	}
}
