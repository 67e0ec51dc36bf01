// Command schemabench holds package grammar to real JSON Schemas: it compiles
// every schema of some folders for a real vocabulary, lets a model of random
// logits write documents through the real masks and sampler, and has each
// validated by an independent validator. It counts refusals by keyword, measures
// compilation and masks, and, where a file has tests, tells which valid instances
// the grammar lacks and which invalid ones it lets through.
//
//	go run ./tools/schemabench -vocab llama-3.tiktoken -schemas 400 DIR...
//
// A file is a schema, or an object of a schema and tests: {"schema": …, "tests":
// [{"valid": true, "data": …}]}, as MaskBench has them.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

type options struct {
	vocab   string
	schemas int
	seed    uint64
	docs    int
	tokens  int
	timeout time.Duration
	verbose bool
	temp    float64
	profile string
}

func main() {
	var o options
	flag.StringVar(&o.vocab, "vocab", "", "tiktoken rank file of the vocabulary")
	flag.IntVar(&o.schemas, "schemas", 400, "schemas to take, at random, evenly from each folder; 0: all")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of everything random")
	flag.IntVar(&o.docs, "docs", 2, "documents to write for each schema")
	flag.IntVar(&o.tokens, "tokens", 2000, "most tokens of a document")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Second, "most time to compile a schema")
	flag.Float64Var(&o.temp, "temperature", 1, "of the sampling")
	flag.BoolVar(&o.verbose, "v", false, "print every refusal and every instance that is judged wrongly")
	flag.StringVar(&o.profile, "cpuprofile", "", "file to write a profile of the processor's time to")
	flag.Parse()
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "schemabench:", err)
		os.Exit(1)
	}
}

func run(o options, dirs []string) error {
	files, err := pick(o, dirs)
	if err != nil {
		return err
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		b.file(f, src)
	}
	b.report(os.Stdout)
	if b.invalid > 0 {
		return fmt.Errorf("%d documents are not valid", b.invalid)
	}
	return nil
}

// pick draws files evenly from each folder. A folder with a * in its name stands
// for the files that it matches.
func pick(o options, dirs []string) ([]string, error) {
	rng := rand.New(rand.NewPCG(o.seed, 1))
	var all []string
	for _, d := range dirs {
		if !strings.Contains(d, "*") {
			d = filepath.Join(d, "*.json")
		}
		files, err := filepath.Glob(d)
		if err != nil {
			return nil, err
		}
		rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		if n := o.schemas / len(dirs); o.schemas > 0 && n < len(files) {
			files = files[:n]
		}
		slices.Sort(files)
		all = append(all, files...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no schemas: name folders of .json files")
	}
	return all, nil
}
