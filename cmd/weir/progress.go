package main

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"

	"weir/internal/host"
)

// reading tells how the reading of a model's files goes: a bar where a person
// watches, lines in the log elsewhere, and whoever asks /ready. Reading that is
// soon over is not spoken of.
type reading struct {
	screen io.Writer         // a terminal; nil: none
	phase  func(what string) // nil: nobody asks
	log    *slog.Logger
	now    func() time.Time

	path   string // of the file that is being read
	began  time.Time
	spoken time.Time
	bar    *progressbar.ProgressBar
}

const (
	readingPatience = time.Second     // how long reading may take without a word
	readingInterval = 5 * time.Second // between lines in the log
)

func newReading(stderr io.Writer, phase func(string), log *slog.Logger) *reading {
	r := &reading{phase: phase, log: log, now: time.Now}
	if f, ok := isTerminal(stderr); ok {
		r.screen = f
	}
	return r
}

// report is a weights.Progress. A nil reading says nothing.
func (r *reading) report(path string, done, total int64) {
	if r == nil {
		return
	}
	now := r.now()
	if path != r.path {
		r.path, r.began, r.spoken, r.bar = path, now, now, nil
	}
	if r.phase != nil {
		r.phase(fmt.Sprintf("reading %s: %d %% of %s", filepath.Base(path), done*100/total, host.Bytes(total)))
	}
	switch {
	case r.screen != nil:
		r.draw(now, done, total)
	case now.Sub(r.spoken) >= readingInterval || done == total && r.spoken != r.began:
		r.spoken = now
		r.log.Info("reading the model", "file", filepath.Base(path), "percent", done*100/total, "of", host.Bytes(total), "per second", r.speed(now, done))
	}
}

func (r *reading) draw(now time.Time, done, total int64) {
	if r.bar == nil {
		if now.Sub(r.began) < readingPatience || done == total {
			return
		}
		r.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(r.screen),
			progressbar.OptionSetDescription("reading "+filepath.Base(r.path)),
			progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionSetWidth(24),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	_ = r.bar.Set64(done) // the screen is gone: nobody to tell
}

func (r *reading) speed(now time.Time, done int64) string {
	seconds := max(now.Sub(r.began).Seconds(), 1e-3)
	return host.Bytes(int64(float64(done) / seconds))
}
