package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
)

// Kind says what a control message is about.
type Kind string

// Messages of a child to the supervisor.
const (
	KindHello   Kind = "hello"   // first message: Role, PID, Slot, Generation, Version, State; an orphan also hands back
	KindHeld    Kind = "held"    // an orphan hands back one descriptor: Held
	KindHeldEnd Kind = "heldend" // all are handed back
	KindReady   Kind = "ready"   // serves, and has answered a request of its own
	KindRecycle Kind = "recycle" // asks for a successor: Reason
	KindApplied Kind = "applied" // reload applied: Config
	KindRefused Kind = "refused" // reload refused: Reason
)

// Messages of the supervisor to a child.
const (
	KindTable    Kind = "table"    // one descriptor: the host table; Area is the child's
	KindDoorbell Kind = "doorbell" // one descriptor: the eventfd of Slot
	KindListener Kind = "listener" // one descriptor: Listener
	KindEnviron  Kind = "environ"  // one descriptor: a memory file with the environment, NUL-separated
	KindBegin    Kind = "begin"    // all descriptors are there: start serving
	KindAdopt    Kind = "adopt"    // accept on exactly the own slot and Slots from now on
	KindLame     Kind = "lame"     // accept nothing more, finish; Window in ns, 0 for no end; Quiet
	KindCut      Kind = "cut"      // end what is left within Window ns, with an error event
	KindReload   Kind = "reload"   // read the configuration again
	KindStatus   Kind = "status"   // to role status: one descriptor, a memory file with the Status as JSON
)

// Listener describes one listening socket of one slot.
type Listener struct {
	Name    string `json:"name"`    // "main", or the name it was configured with
	Slot    int    `json:"slot"`    // -1 for healthd's
	Network string `json:"network"` // tcp, unix
	Address string `json:"address"` // host:port, or a path
	// TLS and ProxyProtocol are read by the worker.
	TLS           bool     `json:"tls,omitempty"`
	ProxyProtocol bool     `json:"proxy_protocol,omitempty"`
	Lent          bool     `json:"lent,omitempty"`    // systemd bound it, and keeps it when the appliance has ended
	Trusted       []string `json:"trusted,omitempty"` // networks whose X-Forwarded-For and PROXY header count
}

// Message is one packet of the control socket.
type Message struct {
	Kind       Kind      `json:"kind"`
	Role       string    `json:"role,omitempty"` // proxy, healthd, status
	PID        int       `json:"pid,omitempty"`
	Slot       int       `json:"slot,omitempty"`
	Generation int       `json:"generation,omitempty"`
	Version    string    `json:"version,omitempty"`
	State      string    `json:"state,omitempty"`
	Orphan     bool      `json:"orphan,omitempty"`
	Area       int       `json:"area,omitempty"`
	Held       Kind      `json:"held,omitempty"` // table, doorbell or listener
	Listener   *Listener `json:"listener,omitempty"`
	Slots      []int     `json:"slots,omitempty"`
	Window     int64     `json:"window,omitempty"`
	Quiet      int64     `json:"quiet,omitempty"` // ns after which an idle connection ends; 0: its keep-alive time
	Reason     string    `json:"reason,omitempty"`
	Config     uint64    `json:"config,omitempty"`
}

// Bounds of one packet.
const (
	maxMessage = 64 << 10
	maxReason  = 16 << 10 // of a Reason; Send cuts what is longer
	maxRights  = 128      // bytes of control data that are taken
)

// packets are buffers of Receive. One is taken when a packet is there, not
// while one is waited for.
var packets = sync.Pool{New: func() any { return new([maxMessage]byte) }}

// Conn is one end of the control socket. Send may be called by several
// goroutines at once, Receive by one.
type Conn struct {
	c  *net.UnixConn
	mu sync.Mutex // guards writes
}

// NewConn wraps a connected SOCK_SEQPACKET socket.
func NewConn(c *net.UnixConn) *Conn { return &Conn{c: c} }

// Dial connects to the supervisor's control socket.
func Dial(path string) (*Conn, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return NewConn(c), nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.c.Close() }

// PeerPID is the process at the other end, as the kernel says.
func (c *Conn) PeerPID() (int, error) {
	raw, err := c.c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Pid), nil
}

// Send writes one message with at most one descriptor; fd < 0 sends none. The
// descriptor is duplicated by the kernel and stays the caller's.
func (c *Conn) Send(m Message, fd int) error {
	if len(m.Reason) > maxReason {
		m.Reason = strings.ToValidUTF8(m.Reason[:maxReason], "")
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	if len(b) > maxMessage {
		return fmt.Errorf("send %s: %d bytes, at most %d fit", m.Kind, len(b), maxMessage)
	}
	var rights []byte
	if fd >= 0 {
		rights = syscall.UnixRights(fd)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, _, err := c.c.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	return nil
}

// Receive reads one message; fd is -1 when none came with it. A received
// descriptor is close-on-exec and the caller's. At the end it returns io.EOF.
// After any other error the connection is of no use any more.
func (c *Conn) Receive() (m Message, fd int, err error) {
	raw, err := c.c.SyscallConn()
	if err != nil {
		return m, -1, err
	}
	var failed error
	if err := raw.Read(func(s uintptr) bool {
		m, fd, failed = receive(int(s))
		return !errors.Is(failed, syscall.EAGAIN)
	}); err != nil {
		return m, -1, err
	}
	return m, fd, failed
}

// receive takes one packet off a socket, without waiting.
func receive(s int) (m Message, fd int, err error) {
	buf := packets.Get().(*[maxMessage]byte)
	defer packets.Put(buf)
	var oob [maxRights]byte
	n, oobn, flags, err := recvmsg(s, buf[:], oob[:])
	if err != nil {
		return m, -1, err
	}
	fd = oneRight(oob[:oobn])
	switch {
	case n == 0:
		err = io.EOF
	case flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0:
		err = errors.New("control message is too long")
	default:
		if err = json.Unmarshal(buf[:n], &m); err != nil {
			err = fmt.Errorf("control message: %w", err)
		}
	}
	if err != nil && fd >= 0 {
		_ = syscall.Close(fd)
		fd = -1
	}
	return m, fd, err
}

func recvmsg(s int, buf, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = syscall.Recvmsg(s, buf, oob, syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, syscall.EINTR) {
			return n, oobn, flags, err
		}
	}
}

// oneRight is the first descriptor that came with a packet, -1 without one.
// Further ones are closed: no message of ours has two.
func oneRight(oob []byte) int {
	first := -1
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return first
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if first < 0 {
				first = fd
			} else {
				_ = syscall.Close(fd)
			}
		}
	}
	return first
}
