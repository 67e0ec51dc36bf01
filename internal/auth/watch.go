package auth

import (
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lookAgain is how often a file is looked at.
const lookAgain = time.Second

// Watcher gives the keys of a file as it is now. It looks at the file when keys
// are asked for, at most once a second; [Watcher.Reload] looks at once. A file
// that became wrong changes nothing, and is reported once.
type Watcher struct {
	path   string
	extra  *Ring // besides the file's; nil: none
	report func(error)
	now    func() time.Time

	ring   atomic.Pointer[Ring]
	looked atomic.Int64 // when, in ns; who moves it looks

	mu    sync.Mutex
	seen  stamp
	wrong string // what was reported last, "" if the file was right
}

// stamp tells versions of a file apart. A mounted secret is replaced by moving a
// link, which changes all of these.
type stamp struct {
	modified time.Time
	size     int64
}

// Watch reads a file of keys, and reads it again when it changes. Others are
// keys that are valid besides; a file that is wrong later is reported.
func Watch(path string, others *Ring, report func(error)) (*Watcher, error) {
	w := &Watcher{path: path, extra: others, report: report, now: time.Now}
	if path == "" {
		w.ring.Store(others)
		return w, nil
	}
	if err := w.Reload(); err != nil {
		return nil, err
	}
	return w, nil
}

// Ring gives the keys that are valid now; nil if none are set.
func (w *Watcher) Ring() *Ring {
	if w == nil {
		return nil
	}
	now, last := w.now().UnixNano(), w.looked.Load()
	// A clock that was set back must not stop the looking.
	due := now-last >= int64(lookAgain) || now < last
	if w.path != "" && due && w.looked.CompareAndSwap(last, now) {
		w.refresh()
	}
	return w.ring.Load()
}

// refresh reads the file if it is another than the one that was read last.
func (w *Watcher) refresh() {
	s, err := stampOf(w.path)
	w.mu.Lock()
	same := err == nil && s == w.seen
	w.mu.Unlock()
	if same {
		return
	}
	err = w.Reload()
	w.mu.Lock()
	known := err == nil || err.Error() == w.wrong
	w.wrong = ""
	if err != nil {
		w.wrong = err.Error()
	}
	w.mu.Unlock()
	if !known && w.report != nil {
		w.report(err)
	}
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// Reload reads the file now. When that fails the keys stay as they were.
func (w *Watcher) Reload() error {
	if w == nil || w.path == "" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := stampOf(w.path)
	w.seen = s // a file that is wrong is reported once
	if err != nil {
		return fmt.Errorf("reading the keys: %w", err)
	}
	text, err := os.ReadFile(w.path)
	if err != nil {
		return fmt.Errorf("reading the keys: %w", err)
	}
	r, err := Parse(text)
	if err != nil {
		return fmt.Errorf("the keys of %s: %w", w.path, err)
	}
	w.ring.Store(r.And(w.extra))
	w.looked.Store(w.now().UnixNano())
	return nil
}

// Append adds an entry to a file of keys, which is made if it is not there, for
// its owner's eyes alone. The whole of what it becomes is checked first.
func Append(path, entry string) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := string(old)
	if text != "" && text[len(text)-1] != '\n' {
		text += "\n"
	}
	text += entry
	if _, err := Parse([]byte(text)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return replace(path, text)
}

// replace writes a file beside the old one and moves it there, so that a server
// that looks meanwhile sees the old one or the new one.
func replace(path, text string) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	beside := path + ".new"
	if err := os.WriteFile(beside, []byte(text), mode); err != nil {
		return err
	}
	return os.Rename(beside, path)
}
