package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/backend/cpu/kern"
)

// A full load keeps its clients at work, and the figures agree with each other.
func TestFullLoad(t *testing.T) {
	s := Settings{Generate: 1, Depth: 1, Repeat: 1, Clients: 6, LoadTime: 400 * time.Millisecond,
		Loads: []FullLoad{{Input: 9, Output: 7}, {Input: 40, Output: 3}}}
	o := start(t, builtIn(t), kern.Best(), s)
	var told []string
	o.Progress = func(what string) { told = append(told, what) }
	r, err := runOn(t.Context(), o, readPass)
	none := func(l LoadResult) bool { return l.RequestsPerSecond == 0 }
	for err == nil && slices.ContainsFunc(r.Loads, none) && o.Settings.LoadTime < 20*time.Second {
		o.Settings.LoadTime *= 4 // a machine that was held up saw no request end
		r, err = runOn(t.Context(), o, readPass)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Loads) != 2 || !slices.Contains(told, "full load 40/3: 4 requests begin") {
		t.Fatalf("measured %+v, told %q", r.Loads, told)
	}
	for i, l := range r.Loads {
		if l.FullLoad != s.Loads[i] || l.Clients != []int{6, 4}[i] || !(l.Seconds >= 0.4) || len(l.Quarters) != loadParts {
			t.Errorf("%+v", l)
		}
		// Each request that ends has had its tokens; those under way at both ends of the time
		// differ, and on a busy machine the counters are not read at one moment.
		slack := float64(6*(l.Output+1))/l.Seconds + l.OutputPerSecond/2
		if d := l.OutputPerSecond - l.RequestsPerSecond*float64(l.Output); !(l.RequestsPerSecond > 0) || d > slack || -d > slack {
			t.Errorf("%v: %v tokens a second by %v requests", l.FullLoad, l.OutputPerSecond, l.RequestsPerSecond)
		}
		slack = float64(6*(l.Input+1))/l.Seconds + l.InputPerSecond/2
		if d := l.InputPerSecond - l.RequestsPerSecond*float64(l.Input); d > slack || -d > slack {
			t.Errorf("%v: %v prompt tokens a second for %v requests", l.FullLoad, l.InputPerSecond, l.RequestsPerSecond)
		}
		if !(l.StepMs > 0 && l.StepTokens >= 1 && l.StepTokens <= 32) {
			t.Errorf("%v: steps of %v ms and %v tokens", l.FullLoad, l.StepMs, l.StepTokens)
		}
	}
	var text, mark strings.Builder
	if err := errors.Join(r.WriteText(&text), r.WriteMarkdown(&mark)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "output tokens/s") || !strings.Contains(text.String(), "\n9/7 ") || !strings.Contains(mark.String(), "| 40/3 | 4 |") || strings.Contains(text.String(), "floor ms") {
		t.Errorf("printed\n%s\n%s", text.String(), mark.String())
	}
}

// A load that is cut off says so, and leaves nothing at work.
func TestFullLoadIsCancelled(t *testing.T) {
	s := Settings{Generate: 1, Depth: 1, Repeat: 1, Clients: 3, LoadTime: time.Hour, Loads: []FullLoad{{Input: 5, Output: 50}}}
	o := start(t, builtIn(t), kern.Best(), s)
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(what string) {
		if strings.Contains(what, "measuring") {
			cancel()
		}
	}
	if _, err := runOn(ctx, o, readPass); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if err := (&driver{engine: o.Engine}).settled(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestParseFullLoad(t *testing.T) {
	if l, err := ParseFullLoad(" 128/2048"); err != nil || l != (FullLoad{128, 2048}) || l.String() != "128/2048" {
		t.Errorf("%v, %v", l, err)
	}
	for _, text := range []string{"", "128", "128/", "/1", "0/1", "1/0", "-1/2", "1/2/3", "1/9999999999", "a/b"} {
		if _, err := ParseFullLoad(text); err == nil || !strings.Contains(err.Error(), "INPUT/OUTPUT") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFullLoadRefuses(t *testing.T) {
	loads := []FullLoad{{1, 1}}
	for _, c := range []struct {
		s    Settings
		want string
	}{
		{Settings{Generate: 1, Depth: 1, Repeat: 1, Loads: loads, LoadTime: time.Second}, "--clients is 0"},
		{Settings{Generate: 1, Depth: 1, Repeat: 1, Loads: loads, Clients: 1}, "--full-load-time is 0s"},
	} {
		if err := c.s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
	// What memory holds bounds the clients, and a request longer than all of it is refused.
	o := start(t, builtIn(t), kern.Portable, Settings{Generate: 1, Depth: 1, Repeat: 1, Batches: []int{1}})
	o.Settings.Clients = 100
	o.KV.Pages, o.KV.PageSize = []int{20}, 16
	if n, err := o.clients(FullLoad{Input: 30, Output: 20}); err != nil || n != 5 { // 304 cells, 56 each
		t.Errorf("%d clients, %v", n, err)
	}
	if _, err := o.clients(FullLoad{Input: 300, Output: 10}); err == nil || !strings.Contains(err.Error(), "320") {
		t.Errorf("%v", err)
	}
}
