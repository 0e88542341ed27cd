package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a provider made of raw sockets. Everything it started has ended
// when the test ends.
type server struct {
	l     net.Listener
	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

// serve calls f for each connection, with its number from 0.
func serve(t testing.TB, l net.Listener, f func(i int, c net.Conn)) *server {
	t.Helper()
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{l: l}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Add(1)
			go func() {
				defer s.wg.Done()
				defer c.Close()
				f(i, c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *server) url() string { return "http://" + s.l.Addr().String() }

func (s *server) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// readRequest reads one request and returns its header and body.
func readRequest(r *bufio.Reader) (head string, body []byte, err error) {
	n := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return head, nil, err
		}
		head += line
		if v, ok := strings.CutPrefix(strings.ToLower(line), "content-length:"); ok {
			n, _ = strconv.Atoi(strings.TrimSpace(v))
		}
		if line == "\r\n" {
			break
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head, body, err
}

// always answers every request of every connection with the same bytes.
func always(answer string) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// once answers one request and closes.
func once(answer string) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		if _, _, err := readRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, answer)
		}
	}
}

// hang reads whatever comes and says nothing.
func hang(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func pools(t testing.TB, s Settings) *Pools {
	t.Helper()
	p := NewPools(s)
	t.Cleanup(p.Close)
	return p
}

func endpoint(t testing.TB, p *Pools, url string, o Options) *Endpoint {
	t.Helper()
	e, err := p.Endpoint(url, o)
	if err != nil {
		t.Fatalf("endpoint %s: %v", url, err)
	}
	return e
}

func post(body string) *Call {
	return &Call{Method: "POST", Path: "/v1/chat/completions", Body: [][]byte{[]byte(body)}, Timeouts: Timeouts{
		Connect: 5 * time.Second, TLS: 5 * time.Second, FirstByte: 10 * time.Second, Idle: 10 * time.Second, Total: 20 * time.Second,
	}}
}

// fetch makes a call and reads its answer whole.
func fetch(e *Endpoint, c *Call) (int, string, error) {
	r, err := e.Do(c, new(Handle))
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	b, err := r.ReadAll(nil, 64<<20, nil)
	return r.Status, string(b), err
}

// failure insists that err is an *Error.
func failure(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want an *Error", err, err)
	}
	return e
}

// until waits for a state.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (q *pool) idling() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.idle)
}

// gradually gives the bytes in pieces of n.
type gradually struct {
	b []byte
	n int
}

func (g *gradually) Read(p []byte) (int, error) {
	if len(g.b) == 0 {
		return 0, io.EOF
	}
	k := copy(p, g.b[:min(g.n, len(g.b))])
	g.b = g.b[k:]
	return k, nil
}
