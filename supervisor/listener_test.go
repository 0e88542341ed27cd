package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/env"
)

func TestParseEndpoints(t *testing.T) {
	for _, c := range []struct {
		text, wrong string
		want        []endpoint
	}{
		{text: ""},
		{text: "lan=tcp://10.0.0.1:4100?tls=1", want: []endpoint{{name: "lan", network: "tcp", address: "10.0.0.1:4100", mode: 0o660, tls: true}}},
		{text: "a=unix:///run/a.sock?mode=0600,b=tcp://[::1]:1?proxy=1&trusted=10.0.0.0/8,192.168.0.1", want: []endpoint{
			{name: "a", network: "unix", address: "/run/a.sock", mode: 0o600},
			{name: "b", network: "tcp", address: "[::1]:1", mode: 0o660, proxy: true, trusted: []string{"10.0.0.0/8", "192.168.0.1"}},
		}},
		{text: "main=tcp://1.2.3.4:1", wrong: "taken"},
		{text: "a=tcp://1.2.3.4:1,a=tcp://1.2.3.4:2", wrong: "taken"},
		{text: "a=udp://1.2.3.4:1", wrong: "allowed are tcp and unix"},
		{text: "a=tcp://name:1", wrong: "IP address"},
		{text: "a=tcp://1.2.3.4:1?mood=1", wrong: "allowed are tls"},
		{text: "a=tcp://1.2.3.4:1?trusted=abc", wrong: "10.0.0.0/8"},
		{text: "a=unix://", wrong: "path"},
	} {
		got, err := parseEndpoints(c.text)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q: error %v, want one with %q", c.text, err, c.wrong)
			}
			continue
		}
		same := slices.EqualFunc(got, c.want, func(x, y endpoint) bool {
			return x.name == y.name && x.network == y.network && x.address == y.address && x.mode == y.mode &&
				x.tls == y.tls && x.proxy == y.proxy && slices.Equal(x.trusted, y.trusted)
		})
		if err != nil || !same {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
}

func FuzzParseEndpoints(f *testing.F) {
	f.Add("a=unix:///run/a.sock?mode=0600,b=tcp://[::1]:1?trusted=10.0.0.0/8,192.168.0.1")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseEndpoints(text)
		for _, e := range list {
			if err == nil && (e.name == "" || e.address == "") {
				t.Errorf("%q gives %+v", text, e)
			}
		}
	})
}

func TestWorkersMeans(t *testing.T) {
	for text, want := range map[string]int{"": 4, "0": 4, "auto": 4, "$(nproc)": 4, `"$(nproc)"`: 4, "1": 1, "17": 17, "-1": 0, "two": 0, "257": 0} {
		got, _, err := workers(env.Parse([]byte("NUM_WORKERS="+text)), 4)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	if got, _, _ := workers(env.Parse([]byte("GUNICORN_CMD_ARGS=--timeout 3 --workers=3")), 4); got != 3 {
		t.Errorf("from GUNICORN_CMD_ARGS: %d, want 3", got)
	}
}

func TestBindKeepsQueueAndOptions(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		e := endpoint{name: mainName, network: "tcp", address: address}
		sockets, err := e.bind([]int{0, 1, 2}, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sockets {
			flags, _ := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
			own, _ := unix.FcntlInt(uintptr(s.fd), unix.F_GETFD, 0)
			if flags&unix.O_NONBLOCK == 0 || own&unix.FD_CLOEXEC == 0 {
				t.Error("not non-blocking and close-on-exec")
			}
			info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			limit := int(readNumber("/proc/sys/net/core/somaxconn"))
			if err != nil || int(info.Sacked) != min(backlog, limit) {
				t.Errorf("backlog %d, want %d", info.Sacked, min(backlog, limit))
			}
			if s.Address != sockets[0].Address && !strings.HasSuffix(s.Address, sockets[0].Address[strings.LastIndexByte(sockets[0].Address, ':'):]) {
				t.Errorf("slots at %s and %s", s.Address, sockets[0].Address)
			}
		}
		_, port, _ := splitAddress(e.address)
		if address == "[::]:0" {
			c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
			if err != nil {
				t.Fatalf(":: is not dual stack: %v", err)
			}
			defer func() { _ = c.Close() }()
			deadline := time.Now().Add(2 * time.Second)
			for waiting(sockets[0].fd)+waiting(sockets[1].fd)+waiting(sockets[2].fd) != 1 {
				if time.Now().After(deadline) {
					t.Fatal("the queue does not show the connection")
				}
				time.Sleep(time.Millisecond)
			}
		}
		again := endpoint{name: mainName, network: "tcp", address: e.address}
		_, err = again.bind([]int{0}, true)
		if err == nil || !strings.Contains(err.Error(), strconv.Itoa(int(port))) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
			t.Errorf("taken port: %v; want the port and our process named", err)
		}
		for _, s := range sockets {
			_ = syscall.Close(s.fd)
		}
	}
}

func TestBindUnixListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	e := endpoint{name: "local", network: "unix", address: path, mode: 0o600}
	sockets, err := e.bind([]int{0, 1}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(sockets[0].fd) }()
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || sockets[0].fd != sockets[1].fd {
		t.Errorf("mode %v, %v, descriptors %d %d", st.Mode(), err, sockets[0].fd, sockets[1].fd)
	}
}

func TestSplitAddress(t *testing.T) {
	for text, want := range map[string]string{
		":1": "0.0.0.0:1", "*:1": "0.0.0.0:1", ":::4000": "[::]:4000", "[::]:4000": "[::]:4000", "localhost:2": "127.0.0.1:2",
		"1.2.3.4:70000": "", "nohost": "", "a.b:1": "",
	} {
		addr, port, err := splitAddress(text)
		got := ""
		if err == nil {
			got = netip.AddrPortFrom(addr, port).String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
