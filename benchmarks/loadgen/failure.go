package loadgen

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Kind classes a failure by what the client saw.
type Kind string

// The closed list of kinds.
const (
	KindRefused     Kind = "connect_refused"
	KindConnReset   Kind = "connect_reset"
	KindConnTimeout Kind = "connect_timeout"
	KindConnect     Kind = "connect_other"
	KindTLS         Kind = "tls"
	KindWrite       Kind = "write"             // the request could not be sent whole, and no answer came
	KindEOF         Kind = "eof_before_answer" // an orderly close instead of an answer
	KindResetBefore Kind = "reset_before_byte" // a reset instead of an answer
	KindResetAfter  Kind = "reset_after_byte"  // a reset inside an answer that is not streamed
	KindCutAnswer   Kind = "cut_answer"        // a close inside an answer that is not streamed
	KindCutStream   Kind = "cut_stream"        // a close or reset inside a stream
	KindNoDone      Kind = "missing_done"      // the stream ended well, without data: [DONE]
	KindErrorEvent  Kind = "error_event"       // the stream told of an error
	KindStatus      Kind = "status"            // not 200
	KindMismatch    Kind = "body_mismatch"     // not the bytes that were expected
	KindTimeout     Kind = "timeout"           // the request's time was over
	KindProtocol    Kind = "protocol"          // not HTTP/1.1
	KindOverrun     Kind = "overrun"           // the generator's own bound of open requests
)

// Failure is one request that was not answered as it should have been.
type Failure struct {
	Class     string        `json:"class"`
	ID        string        `json:"id"`
	Kind      Kind          `json:"kind"`
	Status    int           `json:"status,omitempty"`
	Detail    string        `json:"detail,omitempty"`
	Due       time.Time     `json:"due"`     // when it should have been sent
	SentAt    time.Time     `json:"sent_at"` // when its first byte was handed to the kernel; zero: never
	At        time.Time     `json:"at"`      // when the failure was seen
	LocalPort int           `json:"local_port"`
	Opened    time.Time     `json:"opened"`    // when the connection was established
	ConnAge   time.Duration `json:"conn_age"`  // at SentAt
	Idle      time.Duration `json:"idle"`      // of the connection before SentAt
	Requests  int           `json:"requests"`  // answered on the connection before
	Sent      bool          `json:"sent"`      // the whole request was handed to the kernel
	Bytes     int64         `json:"bytes"`     // of the answer that came, header included
	FirstByte time.Time     `json:"firstbyte"` // zero: none came
}

// IdleClose is a connection that the server closed while no request was on it.
type IdleClose struct {
	Class     string        `json:"class"`
	At        time.Time     `json:"at"`
	Idle      time.Duration `json:"idle"` // since its last answer, or since it was opened
	Age       time.Duration `json:"age"`
	LocalPort int           `json:"local_port"`
}

// fault is a failure before it is known whose.
type fault struct {
	kind   Kind
	status int
	detail string
}

func ofDial(err error) *fault {
	f := &fault{kind: KindConnect, detail: err.Error()}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.kind = KindRefused
	case errors.Is(err, syscall.ECONNRESET):
		f.kind = KindConnReset
	case timeout(err):
		f.kind = KindConnTimeout
	}
	return f
}

// ofRead classes the end of a connection while an answer was due.
func ofRead(err error, began, stream bool) *fault {
	f := &fault{detail: err.Error()}
	eof := errors.Is(err, io.EOF)
	switch {
	case timeout(err):
		f.kind = KindTimeout
	case !began && eof:
		f.kind = KindEOF
	case !began:
		f.kind = KindResetBefore
	case stream:
		f.kind = KindCutStream
	case eof:
		f.kind = KindCutAnswer
	default:
		f.kind = KindResetAfter
	}
	return f
}

func timeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
