package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// storeTable is the host table's name in systemd's descriptor store;
// listeners are l-NAME-SLOT.
const storeTable = "table"

// notifier speaks sd_notify(3). Without systemd it does nothing. Messages go
// by sendmsg on a raw socket, because a net.UnixConn that is dialled refuses
// to send descriptors to a datagram address.
type notifier struct {
	log      *slog.Logger
	fd       int // -1 without systemd
	to       unix.Sockaddr
	watchdog int64 // ns between two signs of life, 0 none wanted
	pinged   int64
	status   string
	ready    bool
	extended int64
	names    []string
	fds      []storedFD
}

// storedFD is one descriptor that systemd passed at the start.
type storedFD struct {
	name     string
	fd       int
	listener *fleet.Listener
}

func newNotifier(e *env.Environ, log *slog.Logger) *notifier {
	n := &notifier{log: log, fd: -1}
	if e.Get(envInherited) == "" {
		n.fds = passed(e, log)
	}
	if n.connect(e); n.fd < 0 {
		return n
	}
	if usec, err := strconv.ParseInt(e.Get("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		if pid := e.Get("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
			n.watchdog = usec * 1000 / 3
		}
	}
	return n
}

// connect opens the way to systemd, if there is one.
func (n *notifier) connect(e *env.Environ) {
	path := e.Get("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		n.log.Warn("socket to systemd", slog.String("error", err.Error()))
		return
	}
	// A leading @ is an abstract name; the package reads it so itself.
	n.fd, n.to = fd, &unix.SockaddrUnix{Name: path}
}

func (n *notifier) close() {
	if n.fd >= 0 {
		_ = unix.Close(n.fd)
		n.fd = -1
	}
}

