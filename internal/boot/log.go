package boot

import (
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the log.
const (
	maxPending  = 8 << 20               // bytes that wait for the writer; beyond them lines are dropped
	keptBuffer  = 256 << 10             // larger buffers are given back to the collector once written
	gatherFor   = 10 * time.Millisecond // lines that come within this time of a write leave together
	closeWithin = time.Second           // Close waits so long for a reader that has stopped
	maxLine     = 64 << 10              // longer lines are cut
)

// LogOptions says how lines look and which are written.
type LogOptions struct {
	Program string // attribute "program" of each line; "" for none
	JSON    bool   // JSON objects, else text
	Level   slog.Level
	Attrs   []slog.Attr // on each line, such as slot and generation
}

// Log is an asynchronous logger. Callers never wait for the writer: lines are
// put in memory, 8 MiB at most, and one goroutine writes them, together where
// many come at once. What finds no room is dropped and counted. A message at
// warning or above that comes more than ten times a second is summarised. The
// goroutine ends with Close, or with the process where the writer is stuck.
type Log struct {
	*slog.Logger

	base *handler
	sink *sink
}

// NewLogger returns a log that writes to w and starts its goroutine. w is
// called by one goroutine at a time and need not be safe for more.
func NewLogger(w io.Writer, o LogOptions) *Log {
	s := &sink{
		w: w, wake: make(chan struct{}, 1),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	s.level.Set(o.Level)
	s.json.Store(o.JSON)
	h := &handler{sink: s}
	if o.Program != "" {
		h = h.with([]slog.Attr{slog.String("program", o.Program)})
	}
	h = h.with(o.Attrs)
	s.base = h
	go s.run()
	return &Log{Logger: slog.New(h), base: h, sink: s}
}

// Emit writes a line with the attributes given. It is LogAttrs for the hot
// path: it does not look up its caller, keeps nothing of attrs and allocates
// nothing.
func (l *Log) Emit(level slog.Level, message string, attrs []slog.Attr) {
	if level >= l.sink.level.Level() {
		l.base.emit(time.Now(), level, message, attrs, nil)
	}
}

// SetLevel changes the least level that is written, for all loggers derived
// from this one, at once.
func (l *Log) SetLevel(level slog.Level) { l.sink.level.Set(level) }

// Level returns the least level that is written.
func (l *Log) Level() slog.Level { return l.sink.level.Level() }

// SetJSON changes the form of the lines to come. Attributes that were bound
// with With before are shown in the new form as well.
func (l *Log) SetJSON(on bool) { l.sink.json.Store(on) }

// SetWriter changes where the lines to come are written, those that wait for
// the writer too. A write that is under way still goes to the old one.
func (l *Log) SetWriter(w io.Writer) {
	l.sink.mu.Lock()
	l.sink.w = w
	l.sink.mu.Unlock()
}

// Dropped counts the lines that found no room since the start.
func (l *Log) Dropped() uint64 { return l.sink.dropped.Load() }

// Suppressed counts the lines that were summarised since the start.
func (l *Log) Suppressed() uint64 { return l.sink.suppressed.Load() }

// Close writes what is pending and ends the goroutine. It waits for one second
// at most and reports whether all was written. Lines logged after it are
// dropped. Calling it again is harmless.
func (l *Log) Close() bool {
	s := l.sink
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case <-s.done:
		return s.lost.Load() == 0
	case <-timer.C:
		return false
	}
}

// ParseLevel reads the level names of LITELLM_LOG: DEBUG, INFO, WARNING (or
// WARN), ERROR, CRITICAL, whatever their case.
func ParseLevel(name string) (level slog.Level, ok bool) {
	switch strings.ToUpper(strings.TrimSpace(name)) {
	case "DEBUG":
		return slog.LevelDebug, true
	case "INFO":
		return slog.LevelInfo, true
	case "WARNING", "WARN":
		return slog.LevelWarn, true
	case "ERROR", "CRITICAL":
		return slog.LevelError, true
	default:
		return slog.LevelInfo, false
	}
}

// sink holds the lines that wait and the goroutine that writes them.
type sink struct {
	level slog.LevelVar
	json  atomic.Bool
	base  *handler // whose attributes the log's own lines carry

	wake    chan struct{} // one token: there is something to do
	closing chan struct{}
	done    chan struct{}

	dropped    atomic.Uint64
	suppressed atomic.Uint64
	lost       atomic.Uint64 // bytes that the writer refused

	// mu guards what follows. It is held to copy a line, never over a write.
	mu      sync.Mutex
	w       io.Writer
	closed  bool
	pending []byte // lines to write next
	spare   []byte // empty, or on its way to the writer
	writing int    // bytes on their way
	told    uint64 // drops that a line has told of
	flood   flood
}

// put appends a line to what is pending and wakes the writer.
func (s *sink) put(line []byte) {
	s.mu.Lock()
	s.append(line)
	s.mu.Unlock()
	s.rouse()
}

// admitted reports whether a warning is to be written as a line of its own.
func (s *sink) admitted(at time.Time, level slog.Level, message string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admit(at, level, message)
}

// append needs mu.
func (s *sink) append(line []byte) {
	if s.closed || len(s.pending)+s.writing+len(line) > maxPending {
		s.dropped.Add(1)
		return
	}
	s.pending = append(s.pending, line...)
}

func (s *sink) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes until Close. After each write it rests for gatherFor, so that a
// busy worker writes a hundred times a second and not once a line.
func (s *sink) run() {
	defer close(s.done)
	rest := time.NewTimer(0)
	defer rest.Stop()
	var due <-chan time.Time // when summaries are due
	for {
		select {
		case <-s.wake:
		case <-due:
		case <-s.closing:
			s.flush(true)
			s.flush(true) // what the first left no room to tell of
			return
		}
		due = nil
		if s.flush(false) {
			due = time.After(time.Second)
		}
		rest.Reset(gatherFor)
		select {
		case <-rest.C:
		case <-s.closing:
		}
	}
}

// flush writes what is pending, with what there is to tell of drops and floods,
// and reports whether more is to be told later.
func (s *sink) flush(last bool) (more bool) {
	s.mu.Lock()
	more = s.summaries(last)
	s.tellDrops()
	more = more || s.dropped.Load() != s.told
	out, w := s.pending, s.w
	s.pending, s.spare = s.spare[:0], nil
	s.writing = len(out)
	s.mu.Unlock()

	if len(out) > 0 {
		if n, err := w.Write(out); err != nil {
			s.lost.Add(uint64(len(out) - n))
		}
	}

	s.mu.Lock()
	s.writing = 0
	if cap(out) <= keptBuffer {
		s.spare = out[:0]
	}
	s.mu.Unlock()
	return more
}

// tellDrops adds a line about what was dropped since the last such line. It
// needs mu.
func (s *sink) tellDrops() {
	dropped := s.dropped.Load()
	if dropped == s.told || len(s.pending) > maxPending/2 {
		return
	}
	line := s.line(slog.LevelWarn, "log lines dropped", slog.Uint64("dropped", dropped-s.told))
	s.pending = append(s.pending, line...)
	s.told = dropped
}
