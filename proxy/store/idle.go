package store

import (
	"context"
	"os"
	"sync"
	"time"
)

// tick is more than the kernel's grain of file times: a file that was written so
// shortly before it was looked at may be written again without its time telling.
const tick = 50 * time.Millisecond

// stillness knows whether a SQLite database was written to by anybody since it
// was last asked, from the times of its two files. An idle appliance polls the
// change head twice a second; that this runs no SQL keeps the pages of SQLite's
// code out of the memory of an idle worker.
type stillness struct {
	path string

	mu    sync.Mutex
	known bool
	seen  [2]fileState
	head  int64
}

// fileState is what a write changes; the zero value is an absent file.
type fileState struct {
	size    int64
	written time.Time
}

// look reads the states of the database and its log, and says whether a later
// write would show in them.
func (s *stillness) look() (states [2]fileState, settled bool) {
	now := time.Now()
	for i, name := range []string{s.path, s.path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			if i == 0 {
				return states, false
			}
			continue
		}
		states[i] = fileState{info.Size(), info.ModTime()}
		if age := now.Sub(info.ModTime()); age < tick {
			return states, false
		}
	}
	return states, true
}

// number is the change head: the one that is known while nothing is written,
// else what read finds.
func (s *stillness) number(ctx context.Context, read func(context.Context) (int64, error)) (int64, error) {
	states, settled := s.look()
	s.mu.Lock()
	known, head := s.known && states == s.seen, s.head
	s.mu.Unlock()
	if known && settled {
		return head, nil
	}
	head, err := read(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.seen, s.head = settled && err == nil, states, head
	return head, err
}
