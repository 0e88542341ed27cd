package ledger

import (
	"sync"
	"time"

	"sluice/proxy/journal"
	"sluice/supervisor/fleet"
)

// watch knows, in any process of the host, what of the journals is in the
// database: from the marks in the segments.
type watch struct {
	mu     sync.Mutex
	looked int64            // fleet.Now
	at     int64            // fleet.Now of the sample
	want   map[string]int64 // committed then, by segment
	until  int64            // the last sample that was reached
	held   map[string]bool  // holders with something that is not shipped
}

const watchEvery = int64(time.Second)

// Shipped is the instant of fleet.Now before which everything that was settled
// on this host is in the database; 0: not known.
func (l *Ledger) Shipped() int64 {
	l.watched.look(l.c.Dirs)
	l.watched.mu.Lock()
	defer l.watched.mu.Unlock()
	return l.watched.until
}

// HolderShipped says whether the journals of an earlier life of this host's
// table are in the database to their end. Where the journals cannot be looked at
// it says no.
func (l *Ledger) HolderShipped(holder string) bool {
	l.watched.look(l.c.Dirs)
	l.watched.mu.Lock()
	defer l.watched.mu.Unlock()
	return l.watched.held != nil && !l.watched.held[holder]
}

// all says that every segment that is finished is in the database.
func (w *watch) all(dirs []string) bool {
	segments, err := journal.Scan(dirs...)
	if err != nil {
		return false
	}
	for _, f := range segments {
		if f.Finished && f.Committed > journal.Start && f.Unshipped() > 0 {
			return false
		}
	}
	return true
}

func (w *watch) look(dirs []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := fleet.Now()
	if w.looked != 0 && now-w.looked < watchEvery {
		return
	}
	w.looked = now
	segments, err := journal.Scan(dirs...)
	if err != nil {
		w.held = nil
		return
	}
	w.held = map[string]bool{}
	reached := true
	for _, f := range segments {
		if f.Body || f.Problem != nil {
			continue
		}
		// A segment that is not finished may still be written, or wait to be closed.
		if f.Committed > journal.Start && f.Shipped < f.Committed || !f.Finished && f.Committed > journal.Start {
			w.held[f.Holder] = true
		}
		if to, ok := w.want[f.Name]; ok && to > journal.Start && f.Shipped < to {
			reached = false
		}
	}
	if w.want != nil && !reached {
		return
	}
	if w.want != nil {
		w.until = w.at
	}
	w.at, w.want = now, map[string]int64{}
	for _, f := range segments {
		if !f.Body && f.Problem == nil {
			w.want[f.Name] = f.Committed
		}
	}
}
