package fleet

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is both ends of a control socket.
func pair(t testing.TB) (child, supervisor *Conn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // short: a unix socket lives in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if child, err = Dial(path); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	supervisor = NewConn(c)
	t.Cleanup(func() { _ = child.Close(); _ = supervisor.Close() })
	return child, supervisor
}

// openFiles counts the descriptors of this process.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestMessagesArriveAsSent(t *testing.T) {
	child, supervisor := pair(t)
	for _, m := range []Message{
		{Kind: KindHello, Role: "proxy", PID: 4711, Slot: 3, Generation: 12, Version: "1.2.3", State: "ready", Orphan: true, Area: 7},
		{Kind: KindHeld, Held: KindListener, Listener: &Listener{
			Name: "main", Slot: -1, Network: "tcp", Address: "[::]:4000",
			TLS: true, ProxyProtocol: true, Lent: true, Trusted: []string{"10.0.0.0/8", "fd00::/8"},
		}},
		{Kind: KindAdopt, Slots: []int{0, 255}},
		{Kind: KindLame, Window: 1 << 60, Quiet: 2_000_000_000},
		{Kind: KindRefused, Reason: "Umlaute äöü, \"quotes\" and\nlines\x00"},
		{Kind: KindApplied, Config: 1<<64 - 1},
		{},
	} {
		if err := child.Send(m, -1); err != nil {
			t.Fatal(err)
		}
		got, fd, err := supervisor.Receive()
		if err != nil || fd != -1 || !reflect.DeepEqual(got, m) {
			t.Errorf("sent %+v, received %+v, %d, %v", m, got, fd, err)
		}
	}
	if pid, err := supervisor.PeerPID(); err != nil || pid != os.Getpid() {
		t.Errorf("peer is %d, %v, want %d", pid, err, os.Getpid())
	}
}

