package openai

import "testing"

// FuzzSmallRequests is for the requests that have no fuzz target of their own.
func FuzzSmallRequests(f *testing.F) {
	for _, seed := range []string{`{"prompt":"ab","return_token_strs":true}`, `{"tokens":[97,98]}`, `{"messages":[{"role":"user","content":"hi"}]}`, `{"id":"a","prompt":"b"}`, `{`, `{"model":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err1 := DecodeTokenize(body)
		_, err2 := DecodeDetokenize(body)
		_, err3 := DecodeTemplate(body)
		_, err4 := DecodePin(body)
		_, err5 := DecodeModelName(body)
		for _, err := range []error{err1, err2, err3, err4, err5} {
			if err != nil && AsError(err).Message == "" {
				t.Errorf("an error that says nothing: %v", err)
			}
		}
	})
}
