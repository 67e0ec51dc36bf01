package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"weir/internal/backend/cpu/kern"
)

// An offline load answers every request, and its figures agree with each other.
func TestOffline(t *testing.T) {
	s := Settings{Generate: 1, Depth: 1, Repeat: 2, Offline: &Offline{Requests: 7, Input: Lengths{2, 40}, Output: Lengths{1, 9}}}
	r, err := runOn(t.Context(), start(t, builtIn(t), kern.Best(), s), readPass)
	if err != nil {
		t.Fatal(err)
	}
	o := r.Offline
	if o == nil || o.Offline != "7:2-40/1-9" || o.InputTokens < 14 || o.InputTokens > 280 || o.OutputTokens < 7 || o.OutputTokens > 63 {
		t.Fatalf("%+v", o)
	}
	if d := o.PerSecond.Max * o.Seconds.Min / float64(o.OutputTokens); !(d > 0.999 && d < 1.001) {
		t.Errorf("%v tokens a second of %d in %v s", o.PerSecond.Max, o.OutputTokens, o.Seconds.Min)
	}
	var text, mark strings.Builder
	if err := errors.Join(r.WriteText(&text), r.WriteMarkdown(&mark)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "\n7:2-40/1-9 ") || !strings.Contains(mark.String(), "| 7:2-40/1-9 | ") {
		t.Errorf("printed\n%s\n%s", text.String(), mark.String())
	}
}

// The lengths are the same in every run.
func TestOfflineLengths(t *testing.T) {
	s := Settings{Generate: 1, Depth: 1, Repeat: 1, Offline: &Offline{Requests: 3, Input: Lengths{1, 30}, Output: Lengths{1, 5}}}
	var got [2]*OfflineResult
	for i := range got {
		r, err := runOn(t.Context(), start(t, builtIn(t), kern.Best(), s), readPass)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = r.Offline
	}
	if got[0].InputTokens != got[1].InputTokens || got[0].OutputTokens != got[1].OutputTokens {
		t.Errorf("%+v and %+v", got[0], got[1])
	}
}

// One that is cut off says so, and leaves nothing at work.
func TestOfflineCutOff(t *testing.T) {
	s := Settings{Generate: 1, Depth: 1, Repeat: 1, Offline: &Offline{Requests: 4, Input: Lengths{5, 5}, Output: Lengths{100, 100}}}
	o := start(t, builtIn(t), kern.Best(), s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	o.Progress = func(what string) {
		if strings.HasPrefix(what, "offline") {
			cancel()
		}
	}
	if r, err := runOn(ctx, o, readPass); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestParseOffline(t *testing.T) {
	for text, want := range map[string]string{"256:100-1024/100-1024": "", " 3:7/1-2 ": "3:7-7/1-2"} {
		if want == "" {
			want = text
		}
		if o, err := ParseOffline(text); err != nil || o.String() != want {
			t.Errorf("%q: %v, %v", text, o, err)
		}
	}
	for _, text := range []string{"", "3", "3:4", "0:1/1", "3:0/1", "3:1/0-2", "3:2-1/1", "x:1/1", "3:1/1-", "20000:1/1", "3:1/1048577"} {
		if o, err := ParseOffline(text); err == nil {
			t.Errorf("%q: %v", text, o)
		}
	}
}
