package token

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"testing"
)

// testHF returns the tokeniser of a golden made from a tokenizer.json.
func testHF(t testing.TB, name string) *Tokenizer {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	var golden struct{ Tokenizer string }
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	tok, err := FromTokenizerJSON([]byte(golden.Tokenizer), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
