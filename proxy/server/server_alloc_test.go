//go:build !race

package server

import (
	"net"
	"testing"
)

// roundTrip sends one request and reads its answer without allocating.
func roundTrip(t testing.TB, nc net.Conn, send, buf []byte) {
	if _, err := nc.Write(send); err != nil {
		t.Fatal(err)
	}
	n := 0
	for n < 4 || string(buf[n-1:n]) != "}" {
		m, err := nc.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(buf[9:12]) != "200" {
		t.Fatalf("%s", buf[:n])
	}
}

func TestWholeAnswerAllocations(t *testing.T) {
	b := start(t, nil)
	nc, _ := b.dial(t)
	send, buf := []byte(chat("mock", "User-Agent: test\r\nAccept: */*\r\n")), make([]byte, 8192)
	for range 100 {
		roundTrip(t, nc, send, buf)
	}
	if n := testing.AllocsPerRun(2000, func() { roundTrip(t, nc, send, buf) }); n > 2 {
		t.Errorf("%v allocations a request, at most 2 are allowed", n)
	} else {
		t.Logf("%v allocations a request", n)
	}
}

func BenchmarkWholeAnswer(b *testing.B) {
	s := start(b, nil)
	nc, _ := s.dial(b)
	send, buf := []byte(chat("mock", "User-Agent: test\r\nAccept: */*\r\n")), make([]byte, 8192)
	b.ReportAllocs()
	for b.Loop() {
		roundTrip(b, nc, send, buf)
	}
}
