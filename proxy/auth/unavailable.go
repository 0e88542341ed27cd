package auth

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// admitUnavailable lets a request with an unknown key through while the
// database is away: model calls only, and so many in a minute of the host.
func (k *Keys) admitUnavailable(route *access.Route) *llm.Error {
	if route.Group != access.GroupLLM {
		return onlyModels()
	}
	d := k.directory
	if d == nil || !spend(d.head, fleet.Now(), k.unavailableRPM) {
		if d != nil {
			d.stat.beyond.Inc()
		}
		return unavailableSpent()
	}
	d.stat.admitted.Inc()
	return nil
}

// spend takes one request of the minute's. The word of the host table holds the
// minute and the number of requests in it.
func spend(h *fleet.Header, now int64, limit uint32) bool {
	minute := uint64(now/int64(time.Minute)) & (1<<32 - 1)
	for {
		old := h.Unavailable.Load()
		n := uint32(old)
		if old>>32 != minute {
			n = 0
		}
		if n >= limit {
			return false
		}
		if h.Unavailable.CompareAndSwap(old, minute<<32|uint64(n+1)) {
			return true
		}
	}
}

// Journal is the host's list of the requests that were served for keys that
// nobody could check, so that they can be attributed when the database is back.
// Several processes append to it.
type Journal struct {
	path string
	log  *slog.Logger
	mu   sync.Mutex // guards file
	file *os.File
}

// JournalFile is the name of the file in the state directory.
const JournalFile = "unavailable.journal"

const maxJournal = 64 << 20 // bytes; what comes after is in the log alone

// OpenJournal uses the file at path; it is made when the first line is written.
func OpenJournal(path string, log *slog.Logger) *Journal {
	return &Journal{path: filepath.Clean(path), log: log}
}

// Admitted is one line of the journal.
type Admitted struct {
	Digest  string    `json:"digest"` // hex SHA-256 of the key
	At      time.Time `json:"time"`
	Request string    `json:"request_id"`
	Model   string    `json:"model"`
}

// Record writes that a request of a caller that nobody could check is served.
func (k *Keys) Record(who *Identity, request, model string) {
	if !who.Unavailable || k.directory == nil {
		return
	}
	d := k.directory
	line := Admitted{
		Digest: string(who.KeyHash[:]), At: time.Now().UTC().Truncate(time.Millisecond), Request: strings.Clone(request), Model: strings.Clone(model),
	}
	d.log.Warn("served without checking the key, the database is away",
		slog.String("key", line.Digest), slog.String("id", line.Request), slog.String("model", line.Model))
	if d.c.Journal == nil {
		return
	}
	if d.c.Journal.add(line) {
		d.stat.journaled.Inc()
	} else {
		d.stat.journalSpent.Inc()
	}
}

// add appends a line in one write. It reports whether there was room.
func (j *Journal) add(a Admitted) bool {
	b, err := json.Marshal(a)
	if err != nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		if j.file, err = os.OpenFile(j.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return false
		}
	}
	if st, err := j.file.Stat(); err != nil || st.Size()+int64(len(b)) >= maxJournal {
		return false
	}
	_, err = j.file.Write(append(b, '\n'))
	return err == nil
}

// Close closes the file.
func (j *Journal) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
}
