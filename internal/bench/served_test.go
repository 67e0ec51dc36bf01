package bench

import (
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	const good = "data: {\"choices\":[{\"text\":\"a\",\"token_ids\":[1]}]}\n\n: silent\n\ndata: {\"choices\":[{\"text\":\"\",\"token_ids\":[2,3]}]}\n\ndata: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n"
	var counts []int
	count := func(n int, _ error) bool { counts = append(counts, n); return true }
	if err := follow(strings.NewReader(good), count); err != nil || len(counts) != 2 || counts[0] != 1 || counts[1] != 2 {
		t.Errorf("counted %v, %v", counts, err)
	}
	for text, want := range map[string]string{
		"data: {\"error\":{\"message\":\"full\"}}\n\n": "the stream ended with",
		"data: {\"choices\"\n\n":                       "read an event",
	} {
		if err := follow(strings.NewReader(text), count); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if n, err := tokensOf(sampleEvent); n != 1 || err != nil {
		t.Errorf("the sample has %d tokens, %v", n, err)
	}
}
