// Package logtest keeps what is logged, for tests that read it while it is written.
package logtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Log is a destination of log lines. Its zero value is empty and ready; it may be written
// and read by many at once, and must not be copied.
type Log struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write appends; it never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count is how often part was written; parts that overlap count once.
func (l *Log) Count(part string) int { return strings.Count(l.String(), part) }

// Logger writes lines of text, from Info on, to l.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
