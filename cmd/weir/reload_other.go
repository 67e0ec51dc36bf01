//go:build !unix

package main

import "os"

// reloadOn: there is no such signal; files that change are noticed by themselves.
var reloadOn []os.Signal
