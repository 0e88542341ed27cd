package server

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// TestConnectionsAreShared opens keep-alive connections on four slots that
// share one table and one port, as four workers do.
func TestConnectionsAreShared(t *testing.T) {
	const slots = 4
	for _, count := range []int{16, 32} {
		table := newTable(t, slots)
		var fds, bells []int
		var address string
		for i := range slots {
			if address == "" {
				address = "127.0.0.1:0"
			}
			fd, err := Bind("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			address = addressOf(t, fd)
			fds = append(fds, fd)
			bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			bells = append(bells, bell)
			area, err := table.Claim(i, i+1)
			if err != nil {
				t.Fatal(err)
			}
			table.Slot(i).Generation.Store(uint32(i + 1))
			table.Generation(area).State.Store(uint32(fleet.StateReady))
		}
		var servers []*Server
		for i := range slots {
			s, err := New(Config{Table: table, Area: table.Find(i + 1), Slot: i}, newFake())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			for j := range slots {
				fd, _ := unix.Dup(fds[j])
				if err := s.Listen(fleet.Listener{Name: "main", Slot: j, Network: "tcp"}, fd); err != nil {
					t.Fatal(err)
				}
				if err := s.Doorbell(j, bells[j]); err != nil {
					t.Fatal(err)
				}
			}
			s.Adopt(nil)
			servers = append(servers, s)
		}
		var conns []net.Conn
		for range count {
			nc, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, nc)
		}
		deadline := time.Now().Add(3 * time.Second)
		total, busiest := int64(0), int64(0)
		for total != int64(count) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
			total, busiest = 0, 0
			for _, s := range servers {
				total += s.Open()
				busiest = max(busiest, s.Open())
			}
		}
		t.Logf("%d connections on %d slots: busiest %d", count, slots, busiest)
		if total != int64(count) || busiest > int64(count/slots+2) {
			t.Errorf("%d of %d accepted, busiest %d, want at most %d", total, count, busiest, count/slots+2)
		}
		for _, nc := range conns {
			_ = nc.Close()
		}
	}
}
