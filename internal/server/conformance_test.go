package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw sends bytes and gives everything that comes back until the server closes or
// is silent. The request is to make the server close.
func raw(t *testing.T, addr, bytes string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, bytes); err != nil {
		return ""
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

const (
	jsonPost = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	pipeline = "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)

// TestHTTP1 is what RFC 9112 says of requests that are wrong or ambiguous. What
// follows each is a request that must not be answered where the first leaves open
// where it ends.
func TestHTTP1(t *testing.T) {
	s := serve(t, newFake(), nil)
	n := fmt.Sprint(len(askBody))
	hex := fmt.Sprintf("%x", len(askBody))
	for _, c := range []struct {
		name, bytes, status string
		answers             int // all together
	}{
		{"plain, pipelined", jsonPost + "Content-Length: " + n + "\r\n\r\n" + askBody + pipeline, "200", 2},
		{"equal lengths twice", jsonPost + "Content-Length: " + n + "\r\nContent-Length: " + n + "\r\n\r\n" + askBody + pipeline, "200", 2},
		{"two lengths", jsonPost + "Content-Length: 1\r\nContent-Length: " + n + "\r\n\r\n" + askBody + pipeline, "400", 1},
		{"length list", jsonPost + "Content-Length: 1, " + n + "\r\n\r\n" + askBody + pipeline, "400", 1},
		{"negative length", jsonPost + "Content-Length: -1\r\n\r\n" + pipeline, "400", 1},
		{"signed length", jsonPost + "Content-Length: +" + n + "\r\n\r\n" + askBody + pipeline, "400", 1},
		{"hex length", jsonPost + "Content-Length: 0x10\r\n\r\n" + pipeline, "400", 1},
		{"huge length", jsonPost + "Content-Length: 99999999999999999999\r\n\r\n" + pipeline, "400", 1},
		{"chunked", jsonPost + "Transfer-Encoding: chunked\r\n\r\n" + hex + "\r\n" + askBody + "\r\n0\r\n\r\n" + pipeline, "200", 1},
		{"length and chunked", jsonPost + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + hex + "\r\n" + askBody + "\r\n0\r\n\r\n" + pipeline, "200", 1},
		{"chunked and length", jsonPost + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + hex + "\r\n" + askBody + "\r\n0\r\n\r\n" + pipeline, "200", 1},
		{"chunked twice", jsonPost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + pipeline, "501", 1},
		{"unknown coding", jsonPost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + pipeline, "501", 1},
		{"chunked, obfuscated", jsonPost + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + pipeline, "501", 1},
		{"chunked with a tab before the colon", jsonPost + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n" + pipeline, "400", 1},
		{"blank before the colon", "GET /version HTTP/1.1\r\nHost : x\r\n\r\n" + pipeline, "400", 1},
		{"folded header", "GET /version HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n" + pipeline, "400", 1},
		{"bad chunk size", jsonPost + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + askBody + "\r\n0\r\n\r\n" + pipeline, "400", 1},
		{"chunk longer than it says", jsonPost + "Transfer-Encoding: chunked\r\n\r\n3\r\n" + askBody + "\r\n0\r\n\r\n" + pipeline, "400", 1},
		{"no host", "GET /version HTTP/1.1\r\n\r\n" + pipeline, "400", 1},
		{"two hosts", "GET /version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + pipeline, "400", 1},
		{"host with a path", "GET /version HTTP/1.1\r\nHost: a/b\r\n\r\n" + pipeline, "400", 1},
		{"null in a header", "GET /version HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n" + pipeline, "400", 1},
		{"bare CR in a header", "GET /version HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n" + pipeline, "400", 1},
		{"version 2 on the line", "GET /version HTTP/2.0\r\nHost: x\r\n\r\n" + pipeline, "505", 1},
		{"version 3", "GET /version HTTP/3.0\r\nHost: x\r\n\r\n" + pipeline, "505", 1},
		{"no version", "GET /version\r\n\r\n" + pipeline, "400", 1},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "400", 1},
		{"control in the path", "GET /ver\x01sion HTTP/1.1\r\nHost: x\r\n\r\n" + pipeline, "400", 1},
		{"absolute form", "GET http://x/version HTTP/1.1\r\nHost: x\r\n\r\n" + pipeline, "200", 2},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" + pipeline, "200", 2},
		{"CONNECT", "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\nConnection: close\r\n\r\n", "404", 1},
		{"TRACE", "TRACE /version HTTP/1.1\r\nHost: x\r\nX-Secret: s\r\n\r\n" + pipeline, "405", 2},
		{"unknown expectation", jsonPost + "Expect: tea\r\nContent-Length: " + n + "\r\nConnection: close\r\n\r\n" + askBody, "417", 1},
		{"long header", "GET /version HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", "431", 1},
		{"HTTP/1.0", "GET /version HTTP/1.0\r\n\r\n" + pipeline, "200", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := raw(t, s.addr, c.bytes)
			if n := strings.Count(got, "HTTP/1."); n != c.answers {
				t.Errorf("%d answers, want %d:\n%s", n, c.answers, got)
			}
			if f := strings.Fields(got); len(f) < 2 || f[1] != c.status {
				t.Errorf("want status %s:\n%.300s", c.status, got)
			}
			if strings.Contains(got, "X-Secret") {
				t.Error("a request's headers come back")
			}
		})
	}
}

// TestContinue: a client that asks first is told to go on, or refused before it
// sends the body.
func TestContinue(t *testing.T) {
	s := serve(t, newFake(), nil)
	n := fmt.Sprint(len(askBody))
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, jsonPost+"Expect: 100-continue\r\nConnection: close\r\nContent-Length: "+n+"\r\n\r\n")
	r := bufio.NewReader(c)
	if line, _ := r.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q", line)
	}
	io.WriteString(c, askBody)
	if b, _ := io.ReadAll(r); !strings.Contains(string(b), "HTTP/1.1 200") {
		t.Errorf("got %s", b)
	}
	if got := raw(t, s.addr, jsonPost+"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 413") {
		t.Errorf("a body that is too large: %s", got)
	}
}

