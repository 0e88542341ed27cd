package upstream

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// Phase is the part of a call that was under way when it failed.
type Phase uint8

// The phases of a call, in their order.
const (
	PhaseDial      Phase = iota + 1 // look-up, connect, the proxy's consent
	PhaseTLS                        // the handshake
	PhaseWrite                      // the request is being sent
	PhaseFirstByte                  // the request is sent, nothing has come back
	PhaseHeader                     // the answer's header is being read
	PhaseBody                       // the answer's body is being read
)

var phaseNames = [...]string{"none", "dial", "tls", "write", "firstbyte", "header", "body"}

// String is the phase's name for logs and metrics.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "unknown"
}

// Causes that callers tell apart with errors.Is.
var (
	// ErrProtocol: the answer breaks HTTP/1.1 (RFC 9110, RFC 9112) or its
	// framing is ambiguous. The connection is never used again.
	ErrProtocol = errors.New("protocol violation")
	// ErrTooLarge: the answer is larger than the caller's or our own bound.
	ErrTooLarge = errors.New("answer too large")
	// ErrNoRoom: the caller has no memory left for the answer.
	ErrNoRoom = errors.New("no memory left for the answer")
	// ErrClosed: the pools were closed.
	ErrClosed = errors.New("upstream pools are closed")
)

// Error is the one type of error of a call. It names neither credential nor
// content, but it may hold an address: it is for logs, not for clients.
type Error struct {
	Phase    Phase
	Timeout  bool // a deadline of the call, or one of the system's, passed
	Canceled bool // Handle.Cancel ended it; Err is then what Cancel was given
	Reached  bool // the request may have reached the provider
	Attempts int  // connections that the request was written to: 0, 1 or 2
	Err      error
}

// Error names the phase, and what went wrong in it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("upstream ")
	b.WriteString(e.Phase.String())
	if e.Canceled {
		b.WriteString(" canceled")
	} else if e.Timeout {
		b.WriteString(" timeout")
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// broken reports whether err is what a connection gives that its peer has
// closed or reset.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, net.ErrClosed)
}

// timedOut reports whether err says of itself that it is a timeout.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
