// Command peer asks another engine, llama.cpp's llama-server, for the greedy
// tokens and log probabilities of models, and writes them for the tests of
// package model to compare with.
//
//	go run ./tools/reference/peer -models DIR
//	llama-server --models-dir DIR -c 128 -np 1 -ctk f32 -ctv f32 -fa off &
//	go run ./tools/reference/peer -url http://127.0.0.1:8080 > internal/model/testdata/llamacpp.json
//
// The first command writes the models of package modeltest as GGUF files, the
// second serves them all by their names, with keys and values kept as float32 so
// that what is compared is the arithmetic of the weights. The models are the
// same on every machine, so the tests need neither the files nor the engine.
//
// With -base FILE, both commands are about that GGUF instead, re-encoded in each
// weight type, and texts in place of random tokens:
//
//	go run ./tools/reference/peer -base internal/builtin/weir-mini.gguf -models DIR
//	go run ./tools/reference/peer -base internal/builtin/weir-mini.gguf -url http://127.0.0.1:8080 > internal/model/testdata/llamacpp-builtin.json
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

// lengths of the random prompts: one token, less and more than a page of 16.
var lengths = []int{1, 9, 24}

// texts are the prompts of a model that has learnt to speak.
var texts = []string{
	"<|im_start|>user\nWhat is weir?<|im_end|>\n<|im_start|>assistant\n",
	"<|im_start|>user\nTell me a short story about a river.<|im_end|>\n<|im_start|>assistant\n",
	"Once upon a time",
}

func main() {
	dir := flag.String("models", "", "write the models into this directory")
	url := flag.String("url", "", "ask the server at this URL")
	base := flag.String("base", "", "the models are this GGUF in every weight type")
	flag.Parse()
	err := errors.New("give -models DIR to write the models, or -url URL to ask about them")
	s := server(strings.TrimSuffix(*url, "/"))
	switch {
	case (*dir == "") == (*url == ""):
	case *base != "" && *dir != "":
		err = writeBase(*base, *dir)
	case *base != "":
		err = askBase(os.Stdout, s, *base)
	case *dir != "":
		err = writePeers(*dir)
	default:
		err = askPeers(os.Stdout, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func writePeers(dir string) error {
	for _, p := range modeltest.Peers() {
		b, err := p.GGUF(p.Type)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.File()), b, 0o666); err != nil {
			return fmt.Errorf("write model: %w", err)
		}
	}
	return nil
}

func askPeers(w io.Writer, s server) error {
	var o orderedObject
	for _, p := range modeltest.Peers() {
		name := strings.TrimSuffix(p.File(), ".gguf")
		var prompts [][]int32
		for _, n := range lengths {
			prompts = append(prompts, p.Prompt(n))
		}
		answers, err := s.complete(name, prompts)
		if err != nil {
			return err
		}
		o.add(name, answers)
	}
	return o.write(w)
}

// baseName is what the re-encoded model is called.
func baseName(path string, t weights.Type) string {
	return strings.TrimSuffix(filepath.Base(path), ".gguf") + "-" + strings.ToLower(t.String())
}

func writeBase(path, dir string) error {
	f, err := weights.Open(path, weights.Options{})
	if err != nil {
		return err
	}
	defer f.Close()
	for _, t := range weights.Types() {
		b, err := modeltest.Reencode(f, t)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, baseName(path, t)+".gguf"), b, 0o666); err != nil {
			return fmt.Errorf("write model: %w", err)
		}
	}
	return nil
}

// askBase also writes the SHA-256 of the base, by which a test knows the model.
func askBase(w io.Writer, s server, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	var o orderedObject
	o.add("sha256", hex.EncodeToString(sum[:]))
	for _, t := range weights.Types() {
		name := baseName(path, t)
		var prompts [][]int32
		for _, text := range texts {
			ids, err := s.tokenize(name, text)
			if err != nil {
				return err
			}
			prompts = append(prompts, ids)
		}
		answers, err := s.complete(name, prompts)
		if err != nil {
			return err
		}
		o.add(name, answers)
	}
	return o.write(w)
}

// orderedObject is a JSON object with a field a line, in the order of adding.
type orderedObject struct {
	lines []string
	err   error
}

func (o *orderedObject) add(key string, value any) {
	b, err := json.Marshal(value)
	o.err = errors.Join(o.err, err)
	o.lines = append(o.lines, fmt.Sprintf("%q: %s", key, b))
}

func (o *orderedObject) write(w io.Writer) error {
	if o.err != nil {
		return o.err
	}
	_, err := fmt.Fprintf(w, "{\n%s\n}\n", strings.Join(o.lines, ",\n"))
	return err
}
