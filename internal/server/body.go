package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"weir/internal/llm"
)

// firstRead is how much room a body gets before it has been sent; what a header
// promises is no reason for more.
const firstRead = 64 << 10

// body reads the request's JSON within the limits of size and time.
func (s *Server) body(w *response, r *http.Request) ([]byte, error) {
	if err := checkType(r); err != nil {
		return nil, err
	}
	if r.ContentLength > s.opts().MaxBody {
		return nil, s.tooLarge()
	}
	_ = w.rc.SetReadDeadline(time.Now().Add(s.opts().BodyTimeout)) // tests' recorders have none
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), firstRead)) + bytes.MinRead)
	limited := http.MaxBytesReader(w.ResponseWriter, r.Body, s.opts().MaxBody)
	_, err := b.ReadFrom(&countedReader{limited, w, s.opts().MaxBodies})
	var large *http.MaxBytesError
	switch {
	case err == nil:
	case errors.Is(err, errBodies):
		w.Header().Set("Connection", "close")
		return nil, &llm.Error{Kind: llm.Overloaded, Err: err,
			Message: "the bodies of all requests together are as large as this server takes; try again later, or send less"}
	case errors.As(err, &large):
		return nil, s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		e := &llm.Error{Kind: llm.Timeout, Code: "request_timeout", Err: err,
			Message: fmt.Sprintf("the body did not arrive within %v: send it at once", s.opts().BodyTimeout)}
		return nil, &statusError{http.StatusRequestTimeout, e}
	case errors.Is(err, io.ErrUnexpectedEOF), r.Context().Err() != nil:
		return nil, &llm.Error{Kind: llm.Canceled, Message: "the body broke off", Err: err}
	default:
		return nil, &llm.Error{Kind: llm.Invalid, Message: "the body could not be read: " + err.Error(), Code: "invalid_body", Err: err}
	}
	// From here on reading only watches for the client to go away.
	_ = w.rc.SetReadDeadline(time.Time{})
	if s.opts().LogContent {
		w.body = b.Bytes()
	}
	return b.Bytes(), nil
}

// errBodies says that there is no room for more of any body.
var errBodies = errors.New("no room for bodies")

// countedReader counts what is read to what the server holds of all bodies.
type countedReader struct {
	from io.Reader
	w    *response
	most int64
}

// Read implements [io.Reader].
func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.w.held += int64(n)
	if c.w.s.bodyBytes.Add(int64(n)) > c.most {
		return n, errBodies
	}
	return n, err
}

func (s *Server) tooLarge() error {
	return &llm.Error{Kind: llm.TooLarge,
		Message: fmt.Sprintf("the body is larger than %d bytes, the most that this server takes: send less", s.opts().MaxBody)}
}

// checkType refuses what is not declared as JSON. A request without any
// declaration is taken. That of a web form, which curl -d makes, is not: a page
// of any site can have its visitors' browsers send one here unasked.
func checkType(r *http.Request) error {
	if c := r.Header.Get("Content-Encoding"); c != "" && c != "identity" {
		return unsupportedType("the body is encoded (%s): send it plain", shorten(c, 40))
	}
	declared := r.Header.Get("Content-Type")
	if declared == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(declared)
	if err != nil || (kind != "application/json" && !strings.HasSuffix(kind, "+json")) {
		return unsupportedType("the body is declared as %s: send JSON, with the header Content-Type: application/json", shorten(declared, 80))
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return unsupportedType("the body is declared to be in %s: send UTF-8", shorten(c, 40))
	}
	return nil
}

func unsupportedType(format string, args ...any) error {
	e := llm.Invalidf("", format, args...)
	e.Code = "unsupported_media_type"
	return &statusError{http.StatusUnsupportedMediaType, e}
}