// TestSlowLoris: connections that say little are closed, and meanwhile others are
// answered.
func TestSlowLoris(t *testing.T) {
	s := serve(t, newFake(), func(o *Options) { o.HeaderTimeout, o.BodyTimeout = 2*time.Second, 2*time.Second })
	var slow []net.Conn
	for i := range 50 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 3 {
		case 0: // nothing at all
		case 1:
			io.WriteString(c, "GET /version HTTP/1.1\r\nHost: x\r\nX-A: ")
		case 2:
			io.WriteString(c, jsonPost+"Content-Length: 1000\r\n\r\n{")
		}
		slow = append(slow, c)
	}
	if got := send(t, s.addr, "GET", "/health", ""); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("a probe beside them: %s", got)
	}
	for i, c := range slow {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("connection %d is still open: %s", i, b)
		}
	}
	if !eventually(func() bool { return s.connections.Load() == 0 }) {
		t.Errorf("%d connections are left", s.connections.Load())
	}
}

// h2 is a client of frames.
type h2 struct {
	t *testing.T
	c net.Conn
	f *http2.Framer
	b bytes.Buffer
	e *hpack.Encoder
}

func dialH2(t *testing.T, addr string) *h2 {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, http2.ClientPreface)
	h := &h2{t: t, c: c, f: http2.NewFramer(c, c)}
	h.f.AllowIllegalWrites, h.f.AllowIllegalReads = true, true
	h.e = hpack.NewEncoder(&h.b)
	if err := h.f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

// headers encodes a request's headers.
func (h *h2) headers(pairs ...string) []byte {
	h.b.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = h.e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return bytes.Clone(h.b.Bytes())
}

func (h *h2) get(stream uint32, more ...string) {
	pairs := append([]string{":method", "GET", ":scheme", "https", ":authority", "x", ":path", "/version"}, more...)
	_ = h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.headers(pairs...), EndStream: true, EndHeaders: true})
}

