package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

type versionCmd struct{}

// Run prints what this binary is.
func (versionCmd) Run(io streams) error {
	_, err := fmt.Fprintln(io.out, versionLine())
	return err
}

// versionFlag is --version, which many try first.
type versionFlag bool

// IgnoreDefault keeps kong from setting the flag itself.
func (versionFlag) IgnoreDefault() {}

// BeforeReset is called by kong as soon as it sees the flag.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	_, err := fmt.Fprintln(app.Stdout, versionLine())
	app.Exit(exitOK)
	return err
}

func versionLine() string {
	return fmt.Sprintf("weir %s %s %s/%s", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// build tells programs apart that compute differently: the version, and for one
// that was built from no commit a hash of the program.
func build() string {
	v := version()
	if v != "unknown" && v != "devel" && !strings.HasSuffix(v, "+changes") {
		return v
	}
	path, err := os.Executable()
	if err != nil {
		return v
	}
	f, err := os.Open(path)
	if err != nil {
		return v
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return v
	}
	return fmt.Sprintf("%s %x", v, h.Sum(nil)[:6])
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return commit + dirty
}
