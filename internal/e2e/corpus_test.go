//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawCase is a piece of the corpus of bad (and odd but good) requests: rows F3
// to F14 of the reliability table. In send, {id} is the name of a chat that the
// provider's ledger shows, {b} a good chat body and {n} its length, {x} the
// length in hexadecimal.
type rawCase struct {
	name, send string
	want       []int // statuses of all answers
	keep       bool  // the connection lives on
}

const (
	rawKey  = "Authorization: Bearer " + MasterKey + "\r\n"
	rawGet  = "GET /v1/models HTTP/1.1\r\nHost: x\r\n" + rawKey
	rawPost = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + rawKey
	rawGood = rawPost + "Content-Length: {n}\r\n\r\n{b}"
	rawTE   = rawPost + "Transfer-Encoding: chunked\r\n\r\n"
)

func line(first string) string { return first + "\r\nHost: x\r\n" + rawKey + "\r\n" }

func corpus() []rawCase {
	bad, gone := []int{400}, []int{404}
	ok := []int{200}
	return []rawCase{
		{"good", rawGood, ok, true},
		{"good in chunks", rawTE + "{x}\r\n{b}\r\n0\r\n\r\n", ok, true},
		{"good, empty lines first", "\r\n\r\n" + rawGood, ok, true},
		{"good, 1.0", strings.Replace(rawGood, "HTTP/1.1", "HTTP/1.0", 1), ok, false},
		{"good, absolute form", strings.Replace(rawGood, " /v1", " http://other.example/v1", 1), ok, true},
		{"good, close", strings.Replace(rawGood, "\r\n\r\n", "\r\nConnection: keep-alive, close\r\n\r\n", 1), ok, false},
		{"F12 pipelined", rawGood + rawGood + rawGood, []int{200, 200, 200}, true},
		{"F12 nothing after broken framing", strings.Replace(rawGood, "Host: x", "Host: a@b", 1) + rawGood, bad, false},
		{"F3 target", line("GET /" + strings.Repeat("a", 9000) + " HTTP/1.1"), []int{414}, false},
		{"F3 huge headers", rawGet + "X-A: " + strings.Repeat("a", 40000) + "\r\n\r\n", []int{431}, false},
		{"F3 many headers", rawGet + strings.Repeat("X-A: b\r\n", 101) + "\r\n", []int{431}, false},
		{"F4 huge body", rawPost + "Content-Length: 999999999\r\n\r\n", []int{413}, false},
		{"F4 absurd length", rawPost + "Content-Length: 99999999999999999999\r\n\r\n", bad, false},
		{"F8 two hosts", rawGet + "Host: y\r\n\r\n", bad, false},
		{"F8 two keys", rawGet + "authorization: Bearer b\r\n\r\n", bad, false},
		{"F8 two types", strings.Replace(rawGood, "\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n", 1), bad, false},
		{"F8 two lengths", strings.Replace(rawGood, "\r\n\r\n", "\r\nContent-Length: {n}\r\n\r\n", 1), bad, false},
		{"F9 length and chunked", rawPost + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F9 chunked and length", rawPost + "Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n\r\n0\r\n\r\n" + rawGood, bad, false},
		{"F9 length 0 and chunked", rawPost + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F10 folded", rawGet + "X-A: b\r\n c\r\n\r\n", bad, false},
		{"F10 folded coding", rawPost + "Transfer-Encoding:\r\n chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F10 identity", rawPost + "Transfer-Encoding: identity\r\nContent-Length: {n}\r\n\r\n{b}", bad, false},
		{"F10 blank after chunk size", rawTE + "{x} \r\n{b}\r\n0\r\n\r\n" + rawGood, bad, false},
		{"F10 tab after last chunk", rawTE + "{x}\r\n{b}\r\n0\t\r\n\r\n" + rawGood, bad, false},
		{"F10 host with user", strings.Replace(rawGood, "Host: x", "Host: a@b", 1), bad, false},
		{"F10 host list", strings.Replace(rawGood, "Host: x", "Host: a,b", 1), bad, false},
		{"F10 no host", strings.Replace(rawGood, "Host: x\r\n", "", 1), bad, false},
		{"F10 version 2.0", strings.Replace(rawGood, "HTTP/1.1", "HTTP/2.0", 1), bad, false},
		{"F10 version 1.2", strings.Replace(rawGood, "HTTP/1.1", "HTTP/1.2", 1), bad, false},
		{"F10 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad, false},
		{"F10 fragment", line("GET /v1/models#x HTTP/1.1"), bad, false},
		{"F10 raw bytes", line("GET /v1/m\xc3\xb6dels HTTP/1.1"), bad, false},
		{"F10 bad escape", line("GET /v1/%zz HTTP/1.1"), bad, false},
		{"F10 lower-case method", line("get /v1/models HTTP/1.1"), []int{405}, true},
		{"F10 unknown method", line("BREW /v1/models HTTP/1.1"), []int{405}, true},
		{"F10 TRACE", line("TRACE /v1/models HTTP/1.1"), []int{405}, true},
		{"F10 CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", []int{405}, true},
		{"F10 expectation", strings.Replace(rawGood, "\r\n\r\n", "\r\nExpect: 200-ok\r\n\r\n", 1), []int{417}, false},
		{"F11 bare LF", strings.Replace(rawGood, "x\r\n", "x\n", 1), bad, false},
		{"F11 bare LF hides a header", rawPost + "X-A: b\nTransfer-Encoding: chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 CR in value", rawGet + "X-A: a\rb\r\n\r\n", bad, false},
		{"F11 NUL in value", rawGet + "X-A: a\x00b\r\n\r\n", bad, false},
		{"F11 NUL in name", rawGet + "X-A\x00: a\r\n\r\n", bad, false},
		{"F11 blank before colon", rawPost + "Transfer-Encoding : chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 no chunk size", rawTE + "\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunk size 0x", rawTE + "0x{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunk size +", rawTE + "+{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunk size overflows", rawTE + "ffffffffffffffff{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunk ends in LF", rawTE + "{x}\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunk longer than said", rawTE + "{x}\r\n{b}XX\r\n0\r\n\r\n" + rawGood, bad, false},
		{"F11 NUL in extension", rawTE + "{x};a=\x00\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 LF in extension", rawTE + "{x};a\nb\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 folded trailer", rawTE + "{x}\r\n{b}\r\n0\r\nX: a\r\n b\r\n\r\n", bad, false},
		{"F11 length as trailer", rawTE + "{x}\r\n{b}\r\n0\r\nContent-Length: 5\r\n\r\n", bad, false},
		{"F11 request as trailer", rawTE + "{x}\r\n{b}\r\n0\r\n" + rawGood, bad, false},
		{"F11 length signed", rawPost + "Content-Length: +{n}\r\n\r\n{b}", bad, false},
		{"F11 length negative", rawPost + "Content-Length: -{n}\r\n\r\n{b}", bad, false},
		{"F11 length hexadecimal", rawPost + "Content-Length: 0x{x}\r\n\r\n{b}", bad, false},
		{"F11 length list", rawPost + "Content-Length: {n}, {n}\r\n\r\n{b}", bad, false},
		{"F11 length empty", rawPost + "Content-Length: \r\n\r\n{b}", bad, false},
		{"F11 coding list", rawPost + "Transfer-Encoding: gzip, chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunked twice", rawPost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 coding unknown", rawPost + "Transfer-Encoding: xchunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 coding with vertical tab", rawPost + "Transfer-Encoding: \x0bchunked\r\n\r\n{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F11 chunked, 1.0", strings.Replace(rawTE, "HTTP/1.1", "HTTP/1.0", 1) + "{x}\r\n{b}\r\n0\r\n\r\n", bad, false},
		{"F13 encoded slash", line("GET /v1%2Fmodels HTTP/1.1"), gone, true},
		{"F13 dots", line("GET /v1/../v1/models HTTP/1.1"), gone, true},
		{"F13 double slash", line("GET //v1/models HTTP/1.1"), gone, true},
		{"F13 double encoding", line("GET /v1/models/a%252fb HTTP/1.1"), gone, true},
		{"F13 encoded dots", line("GET /v1/models/%2e%2e HTTP/1.1"), gone, true},
		{"F13 other scheme", line("GET ftp://x/v1/models HTTP/1.1"), bad, false},
		{"F14 gzip", rawPost + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", []int{415}, true},
		{"body on GET", rawGet + "Content-Length: {n}\r\n\r\n{b}", ok, true},
		{"request as the body of a GET", rawGet + "Content-Length: 41\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: evil.com\r\n\r\n", ok, true},
	}
}

// TestCorpus sends each case as bytes to every listener, and through nginx and
// HAProxy. After each the connection is as it should be, a good request on a
// new connection is answered, and the provider has seen exactly the chats that
// were answered with 200.
func TestCorpus(t *testing.T) {
	e := bootEdge(t, quietly)
	e.balance(t)
	sent, chats := 0, 0
	var mu sync.Mutex
	for name, dial := range e.fronts {
		t.Run(name, func(t *testing.T) {
			room := make(chan struct{}, 8)
			var all sync.WaitGroup
			for i, c := range corpus() {
				all.Add(1)
				room <- struct{}{}
				go func() {
					defer func() { <-room; all.Done() }()
					id := fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", ""), i)
					n := e.attack(t, dial, c, id, name == "nginx" || name == "haproxy")
					mu.Lock()
					sent, chats = sent+1, chats+n
					mu.Unlock()
				}()
			}
			all.Wait()
		})
	}
	t.Logf("corpus: %d cases over %d ways in, %d chats answered, each seen once by the provider", sent, len(e.fronts), chats)
}

// attack sends one case and returns how many chats of it were answered.
// Through a balancer it is the balancer's to refuse or mend a case; what counts
// there is that nobody is answered for another and nothing is run unseen.
func (e *edge) attack(t *testing.T, dial func() (net.Conn, error), c rawCase, id string, balanced bool) int {
	body := fmt.Sprintf(`{"model":"ok","user":%q,"messages":[{"role":"user","content":"hello"}]}`, id)
	send := strings.NewReplacer("{b}", body, "{n}", fmt.Sprint(len(body)), "{x}", fmt.Sprintf("%x", len(body))).Replace(c.send)
	nc, err := dial()
	if err != nil {
		t.Errorf("%s: %v", c.name, err)
		return 0
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	// What is refused early is not taken to its end: a failing write is no fault.
	_, _ = io.WriteString(nc, send)
	n, quiet := 0, 5*time.Second
	if c.keep && !balanced {
		n = len(c.want)
	} else if balanced {
		quiet = 700 * time.Millisecond
	}
	got, ended := replies(nc, r, n, quiet)
	var statuses []int
	chats := 0
	for _, a := range got {
		statuses = append(statuses, a.status)
		if strings.Contains(a.body, `"chat.completion"`) {
			chats++
		}
	}
	if !balanced {
		if !slices.Equal(statuses, c.want) || c.keep == ended {
			t.Errorf("%s: answers %v, ended %v; want %v, keep %v\n%v", c.name, statuses, ended, c.want, c.keep, got)
		}
		for _, a := range got {
			if a.status >= 400 && !strings.HasPrefix(a.body, `{"error":{`) && !strings.HasPrefix(a.body, `{"detail":`) || a.header.Get("x-request-id") == "" {
				t.Errorf("%s: answer %+v", c.name, a)
			}
		}
		if c.keep {
			e.probe(t, nc, r, c.name+", same connection", id+"-same")
		}
	}
	if seen := len(e.p.Ledger().Of(id)); seen != chats {
		t.Errorf("%s: %d chats were answered, the provider saw %d; answers %v", c.name, chats, seen, statuses)
	}
	for range 2 {
		next, err := dial()
		if err != nil {
			t.Errorf("%s: then: %v", c.name, err)
			return chats
		}
		e.probe(t, next, bufio.NewReader(next), c.name+", new connection", id+"-next")
		_ = next.Close()
	}
	return chats
}

// probe sends a good chat and wants its own answer.
func (e *edge) probe(t *testing.T, nc net.Conn, r *bufio.Reader, what, id string) {
	body := fmt.Sprintf(`{"model":"ok","user":%q,"messages":[{"role":"user","content":"hello"}]}`, id)
	_, err := fmt.Fprintf(nc, "%sx-litellm-call-id: %s\r\nContent-Length: %d\r\n\r\n%s", rawPost, id, len(body), body)
	got, _ := replies(nc, r, 1, 20*time.Second)
	if err != nil || len(got) != 1 || got[0].status != 200 || got[0].header.Get("x-litellm-call-id") != id {
		t.Errorf("%s: good request: %v %+v", what, err, got)
	}
}