// outcome reads frames until the server says what it thinks: a status, "reset CODE",
// "goaway CODE", "pong", or "closed".
func (h *h2) outcome() string {
	decoder := hpack.NewDecoder(4096, nil)
	for {
		f, err := h.f.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, _ := decoder.DecodeFull(f.HeaderBlockFragment())
			for _, x := range fields {
				if x.Name == ":status" {
					return x.Value
				}
			}
		case *http2.RSTStreamFrame:
			return "reset " + f.ErrCode.String()
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		case *http2.PingFrame:
			if f.IsAck() {
				return "pong"
			}
		}
	}
}

// TestHTTP2Frames is what RFC 9113 says of frames that break its rules, as h2spec
// tries them.
func TestHTTP2Frames(t *testing.T) {
	s, _, _ := secure(t, newFake())
	for _, c := range []struct {
		name string
		do   func(h *h2)
		want string // what outcome begins with; several with |
	}{
		{"plain", func(h *h2) { h.get(1) }, "200"},
		{"ping", func(h *h2) { _ = h.f.WritePing(false, [8]byte{1}) }, "pong"},
		{"unknown frame", func(h *h2) { _ = h.f.WriteRawFrame(0xbb, 0, 0, []byte("x")); h.get(1) }, "200"},
		{"even stream", func(h *h2) { h.get(2) }, "goaway PROTOCOL_ERROR"},
		{"stream goes back", func(h *h2) { h.get(5); h.outcome(); h.get(3) }, "goaway|closed"},
		{"data on an idle stream", func(h *h2) { _ = h.f.WriteData(7, true, []byte("x")) }, "goaway PROTOCOL_ERROR"},
		{"data on stream 0", func(h *h2) { _ = h.f.WriteRawFrame(http2.FrameData, 0, 0, []byte("x")) }, "goaway PROTOCOL_ERROR"},
		{"settings on a stream", func(h *h2) { _ = h.f.WriteRawFrame(http2.FrameSettings, 0, 1, nil) }, "goaway PROTOCOL_ERROR"},
		{"settings of a wrong size", func(h *h2) { _ = h.f.WriteRawFrame(http2.FrameSettings, 0, 0, []byte("abc")) }, "goaway FRAME_SIZE_ERROR"},
		{"ping of a wrong size", func(h *h2) { _ = h.f.WriteRawFrame(http2.FramePing, 0, 0, []byte("abc")) }, "goaway FRAME_SIZE_ERROR"},
		{"window of 0", func(h *h2) { _ = h.f.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, []byte{0, 0, 0, 0}) }, "goaway PROTOCOL_ERROR"},
		{"window overflows", func(h *h2) { _ = h.f.WriteWindowUpdate(0, 1<<31-1); _ = h.f.WriteWindowUpdate(0, 1<<31-1) }, "goaway FLOW_CONTROL_ERROR"},
		{"push from a client", func(h *h2) { _ = h.f.WriteRawFrame(http2.FramePushPromise, 4, 1, []byte{0, 0, 0, 2}) }, "goaway PROTOCOL_ERROR"},
		{"headers never end", func(h *h2) {
			_ = h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.headers(":method", "GET"), EndStream: true})
			_ = h.f.WritePing(false, [8]byte{})
		}, "goaway PROTOCOL_ERROR"},
		{"broken compression", func(h *h2) { _ = h.f.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff}) }, "goaway COMPRESSION_ERROR"},
		{"frame larger than allowed", func(h *h2) { _ = h.f.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 2<<20)) }, "goaway FRAME_SIZE_ERROR|closed"},
		{"no path", func(h *h2) {
			_ = h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.headers(":method", "GET", ":scheme", "https", ":authority", "x"), EndStream: true, EndHeaders: true})
		}, "reset PROTOCOL_ERROR|400"},
		{"upper case header", func(h *h2) { h.get(1, "X-Upper", "a") }, "reset PROTOCOL_ERROR|400"},
		{"connection header", func(h *h2) { h.get(1, "connection", "close") }, "reset PROTOCOL_ERROR|400"},
		{"transfer-encoding", func(h *h2) { h.get(1, "transfer-encoding", "chunked") }, "reset PROTOCOL_ERROR|400"},
		{"te other than trailers", func(h *h2) { h.get(1, "te", "gzip") }, "reset PROTOCOL_ERROR|400"},
		{"pseudo header after others", func(h *h2) { h.get(1, "a", "b", ":path", "/health") }, "reset PROTOCOL_ERROR|400"},
		{"unknown pseudo header", func(h *h2) {
			_ = h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.headers(":method", "GET", ":scheme", "https", ":path", "/version", ":evil", "x"), EndStream: true, EndHeaders: true})
		}, "reset PROTOCOL_ERROR|400"},
		{"line break in a value", func(h *h2) { h.get(1, "x-a", "b\r\nc: d") }, "reset PROTOCOL_ERROR|400"},
		{"length that lies", func(h *h2) {
			_ = h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.headers(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/v1/completions", "content-length", "3"), EndHeaders: true})
			_ = h.f.WriteData(1, true, []byte("longer than that"))
		}, "reset PROTOCOL_ERROR|400|499"},
		{"headers too large", func(h *h2) { h.get(1, "x-a", strings.Repeat("a", 15<<10), "x-b", strings.Repeat("b", 1)) }, "200|431"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := dialH2(t, s.addr)
			c.do(h)
			got := h.outcome()
			for want := range strings.SplitSeq(c.want, "|") {
				if strings.HasPrefix(got, want) {
					return
				}
			}
			t.Errorf("the server answers %q, want %s", got, c.want)
		})
	}
}

