//go:build sluicebad

package server

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/proxy/gateway"
)

// badness is the known-bad behaviour that the tests of recycling must catch.
// SLUICE_TEST_BAD names it: shutdown-drain closes idle connections at once, as
// fasthttp's Shutdown does; own-listener is a worker that binds its own
// listener and closes it when it stops. X-Sluice-Panic asks for a panic,
// X-Sluice-Stuck for an accept loop that stands still for so long.
type badness struct {
	name  string
	own   *ownListeners
	until *atomic.Int64 // unix nanoseconds: the accept loops stand still
}

// ownListeners are those that a known-bad worker binds itself.
type ownListeners struct {
	mu  sync.Mutex // guards all
	all []*listener
}

func readBadness() badness {
	return badness{name: os.Getenv("SLUICE_TEST_BAD"), own: &ownListeners{}, until: new(atomic.Int64)} //nolint:forbidigo // test builds only
}

// adopted binds a listener of the worker's own beside those in custody.
func (b badness) adopted(s *Server) {
	b.own.mu.Lock()
	defer b.own.mu.Unlock()
	if b.name != "own-listener" || len(b.own.all) > 0 {
		return
	}
	for _, l := range s.accept.listeners() {
		if l.about.Slot != s.c.Slot || l.about.Network != "tcp" {
			continue
		}
		fd, err := Bind("tcp", l.about.Address)
		if err != nil {
			s.log.Error("own listener", errAttr(err))
			continue
		}
		o := &listener{about: l.about, fd: fd, trusted: l.trusted}
		s.accept.mu.Lock()
		err = s.accept.start(o)
		s.accept.mu.Unlock()
		if err != nil {
			s.log.Error("own listener", errAttr(err))
		}
		b.own.all = append(b.own.all, o)
	}
}

// lame closes what adopted bound, with what is queued on it.
func (b badness) lame(s *Server) {
	b.own.mu.Lock()
	defer b.own.mu.Unlock()
	for _, o := range b.own.all {
		s.accept.mu.Lock()
		if lp := s.accept.loops[o]; lp != nil {
			lp.stop()
			delete(s.accept.loops, o)
		}
		s.accept.mu.Unlock()
		_ = syscall.Close(o.fd)
	}
	b.own.all = nil
}

func (b badness) shutdown() bool { return b.name == "shutdown-drain" }
func (b badness) deaf() bool     { return b.name == "deaf" }
func (b badness) unshared() bool { return b.name == "unshared" }

// stuck holds the accept loop of a public listener up.
func (b badness) stuck(private bool) {
	for !private && time.Now().UnixNano() < b.until.Load() {
		time.Sleep(10 * time.Millisecond)
	}
}

func (b badness) before(h *fasthttp.RequestHeader) {
	if d, err := time.ParseDuration(string(h.Peek("X-Sluice-Stuck"))); err == nil {
		b.until.Store(time.Now().Add(d).UnixNano())
	}
	if string(h.Peek("X-Sluice-Panic")) == "before" {
		panic("asked for: before the answer")
	}
}

func (badness) during(ctx *fasthttp.RequestCtx, st *stream) {
	if string(ctx.Request.Header.Peek("X-Sluice-Panic")) == "during" {
		st.in = panicking{st.in}
	}
}

type panicking struct{ gateway.Stream }

func (panicking) Read([]byte) (int, error) { panic("asked for: during the answer") }
