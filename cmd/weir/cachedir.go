package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weir/internal/engine"
	"weir/internal/host"
)

// cacheDir keeps a model's prefix cache in a file of a folder, from one process
// to the next. What prompts said is in it: nobody else may read it.
type cacheDir struct {
	dir, path string
}

// newCacheDir makes the folder, if need be, and finds out whether it can be
// written to: at the end it would be too late to say so.
func newCacheDir(dir, model string) (*cacheDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--cache-dir: %w", err)
	}
	c := &cacheDir{dir: dir, path: filepath.Join(dir, fileName(model)+".prefixes")}
	c.sweep(time.Now())
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return nil, fmt.Errorf("--cache-dir: weir can't write there: %w", err)
	}
	return c, errors.Join(f.Close(), os.Remove(f.Name()))
}

const tempPattern = ".weir-*.tmp"

// staleTemp is how old a file that was being written must be to be left from a
// process that ended meanwhile.
const staleTemp = 10 * time.Minute

// sweep removes what such processes left: what prompts said is in it.
func (c *cacheDir) sweep(now time.Time) {
	left, _ := filepath.Glob(filepath.Join(c.dir, tempPattern))
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && now.Sub(info.ModTime()) > staleTemp {
			_ = os.Remove(path) // another process may have done so
		}
	}
}

// fileName makes a model's name one of a file. Names that differ only in what files'
// can't have, or in what some disks do not tell apart, have different files.
func fileName(model string) string {
	sum := sha256.Sum256([]byte(model))
	return plainName(model) + "-" + hex.EncodeToString(sum[:4])
}

// plainName is what of a name every disk takes.
func plainName(model string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, model)
	return strings.TrimLeft(name[:min(len(name), 100)], ".") // no hidden file, and no ".."
}

// Load implements engine.CacheStore.
func (c *cacheDir) Load() (io.ReadCloser, error) { return os.Open(c.path) }

// Save implements engine.CacheStore: a new file takes the old one's place when it
// is complete and on the disk.
func (c *cacheDir) Save(write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(c.dir, tempPattern)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), c.path); err != nil {
		return err
	}
	return syncDir(c.dir)
}

// syncDir makes a rename last. Where folders can't be synced it does nothing.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// logRestored says what became of the cache that an earlier process saved.
func logRestored(log *slog.Logger, r engine.Restored, pageTokens int, path string) {
	switch {
	case r.Err != nil:
		log.Warn("the saved prefix cache is ignored; it is replaced when weir ends", "file", path, "reason", r.Err)
	case r.Pages > 0:
		log.Info("prefix cache restored", "tokens", r.Pages*int64(pageTokens), "took", r.Took.Round(time.Millisecond), "file", path)
	}
}

// logSaved says what became of the cache at the end.
func logSaved(log *slog.Logger, s engine.Saved, pageTokens int, path string) {
	switch {
	case s.Err != nil:
		log.Warn("the prefix cache was not saved; what an earlier process saved stays", "file", path, "reason", s.Err)
	case s.Pages > 0:
		log.Info("prefix cache saved", "tokens", s.Pages*int64(pageTokens), "size", host.Bytes(s.Bytes), "took", s.Took.Round(time.Millisecond), "file", path)
	}
}
