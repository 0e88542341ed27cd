// Package loadgen sends load whose arrival times do not depend on the answers
// (an open loop), so that a server that stalls is charged for everything that
// should have been sent meanwhile. It never retries: what a client would have
// lost is a failure here, classed and logged with time and local port. The
// client is a raw HTTP/1.1 connection that sees when each byte comes.
package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Spec is a run: where to, how long, and which kinds of load at once.
type Spec struct {
	Addr     string        // host:port, or unix: and a path
	TLS      *tls.Config   // nil is plain text
	Path     string        // "" is /v1/chat/completions
	Key      string        // sent as Authorization: Bearer; "" sends none
	Header   []string      // further header lines, "Name: value"
	Model    string        // asked for; "" is gpt-4o-mini
	Prompt   int           // bytes of the prompt's text; 0 is about 1 KB of body
	Duration time.Duration // of arrivals; what runs at its end is waited for
	Timeout  time.Duration // of one request from its first byte sent; 0 is 30 s
	Seed     uint64        // of think times, and part of the requests' ids
	Classes  []Class

	MaxOpen     int // most requests of Fresh classes at once; 0 is 10,000; beyond it an arrival fails as KindOverrun
	MaxFailures int // most failures kept in the report; all are counted; 0 is 10,000
}

// Class is one kind of load. What decides the arrivals:
//
//	Fresh, Rate    so many a second, each on a connection of its own
//	Conns, Rate    so many a second over Conns kept connections in turn
//	Conns, Think   each connection's next request is due 0 to Think after the last was due
//	Conns          each connection sends as soon as it is answered (a closed loop: for streams)
//	Conns, Idle    each connection is held open and used once when the arrivals have ended
type Class struct {
	Name   string
	Fresh  bool
	Idle   bool
	Conns  int
	Rate   float64
	Think  time.Duration
	Stream bool
	Usage  bool   // the stream asks for its usage chunk
	Warm   bool   // Idle: one request at the start as well
	Path   string // "" is the Spec's
	Model  string // "" is the Spec's

	// Late is how much later than it happens a client learns of a server's
	// close: within it, a request is still sent, and lost.
	Late time.Duration

	// Expect appends the exact body that the request of that id must be
	// answered with. Nil compares nothing; a stream must still end in [DONE].
	Expect func(dst []byte, id string) []byte
}

// runner is one run under way.
type runner struct {
	spec   Spec
	report *Report
	start  time.Time
	end    time.Time
	wg     sync.WaitGroup
	open   atomic.Int64
	dial   dialer

	mu sync.Mutex // guards the report
}

// Run sends the load and returns when every request has its end. Cancelling
// ctx ends the arrivals early. The error is about the spec, never about
// answers: those are in the report.
func Run(ctx context.Context, spec Spec) (*Report, error) {
	if err := spec.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &runner{spec: spec, start: time.Now()}
	r.end = r.start.Add(spec.Duration)
	r.dial = dialer{addr: spec.Addr, tls: spec.TLS, timeout: spec.Timeout}
	r.report = newReport(r.start, spec.Classes)
	for i := range spec.Classes {
		l := r.line(i)
		if l.class.Fresh {
			r.wg.Go(func() { l.arrivals(ctx) })
			continue
		}
		for k := range l.class.Conns {
			r.wg.Go(func() { l.connection(ctx, k) })
		}
	}
	r.wg.Wait()
	r.report.Wall = time.Since(r.start)
	return r.report, nil
}