// TestHTTP2RapidReset: a client that opens and resets streams as fast as it can
// does not keep the backend at work, and others are answered.
func TestHTTP2RapidReset(t *testing.T) {
	f := newFake()
	f.step = make(chan struct{})
	s, _, _ := secure(t, f)
	h := dialH2(t, s.addr)
	go func() { _, _ = io.Copy(io.Discard, h.c) }()
	block := h.headers(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/v1/completions", "content-type", "application/json")
	for i := range 2000 {
		id := uint32(2*i + 1)
		if h.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil ||
			h.f.WriteData(id, true, []byte(`{"prompt":"a"}`)) != nil || h.f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // the server has had enough
		}
		block = h.headers(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/v1/completions", "content-type", "application/json")
	}
	if n := f.active.Load(); n > maxStreams {
		t.Errorf("%d generations at once for one connection", n)
	}
	h.c.Close()
	if !eventually(func() bool { return f.active.Load() == 0 }) {
		t.Errorf("%d generations go on for nobody", f.active.Load())
	}
}

// FuzzEndpoints gives every endpoint any body: it answers with JSON or a stream, of
// a status that is about the request, and never panics.
func FuzzEndpoints(f *testing.F) {
	s, err := New(DefaultOptions(), Static{fakeTexter{newFake()}}, new(fakeHealth))
	if err != nil {
		f.Fatal(err)
	}
	var posts []route
	for _, rt := range s.routes {
		if rt.method == "POST" {
			posts = append(posts, rt)
		}
	}
	for i := range posts {
		for _, seed := range []string{askBody, streamBody, `{"prompt":"a","n":2}`, `{"tokens":[1,2]}`, `{"prompt":["a","b"],"stream":true}`, `{"messages":[]}`, `[`, `{"prompt":[[1]],"echo":true,"logprobs":1}`, "\xff", `{"id":"a","prompt":"b"}`} {
			f.Add(uint8(i), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		rt := posts[int(which)%len(posts)]
		r := httptest.NewRequest(rt.method, rt.path, bytes.NewReader(body))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError || w.Code == 0 {
			t.Fatalf("%s: %d %s", rt.path, w.Code, w.Body)
		}
		if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "application/json") && !strings.HasPrefix(kind, "text/event-stream") {
			t.Fatalf("%s: %s", rt.path, kind)
		}
	})
}
