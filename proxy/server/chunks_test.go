package server

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestChunksApart sends a chunked body byte by byte, and behind another
// request, where its framing cannot be watched and the connection ends.
func TestChunksApart(t *testing.T) {
	b := start(t, nil)
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: " + testKey + "\r\n"
	nc, r := b.dial(t)
	for _, c := range []byte(head + inChunks("3b", "")) {
		if _, err := nc.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // twice on one connection
		if resp, body := read(t, r); resp.StatusCode != 200 || resp.Close {
			t.Fatalf("%s %s", resp.Status, body)
		}
		if _, err := io.WriteString(nc, head+inChunks("3b", "")); err != nil {
			t.Fatal(err)
		}
	}
	if resp, _ := read(t, r); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	whole := head + inChunks("3b", "")
	for apart := range 5 { // the empty line in two reads
		at := strings.Index(whole, "\r\n\r\n") + apart
		for _, part := range []string{whole[:at], whole[at:]} {
			if _, err := io.WriteString(nc, part); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if resp, body := read(t, r); resp.StatusCode != 200 || resp.Close {
			t.Fatalf("apart at %d: %s %s", at, resp.Status, body)
		}
	}
	nc, r = b.dial(t)
	if _, err := io.WriteString(nc, strings.Repeat(head+inChunks("3b", ""), 3)); err != nil {
		t.Fatal(err)
	}
	first, _ := read(t, r)
	second, _ := read(t, r)
	if first.StatusCode != 200 || first.Close || second.StatusCode != 200 || !second.Close {
		t.Errorf("%v %v", first, second)
	}
	if resp, err := http.ReadResponse(r, nil); err == nil {
		t.Errorf("third request was answered: %s", resp.Status)
		_ = resp.Body.Close()
	}
}

// FuzzChunks: it does not matter in how many reads a body comes, and what is
// let through is refused by no stricter reader for its framing bytes.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5;a\r\nhello\r\n0\r\nX: y\r\n\r\n", "fffffffffffffffff\r\n", "0\r\n\r\nGET /",
		"0\r\n X: y\r\n\r\n", "A\r\n0123456789\r\n00\r\n\r\n",
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		whole := chunks{at: chunkSize}
		ok := whole.feed(body)
		if cut < 0 || cut > len(body) {
			return
		}
		parts := chunks{at: chunkSize}
		if again := parts.feed(body[:cut]) && parts.feed(body[cut:]); again != ok || ok && parts != whole {
			t.Errorf("%q cut at %d: %v %v, whole %v %v", body, cut, again, parts, ok, whole)
		}
		if !ok || whole.at != chunksIdle {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + string(body))))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil && !strings.Contains(err.Error(), "malformed MIME header") &&
			!strings.Contains(err.Error(), "excess") {
			t.Errorf("%q: %v", body, err)
		}
	})
}
