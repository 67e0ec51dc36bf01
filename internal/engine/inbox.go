package engine

import (
	"context"
	"sync"
)

// inbox carries messages to the loop. Senders never wait; the loop takes all
// that there is at once, or sleeps.
type inbox struct {
	mu     sync.Mutex
	msgs   []message
	closed bool
	wake   chan struct{} // capacity 1: "look again"
}

// message is one of: a new request, a choice or whole request to end, a question
// what the sequences do, or a prefix to let go of.
type message struct {
	look   chan<- []SequenceState
	add    *request
	cancel *request
	choice *sequence
	unpin  string // a pinned prefix's id
}

// send reports false when the loop has been told to end.
func (b *inbox) send(m message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.msgs = append(b.msgs, m)
	b.ring()
	return true
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.ring()
}

func (b *inbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take moves all messages into buf and tells whether the inbox is closed.
func (b *inbox) take(buf []message) ([]message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	buf = append(buf[:0], b.msgs...)
	clear(b.msgs)
	b.msgs = b.msgs[:0]
	return buf, b.closed
}

// mailbox carries a request's outputs from the loop to the request's goroutine.
// The loop never waits; it ends a request whose mailbox fills up.
type mailbox struct {
	mu   sync.Mutex
	outs []output
	wake chan struct{} // capacity 1
}

// put returns how many outputs wait.
func (m *mailbox) put(o output) int {
	m.mu.Lock()
	m.outs = append(m.outs, o)
	n := len(m.outs)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return n
}

// take waits for outputs and moves them into buf.
func (m *mailbox) take(ctx context.Context, buf []output) ([]output, error) {
	for {
		m.mu.Lock()
		buf = append(buf[:0], m.outs...)
		clear(m.outs)
		m.outs = m.outs[:0]
		m.mu.Unlock()
		if len(buf) > 0 {
			return buf, nil
		}
		select {
		case <-m.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
