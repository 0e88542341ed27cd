package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is two ends of a stream; ours is watched through a Socket.
func pair(t testing.TB) (*Socket, *net.UnixConn, *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		u, ok := c.(*net.UnixConn)
		if !ok {
			t.Fatalf("%T is no unix socket", c)
		}
		t.Cleanup(func() { _ = u.Close() })
		ends[i] = u
	}
	s := new(Socket)
	if err := s.Init(ends[0]); err != nil {
		t.Fatal(err)
	}
	return s, ends[0], ends[1]
}

func TestReadWaits(t *testing.T) {
	s, _, peer := pair(t)
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, _ = peer.Write([]byte("hello"))
	}()
	b := make([]byte, 16)
	n, err := s.Read(b)
	if err != nil || string(b[:n]) != "hello" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

func TestReadEnds(t *testing.T) {
	s, own, peer := pair(t)
	b := make([]byte, 1)
	if n, err := s.Read(nil); n != 0 || err != nil {
		t.Errorf("an empty read gave %d, %v", n, err)
	}
	if err := own.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if err := own.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(b); err != io.EOF { //nolint:errorlint // the bare end is what readers compare with
		t.Errorf("at the end: %v", err)
	}
	_ = own.Close()
	if _, err := s.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLookWithoutWaiting(t *testing.T) {
	s, _, peer := pair(t)
	b := make([]byte, 4)
	if _, err := s.TryRead(b); !errors.Is(err, ErrWouldBlock) || !s.Silent() {
		t.Errorf("nothing there: %v, silent %v", err, s.Silent())
	}
	if _, err := peer.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if s.Silent() {
		t.Error("silent with two bytes there")
	}
	if n, err := s.TryRead(b); err != nil || string(b[:n]) != "ab" {
		t.Errorf("got %q, %v: looking must take nothing", b[:n], err)
	}
	_ = peer.Close()
	if s.Silent() {
		t.Error("silent at the end")
	}
}

// readLate reads n bytes of what by then had to wait.
func readLate(peer io.Reader, n int) <-chan []byte {
	done := make(chan []byte)
	go func() {
		time.Sleep(20 * time.Millisecond)
		got := make([]byte, n)
		_, _ = io.ReadFull(peer, got)
		done <- got
	}()
	return done
}

func TestWriteWaitsForRoom(t *testing.T) {
	s, _, peer := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB: more than the socket holds
	done := readLate(peer, len(sent))
	if n, err := s.Write(sent); n != len(sent) || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if !bytes.Equal(<-done, sent) {
		t.Error("other bytes arrived")
	}
}

func TestWriteFails(t *testing.T) {
	s, own, peer := pair(t)
	sent := make([]byte, 2<<20)
	if err := own.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := s.Write(sent)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(sent) {
		t.Errorf("past the deadline: %d, %v", n, err)
	}
	if err := own.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
	if _, err := s.Write(sent[:1]); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("to a peer that is gone: %v", err)
	}
}

func TestAsk(t *testing.T) {
	s, own, peer := pair(t)
	told := 0
	sent := func() { told++ }
	go func() {
		b := make([]byte, 8)
		n, _ := peer.Read(b)
		time.Sleep(20 * time.Millisecond)
		_, _ = peer.Write(bytes.ToUpper(b[:n]))
	}()
	if n, silent, err := s.Ask([]byte("ask"), sent); n != 3 || !silent || err != nil {
		t.Fatalf("asked %d, silent %v, %v", n, silent, err)
	}
	b := make([]byte, 8)
	if n, err := s.TryRead(b); err != nil || string(b[:n]) != "ASK" {
		t.Errorf("the answer is not there: %q, %v", b[:n], err)
	}

	if _, err := peer.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if n, silent, err := s.Ask([]byte("ask"), sent); n != 0 || silent || err != nil {
		t.Errorf("beside bytes that nobody read: asked %d, silent %v, %v", n, silent, err)
	}
	if n, err := s.TryRead(b); err != nil || string(b[:n]) != "late" {
		t.Errorf("got %q, %v: looking must take nothing", b[:n], err)
	}

	if err := own.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, silent, err := s.Ask([]byte("ask"), sent); n != 3 || !silent || err != nil {
		t.Errorf("without an answer: asked %d, silent %v, %v", n, silent, err)
	}
	if _, err := s.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if n, _, err := s.Ask([]byte("ask"), sent); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: asked %d, %v", n, err)
	}
	if err := own.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}

	_ = peer.Close()
	if n, silent, err := s.Ask([]byte("ask"), sent); n != 0 || silent || err != nil {
		t.Errorf("to a peer that is gone: asked %d, silent %v, %v", n, silent, err)
	}
	if told != 2 {
		t.Errorf("told %d times that all is out, which was so twice", told)
	}
}

func TestAskWaitsForRoom(t *testing.T) {
	s, _, peer := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB: more than the socket holds
	done := readLate(peer, len(sent))
	if n, silent, err := s.Ask(sent, func() { t.Error("sent at once") }); n != len(sent) || !silent || err != nil {
		t.Errorf("asked %d, silent %v, %v", n, silent, err)
	}
	if !bytes.Equal(<-done, sent) {
		t.Error("other bytes arrived")
	}
}
