// Command peer asks another engine, llama.cpp's llama-server, for the greedy
// tokens and log probabilities of the models of package modeltest, and writes
// them for the tests of package model to compare with.
//
//	go run ./tools/reference/peer -models DIR
//	llama-server --models-dir DIR -c 128 -np 1 -ctk f32 -ctv f32 -fa off &
//	go run ./tools/reference/peer -url http://127.0.0.1:8080 > internal/model/testdata/llamacpp.json
//
// The first command writes the models as GGUF files, the second serves them all
// by their names, with keys and values kept as float32 so that what is compared
// is the arithmetic of the weights. The models are the same on every machine, so the tests need
// neither the files nor the engine.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/internal/model/modeltest"
)

const (
	predict = 10 // tokens a prompt
	top     = 5  // log probabilities a token
)

// lengths of the prompts: one token, less and more than a page of 16.
var lengths = []int{1, 9, 24}

// answer is what the engine says to one prompt: for each greedy token the best
// ids, itself first, and their log probabilities.
type answer struct {
	Prompt   []int32     `json:"prompt"`
	IDs      [][]int32   `json:"ids"`
	Logprobs [][]float64 `json:"logprobs"`
}

func main() {
	models := flag.String("models", "", "write the models into this directory")
	url := flag.String("url", "", "ask the server at this URL")
	flag.Parse()
	var err error
	switch {
	case *models != "" && *url == "":
		err = writeModels(*models)
	case *url != "" && *models == "":
		err = ask(os.Stdout, strings.TrimSuffix(*url, "/"))
	default:
		err = errors.New("give -models DIR to write the models, or -url URL to ask about them")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func writeModels(dir string) error {
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

// ask writes one line a model: {"name": [answers]}.
func ask(w io.Writer, url string) error {
	sep := "{\n"
	for _, p := range modeltest.Peers() {
		name := strings.TrimSuffix(p.File(), ".gguf")
		var answers []answer
		ids := p.Prompt(lengths[len(lengths)-1])
		for _, n := range lengths {
			a, err := complete(url, name, ids[:n])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			answers = append(answers, a)
		}
		line, err := json.Marshal(answers)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%q: %s", sep, name, line); err != nil {
			return err
		}
		sep = ",\n"
	}
	_, err := fmt.Fprintln(w, "\n}")
	return err
}

// complete asks for one greedy completion.
func complete(url, model string, ids []int32) (answer, error) {
	body, err := json.Marshal(map[string]any{
		"model": model, "prompt": ids, "n_predict": predict, "n_probs": top,
		"temperature": 0, "cache_prompt": false, "return_tokens": true,
	})
	if err != nil {
		return answer{}, err
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Post(url+"/completion", "application/json", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s", resp.Status, data)
	}
	a := answer{Prompt: ids}
	if err := a.read(data); err != nil {
		return answer{}, fmt.Errorf("%w in %.500s", err, data)
	}
	return a, nil
}

// read takes the tokens from a response. Five decimals are kept: a hundredth
// is what is compared.
func (a *answer) read(response []byte) error {
	var got struct {
		Steps []struct {
			ID  int32 `json:"id"`
			Top []struct {
				ID      int32   `json:"id"`
				Logprob float64 `json:"logprob"`
			} `json:"top_logprobs"`
		} `json:"completion_probabilities"`
	}
	if err := json.Unmarshal(response, &got); err != nil {
		return err
	}
	for i, s := range got.Steps {
		if len(s.Top) != top || s.Top[0].ID != s.ID {
			return fmt.Errorf("token %d is not the first of %d log probabilities (is the server greedy?)", i, top)
		}
		var ids []int32
		var logprobs []float64
		for _, t := range s.Top {
			ids, logprobs = append(ids, t.ID), append(logprobs, math.Round(t.Logprob*1e5)/1e5)
		}
		a.IDs, a.Logprobs = append(a.IDs, ids), append(a.Logprobs, logprobs)
	}
	if len(got.Steps) == 0 {
		return errors.New("no token")
	}
	return nil
}
