package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bindError says for a taken port which one it is and who may hold it.
func bindError(addr netip.Addr, port uint16, err error) error {
	at := netip.AddrPortFrom(addr, port)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("port %d is taken (%s): %s", port, at, holderOf(port))
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("bind %s: %w (ports below %d need CAP_NET_BIND_SERVICE)", at, err, 1024)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("bind %s: this machine does not have the address", at)
	}
	return fmt.Errorf("bind %s: %w", at, err)
}

// holderOf says who listens on a port, as far as we may see.
func holderOf(port uint16) string {
	who, listens := holders(port)
	switch {
	case len(who) > 0:
		return "held by " + strings.Join(who, ", ")
	case listens:
		return "held by a process of another user or container"
	default:
		return "nobody listens on it now; a process may have bound it without listening"
	}
}

// holders names the processes that listen on a port. listens without names means
// that somebody does whom we may not see, or who is about to be gone.
func holders(port uint16) (who []string, listens bool) {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listening(table, port, inodes)
	}
	if len(inodes) == 0 {
		return nil, false
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[string]bool{}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		who = append(who, fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name))))
	}
	return who, true
}

// listening collects the socket names of the listeners on port.
func listening(table string, port uint16, into map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	const stateListen = "0A"
	want := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !strings.HasSuffix(fields[1], want) || fields[3] != stateListen {
			continue
		}
		if _, err := strconv.ParseUint(fields[9], 10, 64); err == nil {
			into["socket:["+fields[9]+"]"] = true
		}
	}
}