func TestDescriptorsPass(t *testing.T) {
	child, supervisor := pair(t)
	before := openFiles(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if err := supervisor.Send(Message{Kind: KindListener}, int(fd)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	m, fd, err := child.Receive()
	if err != nil || m.Kind != KindListener || fd < 0 {
		t.Fatalf("received %v, %d, %v", m, fd, err)
	}
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	status, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if flags&unix.FD_CLOEXEC == 0 || status&unix.O_NONBLOCK == 0 || listens == 0 {
		t.Errorf("received descriptor: flags %x, status %x, listens %d", flags, status, listens)
	}
	_ = syscall.Close(fd)
	if err := child.Send(Message{Kind: KindHeld}, 1<<20); err == nil {
		t.Error("a descriptor that is not open was sent")
	}
	_ = l.Close()
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// What does not belong on the control socket ends the connection and leaves no
// descriptor behind.
func TestStrangePackets(t *testing.T) {
	before := openFiles(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(null.Fd())
	many := make([]int, 20)
	for i := range many {
		many[i] = fd
	}
	for _, c := range []struct {
		name   string
		packet []byte
		rights []byte
		fails  bool
		fd     bool
	}{
		{"garbage", []byte("\xff\xfe{"), nil, true, false},
		{"garbage with a descriptor", []byte("{"), syscall.UnixRights(fd), true, false},
		{"wrong types", []byte(`{"kind":7}`), nil, true, false},
		{"too large a number", []byte(`{"slot":1e99}`), syscall.UnixRights(fd), true, false},
		{"deep", []byte(strings.Repeat("[", 20_000)), nil, true, false},
		{"too long", []byte(`{"kind":"` + strings.Repeat("x", maxMessage) + `"}`), syscall.UnixRights(fd), true, false},
		{"two descriptors", []byte(`{"kind":"held"}`), syscall.UnixRights(fd, fd), false, true},
		{"more descriptors than there is room for", []byte(`{"kind":"held"}`), append(syscall.UnixRights(many...), syscall.UnixRights(many...)...), true, false},
		{"unknown kind and fields", []byte(`{"kind":"later","what":[1,{}]}`), nil, false, false},
	} {
		child, supervisor := pair(t)
		if _, _, err := child.c.WriteMsgUnix(c.packet, c.rights, nil); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		_, got, err := supervisor.Receive()
		if (err != nil) != c.fails || (got >= 0) != c.fd {
			t.Errorf("%s: descriptor %d, %v", c.name, got, err)
		}
		if got >= 0 {
			_ = syscall.Close(got)
		}
		_ = child.Close()
		if _, _, err := supervisor.Receive(); err == nil {
			t.Errorf("%s: no end after the peer has closed", c.name)
		}
		_ = supervisor.Close()
	}
	_ = null.Close()
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestTooLongToSend(t *testing.T) {
	child, supervisor := pair(t)
	slots := make([]int, 40_000)
	if err := child.Send(Message{Kind: KindAdopt, Slots: slots}, -1); err == nil || !strings.Contains(err.Error(), "adopt") {
		t.Errorf("a message of 80 KB: %v", err)
	}
	// A listing of what is wrong in a large file is cut, not lost.
	if err := child.Send(Message{Kind: KindRefused, Reason: strings.Repeat("ä", 100_000)}, -1); err != nil {
		t.Fatal(err)
	}
	m, _, err := supervisor.Receive()
	if err != nil || len(m.Reason) != maxReason || m.Reason != strings.Repeat("ä", maxReason/2) {
		t.Errorf("reason of %d bytes, %v", len(m.Reason), err)
	}
}

func TestPeerCloses(t *testing.T) {
	child, supervisor := pair(t)
	if err := child.Send(Message{Kind: KindReady}, -1); err != nil {
		t.Fatal(err)
	}
	_ = child.Close()
	if m, _, err := supervisor.Receive(); err != nil || m.Kind != KindReady {
		t.Errorf("what was sent before the end: %+v, %v", m, err)
	}
	if _, fd, err := supervisor.Receive(); !errors.Is(err, io.EOF) || fd != -1 {
		t.Errorf("after the end: %v", err)
	}
	if err := supervisor.Send(Message{Kind: KindReload}, -1); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("sent to nobody: %v", err)
	}
	waits, other := pair(t)
	ended := make(chan error, 1)
	go func() {
		_, _, err := waits.Receive()
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	_ = waits.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("received from a closed connection")
		}
	case <-time.After(5 * time.Second):
		t.Error("Receive does not end when its connection is closed")
	}
	_ = other.Close()
	if _, err := Dial(filepath.Join(t.TempDir(), "nobody")); err == nil {
		t.Error("connected to nobody")
	}
}

// Many senders at once: every message arrives whole.
func TestSendersDoNotMix(t *testing.T) {
	child, supervisor := pair(t)
	const senders, each = 8, 200
	var wg sync.WaitGroup
	for s := range senders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				if err := child.Send(Message{Kind: KindHeld, Slot: s, Area: i, Reason: strings.Repeat("x", i)}, -1); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	next := make([]int, senders)
	for range senders * each {
		m, _, err := supervisor.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m.Area != next[m.Slot] || len(m.Reason) != m.Area {
			t.Fatalf("sender %d: message %d of %d bytes, want %d", m.Slot, m.Area, len(m.Reason), next[m.Slot])
		}
		next[m.Slot]++
	}
	wg.Wait()
}

// FuzzReceive sends any packet: a message or an error comes out, never a
// descriptor that nobody sent.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"kind":"hello","role":"proxy","pid":1,"slot":0,"generation":1}`))
	f.Add([]byte(`{"kind":"held","held":"listener","listener":{"name":"main","slot":0,"network":"tcp","address":"x"}}`))
	f.Add([]byte(`{"slots":[1,2,3],"window":-1}`))
	f.Add([]byte("\x00"))
	f.Add([]byte(`{"config":18446744073709551616}`))
	child, supervisor := pair(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) == 0 || len(packet) > maxMessage+100 {
			return
		}
		if _, _, err := child.c.WriteMsgUnix(packet, nil, nil); err != nil {
			t.Fatal(err)
		}
		m, fd, err := supervisor.Receive()
		if fd != -1 {
			t.Errorf("descriptor %d out of nothing", fd)
		}
		if errors.Is(err, io.EOF) {
			t.Error("a packet was taken for the end")
		}
		if err == nil && len(packet) > maxMessage {
			t.Errorf("a packet of %d bytes was taken", len(packet))
		}
		if err == nil {
			if err := child.Send(m, -1); err != nil && len(packet) < maxMessage/8 {
				t.Errorf("what was received cannot be sent: %v", err)
			} else if err == nil {
				if _, _, err := supervisor.Receive(); err != nil {
					t.Errorf("what was sent cannot be received: %v", err)
				}
			}
		}
	})
}
