package loadgen

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// shot is one request and what came of it.
type shot struct {
	id   string
	due  time.Time
	sent time.Time // first byte handed to the kernel
	all  bool      // the whole request was

	opened time.Time
	idle   time.Duration

	events int
	bytes  int64
	last   time.Time
	gap    time.Duration // longest between two reads of a stream

	off   int    // of the expected body, as far as it was met
	wrong []byte // where the body began to differ
	tail  [16]byte
}

// shoot sends a request and reads its answer; false says that the connection
// is of no more use.
func (l *line) shoot(c *conn, s *shot) bool {
	c.got, c.first = 0, time.Time{}
	s.sent, s.opened, s.idle = time.Now(), c.opened, time.Since(c.used)
	body := len(l.front) + len(s.id) + len(l.back)
	c.out = append(c.out[:0], l.head...)
	c.out = strconv.AppendInt(c.out, int64(body), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, l.front...)
	c.out = append(c.out, s.id...)
	c.out = append(c.out, l.back...)
	if err := c.nc.SetDeadline(s.sent.Add(l.spec.Timeout)); err != nil {
		l.lost(s, c, &fault{kind: KindWrite, detail: err.Error()})
		return false
	}
	_, werr := c.nc.Write(c.out)
	s.all = werr == nil
	a, f := l.receive(c, s, werr)
	if f != nil {
		l.lost(s, c, f)
		// A whole answer with another status leaves the connection usable.
		return f.kind == KindStatus && !a.close && s.all
	}
	now := time.Now()
	c.used = now
	c.requests++
	l.won(s, c, now)
	return !a.close && !l.class.Fresh
}

// receive reads the answer and judges it.
func (l *line) receive(c *conn, s *shot, werr error) (answer, *fault) {
	a, err := c.header()
	if err != nil {
		if werr != nil && c.got == 0 {
			return a, &fault{kind: KindWrite, detail: werr.Error()}
		}
		return a, l.broken(err, c.got > 0)
	}
	if a.status != 200 {
		var text []byte
		err := c.body(a.length, func(p []byte) {
			if len(text) < 300 {
				text = append(text, p[:min(len(p), 300)]...)
			}
		})
		if err != nil {
			a.close = true
		}
		return a, &fault{kind: KindStatus, status: a.status, detail: string(text)}
	}
	if l.class.Expect != nil {
		c.want = l.class.Expect(c.want[:0], s.id)
	}
	err = c.body(a.length, func(p []byte) { s.take(p, c.want, l.class.Expect != nil, l.class.Stream) })
	return a, l.judge(c, s, err)
}

func (l *line) broken(err error, began bool) *fault {
	if errors.Is(err, errProtocol) {
		return &fault{kind: KindProtocol, detail: err.Error()}
	}
	return ofRead(err, began, l.class.Stream)
}

// judge says what is wrong with a body that was read as far as err let it.
func (l *line) judge(c *conn, s *shot, err error) *fault {
	if l.class.Stream && (bytes.Contains(s.wrong, []byte(`data: {"error"`)) || bytes.HasPrefix(s.wrong, []byte(`{"error"`)) || bytes.HasPrefix(s.wrong, []byte(`error"`))) {
		return &fault{kind: KindErrorEvent, status: 200, detail: string(s.wrong)}
	}
	if err != nil {
		return l.broken(err, true)
	}
	if l.class.Stream && !bytes.HasSuffix(s.tail[:], []byte("data: [DONE]\n\n")) {
		return &fault{kind: KindNoDone, status: 200, detail: string(s.tail[:])}
	}
	if l.class.Expect != nil && (s.wrong != nil || s.off != len(c.want)) {
		return &fault{kind: KindMismatch, status: 200, detail: "at byte " + strconv.Itoa(s.off) + " of " + strconv.Itoa(len(c.want)) + ": " + string(s.wrong)}
	}
	return nil
}

// take looks at one piece of the body.
func (s *shot) take(p, want []byte, compare, stream bool) {
	s.bytes += int64(len(p))
	if stream {
		now := time.Now()
		if !s.last.IsZero() {
			s.gap = max(s.gap, now.Sub(s.last))
		}
		s.last = now
		s.events += bytes.Count(p, []byte("\n\n"))
		if len(p) >= len(s.tail) {
			copy(s.tail[:], p[len(p)-len(s.tail):])
		} else {
			copy(s.tail[:], s.tail[len(p):])
			copy(s.tail[len(s.tail)-len(p):], p)
		}
	}
	switch {
	case s.wrong != nil:
		if len(s.wrong) < 600 {
			s.wrong = append(s.wrong, p[:min(len(p), 600)]...)
		}
	case !compare:
		if k := bytes.Index(p, []byte(`data: {"error"`)); stream && k >= 0 {
			s.wrong = append(s.wrong, p[k:min(len(p), k+600)]...)
		}
	case len(want)-s.off >= len(p) && bytes.Equal(p, want[s.off:s.off+len(p)]):
		s.off += len(p)
	default:
		i := 0
		for i < len(p) && s.off < len(want) && p[i] == want[s.off] {
			i++
			s.off++
		}
		// The excerpt begins at the start of its line, so that an event is whole.
		from := bytes.LastIndexByte(p[:i], '\n') + 1
		s.wrong = append([]byte{}, p[from:min(len(p), from+600)]...)
	}
}

// won counts an answer that was right.
func (l *line) won(s *shot, c *conn, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.stats
	st.Sent++
	st.OK++
	st.Events += int64(s.events)
	st.Bytes += s.bytes
	record(st.latency, now.Sub(s.due))
	record(st.firstByte, c.first.Sub(s.due))
	if l.class.Stream {
		record(st.gap, s.gap)
	}
}

// lost counts and keeps a failure; c is nil where there was no connection.
func (l *line) lost(s *shot, c *conn, f *fault) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.stats
	st.Sent++
	st.Failed++
	st.Kinds[f.kind]++
	st.Events += int64(s.events)
	l.report.failed++
	if len(l.report.Failures) >= l.spec.MaxFailures {
		return
	}
	e := Failure{
		Class: l.class.Name, ID: s.id, Kind: f.kind, Status: f.status, Detail: f.detail, Due: s.due, SentAt: s.sent, At: now, Sent: s.all,
		Opened: s.opened, Idle: s.idle,
	}
	if c != nil {
		e.LocalPort, e.Requests, e.Bytes, e.FirstByte = c.port, c.requests, c.got, c.first
		e.ConnAge = s.sent.Sub(c.opened)
	}
	l.report.Failures = append(l.report.Failures, e)
}
