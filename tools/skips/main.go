// Skips runs the rule that a test may skip only if a committed list says so.
//
// It reads what `go test -json` prints, shows of it what go test itself would
// show (the closing line of each package, and all that a failed test said),
// then the tests that were skipped, and exits with 1 if a test failed or
// skipped without being listed:
//
//	go test -json ./... | go run ./tools/skips -list .ci/skips.txt
//
// A line of the list has a package, a test, a condition and the reason. The
// package is relative to the module. A test that ends in * stands for all that
// begin so. The condition is "always", "without=PATH" (it may skip where PATH,
// relative to the module, does not exist), "lacks=FLAG" (where the processor
// does, by /proc/cpuinfo) or "goos=NAME". A list that only grows hides tests
// that run nowhere, so the list is short on purpose.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	list := flag.String("list", ".ci/skips.txt", "the `file` of tests that may skip")
	flag.Parse()
	if err := run(*list); err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}

func run(listFile string) error {
	f, err := os.Open(listFile)
	if err != nil {
		return fmt.Errorf("open the list: %w", err)
	}
	defer f.Close()
	allowed, err := readList(f, listFile)
	if err != nil {
		return err
	}
	r, err := readResults(os.Stdin, os.Stdout)
	if err != nil {
		return err
	}
	return r.report(os.Stdout, allowed, listFile)
}
