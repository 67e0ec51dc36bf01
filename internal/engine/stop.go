package engine

import "strings"

// stopFinder finds the first stop string in a text that arrives in pieces, and
// holds back as much of its end as may be the beginning of one.
type stopFinder struct {
	stops   []string
	include bool
	held    string
	longest int
}

func (f *stopFinder) init(stops []string, include bool) {
	f.stops, f.include = stops, include
	for _, s := range stops {
		f.longest = max(f.longest, len(s))
	}
}

// push returns the text that is certain to stand before any stop string, and
// the stop string if one is complete: then text ends before it (or after it,
// when it is to be included) and the rest is dropped.
func (f *stopFinder) push(text string) (certain, stop string) {
	if len(f.stops) == 0 {
		return text, ""
	}
	text = f.held + text
	f.held = ""
	at, stop := f.first(text)
	if stop != "" {
		if f.include {
			at += len(stop)
		}
		return text[:at], stop
	}
	keep := f.undecided(text)
	f.held = text[len(text)-keep:]
	return text[:len(text)-keep], ""
}

// first finds the stop string that is complete first, however the text was cut;
// of several that end at one place, the one that begins first.
func (f *stopFinder) first(text string) (int, string) {
	at, found := -1, ""
	for _, s := range f.stops {
		i := strings.Index(text, s)
		if i < 0 {
			continue
		}
		end, best := i+len(s), at+len(found)
		if at < 0 || end < best || end == best && i < at {
			at, found = i, s
		}
	}
	return at, found
}

// undecided is the length of the longest end of text that begins a stop string.
func (f *stopFinder) undecided(text string) int {
	for n := min(len(text), f.longest-1); n > 0; n-- {
		end := text[len(text)-n:]
		for _, s := range f.stops {
			if strings.HasPrefix(s, end) {
				return n
			}
		}
	}
	return 0
}

// flush returns what was held back, once no more text will come.
func (f *stopFinder) flush() string {
	held := f.held
	f.held = ""
	return held
}
