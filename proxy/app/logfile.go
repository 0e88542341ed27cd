package app

import (
	"fmt"
	"os"
	"sync"
)

// logFile is the file that the lines of this worker are appended to
// (LITELLM_LOG_FILE). Workers share it: each write is whole lines, and a write
// at the end of a local file is not mixed with another. The zero value is
// closed; it lives as long as the process.
type logFile struct {
	mu sync.Mutex // guards f
	f  *os.File
}

// open opens the file, in place of the one that is open: what was rotated away
// is let go of.
func (l *logFile) open(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open LITELLM_LOG_FILE: %w", err)
	}
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old != nil {
		_ = old.Close() // appended to without a buffer: nothing can be lost
	}
	return nil
}

// Write appends b.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(b)
}
