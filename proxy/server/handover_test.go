package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// client sends chat requests until stop and counts what was not answered.
// Every other one opens a new connection for each request.
func client(addr string, fresh bool, stop *atomic.Bool, sent *atomic.Int64) error {
	var nc net.Conn
	var r *bufio.Reader
	for !stop.Load() {
		if nc == nil {
			var err error
			if nc, err = net.Dial("tcp", addr); err != nil {
				return fmt.Errorf("connect: %w", err)
			}
			r = bufio.NewReader(nc)
		}
		if _, err := io.WriteString(nc, chat("mock", "")); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			return fmt.Errorf("status %s: %w", resp.Status, err)
		}
		sent.Add(1)
		if resp.Close || fresh {
			_ = nc.Close()
			nc = nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// TestHandOver replaces the worker of a slot again and again under load: the
// successor accepts before the predecessor becomes lame, and nothing is lost.
func TestHandOver(t *testing.T) {
	table := newTable(t, 1)
	fd, err := Bind("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	addr := addressOf(t, fd)
	next := func(generation int) *Server {
		area, err := table.Claim(0, generation)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{Table: table, Area: area, KeepAlive: 2 * time.Second}, newFake())
		if err != nil {
			t.Fatal(err)
		}
		d, _ := unix.Dup(fd)
		if err := s.Listen(fleet.Listener{Name: "main", Network: "tcp"}, d); err != nil {
			t.Fatal(err)
		}
		s.Adopt(nil)
		return s
	}
	current := next(1)
	var stop atomic.Bool
	var sent atomic.Int64
	var clients, olds sync.WaitGroup
	for i := range 12 {
		clients.Go(func() {
			if err := client(addr, i%2 == 1, &stop, &sent); err != nil {
				t.Error(err)
			}
		})
	}
	for generation := 2; generation <= 20; generation++ {
		time.Sleep(30 * time.Millisecond)
		old := current
		current = next(generation)
		old.Lame(0)
		olds.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := old.Wait(ctx); err != nil {
				t.Errorf("%v: %d connections left", err, old.Open())
			}
			old.Close()
		})
	}
	olds.Wait()
	stop.Store(true)
	clients.Wait()
	current.Close()
	t.Logf("%d requests over 19 replacements", sent.Load())
}

// flood is a stream that never ends.
type flood struct{}

func (flood) Read(p []byte) (int, error) {
	return copy(p, "data: "+strings.Repeat("x", 4000)+"\n\n"), nil
}
func (flood) Close() error { return nil }

type floodGateway struct{ *fakeGateway }

func (floodGateway) Do(*gateway.Exchange) (*gateway.Answer, *llm.Error) {
	return &gateway.Answer{Status: 200, ContentType: "text/event-stream", Stream: flood{}}, nil
}

func TestStalledReaderIsCut(t *testing.T) {
	b := start(t, nil)
	b.stall = 400 * time.Millisecond
	b.Swap(floodGateway{b.g}, Rules{})
	nc, _ := b.dial(t)
	_, _ = io.WriteString(nc, chat("mock", ""))
	deadline := time.Now().Add(8 * time.Second)
	for seen := false; ; time.Sleep(20 * time.Millisecond) {
		n := b.own.Streams.Load()
		seen = seen || n == 1
		if seen && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams still open", n)
		}
	}
}
