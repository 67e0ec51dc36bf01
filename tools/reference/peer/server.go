package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
)

const (
	predict = 10 // tokens a prompt
	top     = 5  // log probabilities a token
)

// server is the URL of a llama-server.
type server string

// answer is what the engine says to one prompt: for each greedy token the best
// ids, itself first, and their log probabilities.
type answer struct {
	Prompt   []int32     `json:"prompt"`
	IDs      [][]int32   `json:"ids"`
	Logprobs [][]float64 `json:"logprobs"`
}

// post sends a request and reads the response.
func (s server) post(path string, request any) ([]byte, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Post(string(s)+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.500s", path, resp.Status, data)
	}
	return data, nil
}

// tokenize asks for a text's token ids.
func (s server) tokenize(model, text string) ([]int32, error) {
	data, err := s.post("/tokenize", map[string]any{"model": model, "content": text, "parse_special": true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", model, err)
	}
	var got struct{ Tokens []int32 }
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, fmt.Errorf("%s: tokens: %w", model, err)
	}
	return got.Tokens, nil
}

// complete asks for a greedy completion of each prompt.
func (s server) complete(model string, prompts [][]int32) ([]answer, error) {
	var answers []answer
	for _, ids := range prompts {
		data, err := s.post("/completion", map[string]any{
			"model": model, "prompt": ids, "n_predict": predict, "n_probs": top,
			"temperature": 0, "cache_prompt": false, "return_tokens": true,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", model, err)
		}
		a := answer{Prompt: ids}
		if err := a.read(data); err != nil {
			return nil, fmt.Errorf("%s: %w in %.500s", model, err, data)
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// read takes the tokens from a response. Five decimals are kept: a thousandth
// is the least that is compared.
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
