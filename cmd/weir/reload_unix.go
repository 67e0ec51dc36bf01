//go:build unix

package main

import (
	"os"
	"syscall"
)

// reloadOn are the signals at which files are read again.
var reloadOn = []os.Signal{syscall.SIGHUP}