// passed lists the descriptors of LISTEN_FDS, from 3 on (sd_listen_fds(3)).
func passed(e *env.Environ, log *slog.Logger) []storedFD {
	if e.Get("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil
	}
	count, err := strconv.Atoi(e.Get("LISTEN_FDS"))
	if err != nil || count <= 0 {
		return nil
	}
	names := strings.Split(e.Get("LISTEN_FDNAMES"), ":")
	var out []storedFD
	for i := range count {
		fd := 3 + i
		if err := setCloexec(fd, true); err != nil {
			continue
		}
		s := storedFD{fd: fd, name: mainName}
		if i < len(names) && names[i] != "" {
			s.name = names[i]
		}
		if s.name != storeTable {
			if s.listener, err = describeSocket(s.name, fd); err != nil {
				log.Warn("descriptor of systemd cannot be used", slog.String("name", s.name), slog.String("error", err.Error()))
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// describeSocket says which listener a passed descriptor is. Names of ours tell
// the slot; any other is a socket unit's and serves all slots.
func describeSocket(name string, fd int) (*fleet.Listener, error) {
	l := &fleet.Listener{Name: name, Slot: anySlot}
	if rest, ok := strings.CutPrefix(name, "l-"); ok {
		name, number := rest, ""
		if at := strings.LastIndexByte(rest, '-'); at > 0 {
			name, number = rest[:at], rest[at+1:]
		}
		if slot, err := strconv.Atoi(number); err == nil {
			l.Name, l.Slot = strings.TrimSuffix(name, "-"), slot // l-health--1 has two
		}
	} else if name == "connection" || name == "unknown" {
		l.Name = mainName
	}
	if l.Name == healthName {
		l.Slot = -1
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("look at socket: %w", err)
	}
	l.Network, l.Address = "tcp", ""
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		l.Address = addrPort(sa.Addr[:], sa.Port)
	case *unix.SockaddrInet6:
		l.Address = addrPort(sa.Addr[:], sa.Port)
	case *unix.SockaddrUnix:
		l.Network, l.Address = "unix", sa.Name
	}
	return l, nil
}

func (n *notifier) stored() []storedFD { return n.fds }

// send tells systemd, at most once for the same READY or STATUS.
func (n *notifier) send(state string) {
	if n.fd < 0 {
		return
	}
	if err := n.message(state, nil); err != nil {
		n.log.Debug("tell systemd", slog.String("error", err.Error()))
	}
}

// message sends one datagram. A manager that does not read costs at most a
// quarter of a second, and the message.
func (n *notifier) message(state string, rights []byte) error {
	const tries, pause = 25, 10 * time.Millisecond
	for try := 1; ; try++ {
		err := unix.Sendmsg(n.fd, []byte(state), rights, n.to, unix.MSG_NOSIGNAL)
		if try == tries || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
		time.Sleep(pause)
	}
}

// reloading announces a reload or an exec, with the time that systemd needs to
// match the READY=1 after it.
func (n *notifier) reloading(now int64) {
	n.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(now/1000, 10))
	n.status = ""
}

// keep puts a descriptor into systemd's store.
func (n *notifier) keep(name string, fd int) {
	if n.fd < 0 {
		return
	}
	n.names = append(n.names, name)
	if err := n.message("FDSTORE=1\nFDNAME="+name, unix.UnixRights(fd)); err != nil {
		n.log.Debug("store descriptor", slog.String("name", name), slog.String("error", err.Error()))
	}
}

// forget empties the store, at the end of a whole stop.
func (n *notifier) forget() {
	for _, name := range n.names {
		n.send("FDSTOREREMOVE=1\nFDNAME=" + name)
	}
	n.names = nil
}

// store gives the host table and the listeners into systemd's keeping, anew at
// each start: those that came from there are removed first.
func (a *appliance) store() {
	for _, s := range a.notify.fds {
		a.notify.send("FDSTOREREMOVE=1\nFDNAME=" + s.name)
	}
	a.notify.keep(storeTable, a.tableFD)
	for _, s := range a.sockets {
		a.notify.keep("l-"+s.Name+"-"+strconv.Itoa(s.Slot), s.fd)
	}
}

// allSettled says that every slot is ready, or has failed and is adopted:
// waiting for the start to end would have systemd end what serves.
func (a *appliance) allSettled() bool {
	for _, s := range a.slots {
		if !s.failed && fleet.State(a.table.Slot(s.index).State.Load()) != fleet.StateReady {
			return false
		}
	}
	return true
}

// tellSystemd sends what has changed, and the sign of life: the loop turned and
// a worker has answered itself since the last one.
func (a *appliance) tellSystemd(now int64, state fleet.State, ready int) {
	n := a.notify
	if n.fd < 0 {
		return
	}
	inFlight := int64(0)
	newest := int64(0)
	for _, g := range a.gens {
		if g.area >= 0 {
			page := a.table.Generation(g.area)
			inFlight += page.InFlight.Load()
			newest = max(newest, page.Beat.Load())
		}
	}
	if !n.ready && ready > 0 && a.allSettled() {
		n.ready = true
		n.send("READY=1")
	}
	status := fmt.Sprintf("STATUS=%s, %d of %d slots ready", state, ready, len(a.slots))
	switch {
	case a.stop.phase != stopNone:
		status = fmt.Sprintf("STATUS=%s, %d requests in flight", state, inFlight)
	case a.migration.state == fleet.MigratorImports:
		h := a.table.Header()
		status = "STATUS=importing"
		if of := h.ImportOf.Load(); of > 0 {
			status = fmt.Sprintf("STATUS=importing, %d of about %d rows", h.ImportRows.Load(), of)
		}
	}
	if status != n.status {
		n.status = status
		n.send(status)
	}
	const extend = int64(10 * time.Second)
	slow := a.stop.phase != stopNone || !n.ready && a.migration.runs()
	if slow && (n.extended == 0 || now-n.extended > extend/2) {
		n.extended = now
		n.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(3*extend/1000, 10))
	}
	alive := newest > n.pinged || !a.everReady || a.stop.phase != stopNone
	if n.watchdog > 0 && now-n.pinged >= n.watchdog && alive {
		n.pinged = now
		n.send("WATCHDOG=1")
	}
}
