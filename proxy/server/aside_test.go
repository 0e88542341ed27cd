package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

const threeEvents = "data: {\"i\":1}\n\ndata: {\"i\":2}\n\ndata: {\"i\":3}\n\n"

// TestStreamsAside: while a stream goes on fasthttp serves nobody, and what it
// held is free for others.
func TestStreamsAside(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	if _, err := io.WriteString(nc, chat("endless", "")); err != nil {
		t.Fatal(err)
	}
	for line := ""; line != "data: {}\n"; {
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); b.http.GetCurrentConcurrency() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("fasthttp holds %d connections", b.http.GetCurrentConcurrency())
		}
	}
	if n := b.own.Streams.Load(); n != 1 {
		t.Errorf("%d streams", n)
	}
	b.Cut(time.Second)
	<-b.g.causes
	if rest, err := io.ReadAll(r); err != nil || !strings.Contains(string(rest), "error") || strings.HasSuffix(string(rest), "0\r\n\r\n") {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestAfterStreams: a connection has further requests after a stream, those too
// that were sent before its end.
func TestAfterStreams(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1)
	stream, whole := chat("stream", ""), chat("mock", "")
	body := `{"model":"stream","messages":[]}`
	chunks := "POST /chat/completions HTTP/1.1\r\nHost: x\r\napi-key: " + testKey + "\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + body + "\r\n0\r\n\r\n"
	for _, secure := range []bool{false, true} {
		b := start(t, func(c *Config, l *fleet.Listener) {
			if secure {
				c.CertFile, c.KeyFile, l.TLS = cert, key, true
			}
		})
		nc, r := b.dial(t)
		if secure {
			nc = net.Conn(tls.Client(nc, &tls.Config{InsecureSkipVerify: true})) //nolint:gosec // self-signed by the test
			r = bufio.NewReader(nc)
		}
		for _, send := range []string{
			stream, whole, stream, stream, stream + whole, whole + stream, stream + stream + whole, stream, chunks, stream, chunks + stream,
			stream + whole[:50], whole[50:] + stream, "", stream + stream[:len(stream)-9], stream[len(stream)-9:] + whole[:3], whole[3:], stream,
		} {
			if send == "" { // long enough to be parked
				time.Sleep(parkAfter + 3*tick)
				continue
			}
			if _, err := io.WriteString(nc, send); err != nil {
				t.Fatal(err)
			}
			for range strings.Count(send, `hi"}]}`) + strings.Count(send, body) {
				resp, got := read(t, r)
				if resp.StatusCode != 200 || resp.Close || got != threeEvents && got != `{"object":"chat.completion","id":"x"}` {
					t.Fatalf("secure %v, after %q: %d %q", secure, send, resp.StatusCode, got)
				}
			}
		}
		if _, err := io.WriteString(nc, chat("stream", "Connection: close\r\n")); err != nil {
			t.Fatal(err)
		}
		if resp, got := read(t, r); !resp.Close || got != threeEvents {
			t.Errorf("secure %v: close %v, %q", secure, resp.Close, got)
		}
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("secure %v: the connection lives: %v", secure, err)
		}
	}
}

// TestDrainAside: a drain waits for a stream that fasthttp knows nothing of, and
// ends it when its window is over.
func TestDrainAside(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	if _, err := io.WriteString(nc, chat("endless", "")); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	b.Lame(300 * time.Millisecond)
	soon, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if err := b.Wait(soon); !errors.Is(err, context.DeadlineExceeded) || b.Open() != 1 {
		t.Errorf("not waited for: %v, %d open", err, b.Open())
	}
	later, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := b.Wait(later); err != nil || b.own.Cut.Load() != 1 || b.own.Streams.Load() != 0 {
		t.Errorf("%v, %d cut, %d streams", err, b.own.Cut.Load(), b.own.Streams.Load())
	}
	if rest, err := io.ReadAll(r); err != nil || !strings.Contains(string(rest), "error") {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestLargeHeaders: a header that is larger than the buffer that fasthttp writes
// from leaves once.
func TestLargeHeaders(t *testing.T) {
	b := start(t, nil)
	send := chat("talkative", "")
	for _, send := range []string{send, send + send, strings.Replace(send, "HTTP/1.1", "HTTP/1.0", 1)} {
		nc, r := b.dial(t)
		if _, err := io.WriteString(nc, send); err != nil {
			t.Fatal(err)
		}
		for range strings.Count(send, "POST") {
			resp, got := read(t, r)
			if n := len(resp.Header.Get("llm_provider-policy")); got != threeEvents || n != 2*writeBuffer {
				t.Errorf("%.60q: a header of %d bytes, body %.200q", send, n, got)
			}
		}
	}
}

// poison is a stream that panics after its first event.
type poison struct{ events }

func (p *poison) Read(b []byte) (int, error) {
	if p.i > 0 {
		panic("poison")
	}
	return p.events.Read(b)
}

// TestPanicInStream: a stream that panics ends with an error event and no end,
// and nothing else does.
func TestPanicInStream(t *testing.T) {
	b := start(t, nil)
	for range 3 {
		nc, r := b.dial(t)
		if _, err := io.WriteString(nc, chat("poisoned", "")); err != nil {
			t.Fatal(err)
		}
		resp, got := read(t, r)
		if resp.StatusCode != 200 || !strings.Contains(got, `{"i":1}`) || !strings.Contains(got, "Internal server error") || !strings.HasSuffix(got, "!unexpected EOF") {
			t.Errorf("%d %q", resp.StatusCode, got)
		}
	}
	if n := b.own.Panics.Load(); n != 3 || b.own.Streams.Load() != 0 || b.own.InFlight.Load() != 0 {
		t.Errorf("%d panics, %d streams, %d in flight", n, b.own.Streams.Load(), b.own.InFlight.Load())
	}
}