func (s *Spec) complete() error {
	s.Path = or(s.Path, "/v1/chat/completions")
	s.Model = or(s.Model, "gpt-4o-mini")
	s.Timeout = or(s.Timeout, 30*time.Second)
	s.MaxOpen = or(s.MaxOpen, 10_000)
	s.MaxFailures = or(s.MaxFailures, 10_000)
	s.Prompt = or(s.Prompt, 880)
	if s.Addr == "" || s.Duration <= 0 || len(s.Classes) == 0 {
		return errors.New("a load needs an address, a duration and a class")
	}
	s.Classes = append([]Class(nil), s.Classes...)
	for i := range s.Classes {
		c := &s.Classes[i]
		c.Name = or(c.Name, fmt.Sprintf("class%d", i))
		c.Path = or(c.Path, s.Path)
		c.Model = or(c.Model, s.Model)
		if c.Fresh && c.Rate <= 0 {
			return fmt.Errorf("class %s: fresh connections need a rate", c.Name)
		}
		if !c.Fresh && c.Conns <= 0 {
			return fmt.Errorf("class %s: kept connections need a number", c.Name)
		}
	}
	return nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// line is a class in a run.
type line struct {
	*runner
	class Class
	stats *ClassReport
	head  string // of the request, up to Content-Length's value
	front string // of the body, up to the id
	back  string // of the body, after the id
	count atomic.Int64
}

func (r *runner) line(i int) *line {
	l := &line{runner: r, class: r.spec.Classes[i], stats: r.report.Classes[i]}
	host := r.spec.Addr
	if strings.HasPrefix(host, "unix:") {
		host = "localhost"
	}
	var b strings.Builder
	b.WriteString("POST " + l.class.Path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n")
	if r.spec.Key != "" {
		b.WriteString("Authorization: Bearer " + r.spec.Key + "\r\n")
	}
	for _, h := range r.spec.Header {
		b.WriteString(h + "\r\n")
	}
	if l.class.Fresh {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("Content-Length: ")
	l.head = b.String()
	prompt := strings.Repeat("tell me of rivers ", r.spec.Prompt/18+1)[:r.spec.Prompt]
	l.front = `{"model":"` + l.class.Model + `","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"` + prompt + `"}],"user":"`
	l.back = `"`
	if l.class.Stream {
		l.back += `,"stream":true`
	}
	if l.class.Usage {
		l.back += `,"stream_options":{"include_usage":true}`
	}
	l.back += "}"
	return l
}

// arrivals starts each request of a Fresh class when it is due.
func (l *line) arrivals(ctx context.Context) {
	gap := time.Duration(float64(time.Second) / l.class.Rate)
	for i := 0; ; i++ {
		due := l.start.Add(time.Duration(i) * gap)
		if !due.Before(l.end) || !sleep(ctx, due) {
			return
		}
		if l.open.Add(1) > int64(l.spec.MaxOpen) {
			l.open.Add(-1)
			l.lost(&shot{id: l.id(), due: due}, nil, &fault{kind: KindOverrun})
			continue
		}
		l.wg.Go(func() {
			defer l.open.Add(-1)
			s := &shot{id: l.id(), due: due}
			c, f := l.connect()
			if f != nil {
				l.lost(s, nil, f)
				return
			}
			defer c.close()
			l.shoot(c, s)
		})
	}
}

// connection is the life of one kept connection, over all its reconnects.
func (l *line) connection(ctx context.Context, k int) {
	random := rand.New(rand.NewPCG(l.spec.Seed, uint64(k)+1))
	var c *conn
	defer func() { c.close() }()
	if l.class.Idle {
		c = l.idle(ctx, k)
		return
	}
	due := l.first(k, random)
	for due.Before(l.end) {
		var ok bool
		if c, ok = l.think(ctx, c, due); !ok {
			return
		}
		c = l.once(c, due)
		switch {
		case l.class.Rate > 0:
			due = due.Add(time.Duration(float64(l.class.Conns) / l.class.Rate * float64(time.Second)))
		case l.class.Think > 0:
			due = due.Add(time.Duration(random.Int64N(int64(l.class.Think))))
		default:
			due = time.Now()
			if c == nil { // it failed: do not spin on a dead server
				due = due.Add(10 * time.Millisecond)
			}
		}
	}
}

// first is when connection k sends its first request.
func (l *line) first(k int, random *rand.Rand) time.Time {
	switch {
	case l.class.Rate > 0:
		return l.start.Add(time.Duration(float64(k) / l.class.Rate * float64(time.Second)))
	case l.class.Think > 0:
		return l.start.Add(time.Duration(random.Int64N(int64(l.class.Think))))
	default:
		return l.start.Add(time.Duration(k) * 100 * time.Microsecond)
	}
}

// once sends one request on c, connecting where it is nil, and returns the
// connection if it can be used again.
func (l *line) once(c *conn, due time.Time) *conn {
	s := &shot{id: l.id(), due: due}
	if c == nil {
		var f *fault
		if c, f = l.connect(); f != nil {
			l.lost(s, nil, f)
			return nil
		}
	}
	if !l.shoot(c, s) {
		c.close()
		return nil
	}
	return c
}

// idle holds a connection until the end of the run and uses it then.
func (l *line) idle(ctx context.Context, k int) *conn {
	if !sleep(ctx, l.start.Add(time.Duration(k)*200*time.Microsecond)) {
		return nil
	}
	var c *conn
	if l.class.Warm {
		c = l.once(nil, time.Now())
	}
	if c == nil {
		var f *fault
		if c, f = l.connect(); f != nil {
			l.lost(&shot{id: l.id(), due: time.Now()}, nil, f)
			return nil
		}
	}
	if c, _ = l.think(ctx, c, l.end); c == nil {
		return nil
	}
	due := l.end
	if now := time.Now(); now.Before(due) { // the arrivals were ended early
		due = now
	}
	return l.once(c, due)
}

// think waits until due, watching c. A connection that the server closed
// meanwhile is noted and given up: nil comes back, true says go on.
func (l *line) think(ctx context.Context, c *conn, due time.Time) (*conn, bool) {
	if c == nil {
		return nil, sleep(ctx, due)
	}
	stop := context.AfterFunc(ctx, c.wake)
	closed := c.watch(due)
	stop()
	if ctx.Err() != nil {
		return c, false
	}
	if !closed {
		return c, true
	}
	at := time.Now()
	l.mu.Lock()
	l.stats.ClosedIdle++
	if len(l.report.IdleCloses) < l.spec.MaxFailures {
		l.report.IdleCloses = append(l.report.IdleCloses, IdleClose{
			Class: l.class.Name, At: at, Idle: at.Sub(c.used), Age: at.Sub(c.opened), LocalPort: c.port,
		})
	}
	l.mu.Unlock()
	if wait := time.Until(due); wait < l.class.Late {
		return c, sleep(ctx, due) // it does not know yet
	}
	c.close()
	return nil, sleep(ctx, due)
}

func (l *line) id() string {
	return fmt.Sprintf("%s-%d-%d", l.class.Name, l.spec.Seed, l.count.Add(1))
}

func (l *line) connect() (*conn, *fault) {
	c, f := l.dial.connect()
	if f == nil {
		l.mu.Lock()
		l.stats.Connects++
		l.mu.Unlock()
	}
	return c, f
}

// sleep waits until t; false means that ctx ended first.
func sleep(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
