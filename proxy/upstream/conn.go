package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"sluice/proxy/sock"
)

// conn is one connection to an endpoint. It belongs to one call or to the idle
// list of its pool.
type conn struct {
	link
	pool *pool

	until   int64         // end of idling, on the sweeper's clock
	rest    time.Duration // how long it may idle
	checked int64         // when its address was last looked at
	pooled  bool          // it idled, and was not looked at since

	h    *Handle // the running call
	body bool    // the answer's body is being read: the idle timeout counts
	got  int     // bytes read in this call
	pre  []byte  // read already; given out first

	head     *[]byte     // of heads, while a request is written
	giveBack func()      // the method, made once
	out      net.Buffers // what is left of vecs in a running write
	vecs     net.Buffers
}

// borrowHead takes a buffer to put a request together in.
func (c *conn) borrowHead() []byte {
	p, ok := heads.Get().(*[]byte)
	if !ok {
		panic("BUG: something else in the pool of heads")
	}
	c.head = p
	return (*p)[:0]
}

// returnHead gives it back; an answer may take minutes.
func (c *conn) returnHead() {
	if c.head != nil && cap(*c.head) <= maxHeader {
		heads.Put(c.head)
	}
	c.head = nil
}

// asks reports whether a request can be written and its answer waited for by
// one look at the socket.
func (c *conn) asks() bool { return !c.sealed && c.sock.raw.Usable() }

// alive looks for an end, or for bytes that nobody asked for, without waiting.
func (c *conn) alive() bool {
	if !c.sealed {
		return c.sock.silent()
	}
	// Under TLS what has arrived may be the server's session tickets.
	c.sock.probing = true
	n, err := c.conn.Read(c.sock.one[:])
	c.sock.probing = false
	return n == 0 && err == sock.ErrWouldBlock //nolint:errorlint // tls hands the socket's error on as it is
}

// Read reads for the call: it counts, and the wait for the body's bytes has a
// deadline of its own.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.pre) > 0 {
		n := copy(p, c.pre)
		c.pre = c.pre[n:]
		return n, nil
	}
	waits := c.body && c.h.timeouts.Idle > 0 && !c.sock.probing
	if waits {
		c.h.limit(c.h.sweeper.now.Load(), c.h.timeouts.Idle)
	}
	n, err := c.conn.Read(p)
	if waits {
		c.h.deadline.Store(c.h.total)
	}
	c.got += n
	return n, err
}

// open dials and shakes hands for a call.
func (q *pool) open(h *Handle) (*conn, *Error) {
	if !q.owner.hold(q) {
		return nil, h.fail(ErrClosed)
	}
	h.enter(PhaseDial, h.timeouts.Connect)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !h.dialing(cancel) {
		return nil, h.fail(context.Canceled)
	}
	l, err := q.target.dialer.dial(ctx, q.target.host, q.target.port)
	h.dialing(nil)
	if err != nil {
		return nil, h.fail(err)
	}
	c := &conn{link: l, pool: q, checked: h.sweeper.clock()}
	c.giveBack = c.returnHead
	if !h.bind(c.sock) {
		_ = c.sock.Close()
		return nil, h.fail(context.Canceled)
	}
	if q.target.tls == nil {
		return c, nil
	}
	h.enter(PhaseTLS, h.timeouts.TLS)
	t := tls.Client(c.conn, q.target.tls)
	// Cancellation comes through the socket, not through a context: a
	// context would cost a goroutine.
	if err := t.Handshake(); err != nil { //nolint:noctx // see above
		h.unbind()
		_ = c.sock.Close()
		return nil, h.fail(fmt.Errorf("handshake: %w", err))
	}
	c.conn, c.sealed = t, true
	return c, nil
}

// readSize is the buffer of a connection while a call uses it: a usual header
// with a small answer, or a burst of events. Longer bodies pass it by.
const readSize = 4 << 10

// readers lends read buffers to calls; an idle connection has none.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readSize) }}

func borrowReader(c *conn) *bufio.Reader {
	r, ok := readers.Get().(*bufio.Reader)
	if !ok {
		panic("BUG: something else in the pool of readers")
	}
	r.Reset(c)
	return r
}

func returnReader(r *bufio.Reader) {
	if r.Size() != readSize {
		return
	}
	r.Reset(nil)
	readers.Put(r)
}
