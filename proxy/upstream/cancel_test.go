package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// backlogged is a listener whose queue is full: connecting to it never ends.
func backlogged(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
		if err != nil {
			return "http://" + addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

// stages are calls that stay in one phase for good.
func stages(t *testing.T) map[Phase]func() (*Endpoint, *Call) {
	small := func(p *Pools, url string, o Options) func() (*Endpoint, *Call) {
		return func() (*Endpoint, *Call) {
			c := post("{}")
			c.Timeouts = Timeouts{}
			return endpoint(t, p, url, o), c
		}
	}
	silent := serve(t, nil, hang)
	deaf := serve(t, nil, func(_ int, c net.Conn) { // reads nothing
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = bufio.NewReaderSize(c, 16).ReadByte()
		<-t.Context().Done()
	})
	header := serve(t, nil, func(_ int, c net.Conn) {
		_, _, _ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
		hang(0, c)
	})
	body := serve(t, nil, func(_ int, c net.Conn) {
		_, _, _ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
		hang(0, c)
	})
	p := pools(t, Settings{})
	return map[Phase]func() (*Endpoint, *Call){
		PhaseDial:      small(p, backlogged(t), Options{}),
		PhaseTLS:       small(p, strings.Replace(silent.url(), "http", "https", 1), Options{}),
		PhaseFirstByte: small(p, silent.url(), Options{}),
		PhaseHeader:    small(p, header.url(), Options{}),
		PhaseBody:      small(p, body.url(), Options{}),
		PhaseWrite: func() (*Endpoint, *Call) {
			c := &Call{Method: "POST", Path: "/", Body: [][]byte{make([]byte, 64<<20)}}
			return endpoint(t, p, deaf.url(), Options{}), c
		},
	}
}

// run makes the call up to the end of its body and returns its error.
func run(e *Endpoint, c *Call, h *Handle) error {
	r, err := e.Do(c, h)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.ReadAll(nil, 1<<20, nil)
	return err
}

func TestCancelInEveryPhase(t *testing.T) {
	why := errors.New("the client has left")
	for phase, stage := range stages(t) {
		t.Run(phase.String(), func(t *testing.T) {
			e, c := stage()
			var h Handle
			var f *Error
			for try := 1; ; try++ { // a busy machine may wake us late, but not each time
				h.Reset()
				done := make(chan error, 1)
				go func() { done <- run(e, c, &h) }()
				time.Sleep(time.Duration(try) * 100 * time.Millisecond) // into the phase
				start := time.Now()
				h.Cancel(why)
				f = failure(t, <-done)
				if took := time.Since(start); took <= 50*time.Millisecond && f.Phase == phase {
					break
				} else if try == 5 {
					t.Fatalf("took %v and ended in phase %v, five times", took, f.Phase)
				}
			}
			if f.Phase != phase || !f.Canceled || f.Timeout || !errors.Is(f, why) {
				t.Errorf("got %+v", f)
			}
			if want := phase >= PhaseWrite; f.Reached != want {
				t.Errorf("reached %v", f.Reached)
			}
			if err := run(e, c, &h); !failure(t, err).Canceled {
				t.Errorf("a cancelled handle was used: %v", err)
			}
		})
	}
}

func TestDeadlineOfEveryPhase(t *testing.T) {
	const d = 600 * time.Millisecond // enough for a busy machine to come to each phase
	limits := map[Phase]Timeouts{
		PhaseDial: {Connect: d}, PhaseTLS: {TLS: d}, PhaseWrite: {FirstByte: d},
		PhaseFirstByte: {FirstByte: d}, PhaseHeader: {Idle: d}, PhaseBody: {Idle: d},
	}
	for phase, stage := range stages(t) {
		for kind, limit := range map[string]Timeouts{"own": limits[phase], "total": {Total: d}} {
			t.Run(phase.String()+" "+kind, func(t *testing.T) {
				t.Parallel()
				e, c := stage()
				limited := *c
				limited.Timeouts = limit
				start := time.Now()
				f := failure(t, run(e, &limited, nil))
				if took := time.Since(start); took < d-60*time.Millisecond || took > d+3*time.Second {
					t.Errorf("took %v, want about %v", took, d)
				}
				if f.Phase != phase || !f.Timeout || f.Canceled {
					t.Errorf("got %+v", f)
				}
			})
		}
	}
}

// A drip is alive for the idle timeout and dead for the total one.
func TestDrip(t *testing.T) {
	s := serve(t, nil, func(_ int, c net.Conn) {
		_, _, _ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(40 * time.Millisecond)
		}
	})
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	c := post("{}")
	c.Timeouts = Timeouts{Idle: 200 * time.Millisecond, Total: 700 * time.Millisecond}
	start := time.Now()
	f := failure(t, run(e, c, nil))
	if took := time.Since(start); !f.Timeout || took < 600*time.Millisecond {
		t.Errorf("%v after %v", f, took)
	}
}

// A caller that takes its time between reads does not use up the idle timeout.
func TestSlowReader(t *testing.T) {
	s := serve(t, nil, always(okAnswer))
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	c := post("{}")
	c.Timeouts = Timeouts{Idle: 50 * time.Millisecond}
	r, err := e.Do(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if b, err := r.ReadAll(nil, 100, nil); string(b) != "hello" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	r.Close()
}

func TestRefusedAndReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	p := pools(t, Settings{})
	f := failure(t, run(endpoint(t, p, url, Options{}), post("{}"), nil))
	if f.Phase != PhaseDial || f.Reached || f.Attempts != 0 || !errors.Is(f, syscall.ECONNREFUSED) {
		t.Errorf("refused: %+v", f)
	}
	s := serve(t, nil, func(_ int, c net.Conn) {
		_, _, _ = readRequest(bufio.NewReader(c))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	f = failure(t, run(endpoint(t, p, s.url(), Options{}), post("{}"), nil))
	if f.Phase != PhaseFirstByte || !f.Reached || f.Attempts != 1 || !errors.Is(f, syscall.ECONNRESET) || s.accepted() != 1 {
		t.Errorf("reset: %+v over %d connections", f, s.accepted())
	}
}

// Close cancels what is live, and nothing starts after it.
func TestPoolsClose(t *testing.T) {
	s := serve(t, nil, hang)
	p := NewPools(Settings{})
	e := endpoint(t, p, s.url(), Options{})
	done := make(chan error, 1)
	go func() { done <- run(e, post("{}"), nil) }()
	until(t, "the call is there", func() bool { return s.accepted() == 1 })
	p.Close()
	p.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("live call: %v", err)
	}
	if err := run(e, post("{}"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("later call: %v", err)
	}
}

// The sweeper sleeps when nothing is live or idle, and wakes for the next call.
func TestSweeperSleeps(t *testing.T) {
	s := serve(t, nil, func(i int, c net.Conn) {
		if i == 0 {
			once(okAnswer)(i, c)
			return
		}
		hang(i, c)
	})
	p := pools(t, Settings{IdleTimeout: 100 * time.Millisecond})
	e := endpoint(t, p, s.url(), Options{})
	if err := run(e, post("{}"), nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the sweeper sleeps", func() bool { return !p.sweeper.awake.Load() })
	until(t, "the idle connection has ended", func() bool { return e.pool.idling() == 0 })
	c := post("{}")
	c.Timeouts = Timeouts{FirstByte: 100 * time.Millisecond}
	if f := failure(t, run(e, c, nil)); !f.Timeout {
		t.Errorf("got %v", f)
	}
}

func TestCancelGivesTheDefaultCause(t *testing.T) {
	var h Handle
	h.Cancel(nil)
	e := endpoint(t, pools(t, Settings{}), "http://127.0.0.1:1", Options{})
	if err := run(e, post("{}"), &h); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
