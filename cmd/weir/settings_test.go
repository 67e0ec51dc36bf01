package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// parse gives the command that a command line, an environment and a file make.
func parse(t *testing.T, args, env []string, file string) *cli {
	t.Helper()
	nowhere(t)
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(file), 0o666); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	s, err := loadSettings(args, env)
	if err != nil {
		t.Fatal(err)
	}
	var c cli
	p, _, err := newParser(&c, streams{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &c
}

// TestPrecedence: the flag wins over the environment, the environment over the
// file, the file over the default.
func TestPrecedence(t *testing.T) {
	file := "port: 1\nmax-running: 11\ndrain-timeout: 1m\nmemory: 50%\nname: from-file\nkeep-alive: 0\nlog-level: debug\n"
	env := []string{"WEIR_PORT=2", "WEIR_MAX_RUNNING=22", "WEIR_KV_TYPE=f32", "WEIR_NAME=", "OTHER_PORT=9", "WEIRD=1"}
	c := parse(t, []string{"serve", "--port", "3"}, env, file)
	got := c.Serve
	for _, check := range []struct {
		what string
		ok   bool
	}{
		{"the flag wins", got.Port == 3},
		{"the environment wins over the file", got.MaxRunning == 22},
		{"the environment wins over the default", got.KVType == "f32"},
		{"the file wins over the default", got.DrainTimeout == time.Minute && got.Memory == memorySize{share: 0.5} && got.KeepAlive == 0},
		{"an empty variable is as good as none", got.Name == "from-file"},
		{"general options too", c.LogLevel == "debug"},
		{"the default is left", got.Host == "127.0.0.1" && got.PageSize == 16 && got.batchTokens() == 256},
	} {
		if !check.ok {
			t.Errorf("%s: %+v, log level %s", check.what, got, c.LogLevel)
		}
	}
}

// TestConfigInItsPlace: the file of the user's folder is read without a flag.
func TestConfigInItsPlace(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	if got, err := os.UserConfigDir(); err != nil || got != dir {
		t.Skipf("needs XDG_CONFIG_HOME to be heeded: the configuration folder is %s", got)
	}
	if err := firstError(os.Mkdir(filepath.Join(dir, "weir"), 0o777), os.WriteFile(filepath.Join(dir, "weir", "config.yaml"), []byte("port: 4242\n"), 0o666)); err != nil {
		t.Fatal(err)
	}
	s, err := loadSettings([]string{"serve"}, nil)
	if err != nil || s.values["port"] == nil {
		t.Errorf("settings %+v, %v", s, err)
	}
	s, err = loadSettings([]string{"serve", "--config="}, nil)
	if err != nil || s.values["port"] != nil {
		t.Errorf("--config= still reads it: %+v, %v", s, err)
	}
}

func TestBatchTokensFollow(t *testing.T) {
	if got := parse(t, []string{"serve", "--max-running", "400"}, nil, "").Serve.batchTokens(); got != 400 {
		t.Errorf("%d tokens a step for 400 sequences", got)
	}
	if got := parse(t, []string{"serve", "--batch-tokens", "64"}, nil, "").Serve.batchTokens(); got != 64 {
		t.Errorf("%d tokens a step, 64 asked for", got)
	}
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]memorySize{
		"12GiB": {bytes: 12 << 30}, "12g": {bytes: 12 << 30}, " 800 MB ": {bytes: 800e6}, "1.5KiB": {bytes: 1536},
		"4096": {bytes: 4096}, "7b": {bytes: 7}, "2TiB": {bytes: 2 << 40}, "80%": {share: 0.8}, "100%": {share: 1}, "0.5%": {share: 0.005},
	} {
		if got, err := parseMemory(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "0", "-1GiB", "0.5", "0%", "101%", "-5%", "NaN", "NaN%", "Inf", "1e30", "12XB", "twelve", "%"} {
		if got, err := parseMemory(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"port", "host", "max-running", "max-queue", "max-tokens"}
	for word, want := range map[string]string{
		"prot": "port", "hots": "host", "max-runing": "max-running", "max_queue": "max-queue", "max-q": "max-queue", "po": "port",
	} {
		if got := didYouMean(word, known, "see"); got != "; did you mean "+want+"?" {
			t.Errorf("%s: %q, want %s", word, got, want)
		}
	}
	for _, word := range []string{"", "x", "colour", "something-else-entirely"} {
		if got := didYouMean(word, known, "see"); got != "; see" {
			t.Errorf("%s: %q", word, got)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s -> %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestServiceLinks: in a Kubernetes namespace with a service named weir, every
// container has these.
func TestServiceLinks(t *testing.T) {
	for _, kv := range []string{
		"WEIR_SERVICE_HOST=10.0.0.1", "WEIR_SERVICE_PORT=80", "WEIR_SERVICE_PORT_HTTP=80", "WEIR_PORT=tcp://10.0.0.1:80",
		"WEIR_PORT_80_TCP=tcp://10.0.0.1:80", "WEIR_PORT_80_TCP_PROTO=tcp", "WEIR_PORT_80_TCP_PORT=80", "WEIR_PORT_80_TCP_ADDR=10.0.0.1",
		"WEIR_STAGING_PORT=tcp://10.0.0.2:80", "WEIR_STAGING_SERVICE_HOST=10.0.0.2",
	} {
		if name, value, _ := strings.Cut(kv, "="); !isServiceLink(name, value) {
			t.Errorf("%s is taken for an option", kv)
		}
	}
	for _, kv := range []string{"WEIR_PORT=8080", "WEIR_HOST=tcp://10.0.0.1", "WEIR_MAX_RUNNING=3"} {
		if name, value, _ := strings.Cut(kv, "="); isServiceLink(name, value) {
			t.Errorf("%s is ignored", kv)
		}
	}
}
