package fakeprovider

import (
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Entry is what the provider knows of one request.
type Entry struct {
	ID        string    `json:"id"`      // the request's prompt_cache_key, else its user
	Attempt   int       `json:"attempt"` // 1 for the first request of that id
	Seed      string    `json:"seed"`    // what the answer follows from: ID, unless the provider numbers answers
	Answer    string    `json:"answer"`  // id in the answer; "" where it has none
	Conn      int64     `json:"conn"`    // number of the connection
	Path      string    `json:"path"`
	Behaviour string    `json:"behaviour"`
	Model     string    `json:"model"` // asked for
	Streamed  bool      `json:"streamed"`
	Usage     bool      `json:"usage"` // the usage chunk was asked for
	Status    int       `json:"status"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`      // zero while it runs
	Tokens    Tokens    `json:"tokens"`   // said in the answer; zero where none were said
	Events    int       `json:"events"`   // written, [DONE] included
	Bytes     int64     `json:"bytes"`    // of the body, written: see Shape.Sent
	Complete  bool      `json:"complete"` // the answer was written to its end
	Cancelled bool      `json:"cancelled"`
	Gone      time.Time `json:"gone"` // when the client's close was seen
	Head      []byte    `json:"head,omitempty"`
	Body      []byte    `json:"body,omitempty"`
}

// Ledger is the record of requests served. Its methods may be called at any
// time; what they return is the caller's.
type Ledger struct {
	mu       sync.Mutex // guards all below
	limit    int
	entries  []Entry
	attempts map[string]int
	dropped  int64
	epoch    int // of Reset: an entry of before is not written after it
}

func newLedger(limit int) *Ledger {
	return &Ledger{limit: limit, attempts: map[string]int{}}
}

// begin records a request; counted says that attempts matter beyond the record.
func (l *Ledger) begin(e *Entry, counted bool) (slot, epoch int) {
	if l.limit == 0 && !counted {
		e.Attempt = 1
		return -1, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts[e.ID]++
	e.Attempt = l.attempts[e.ID]
	if len(l.entries) >= l.limit {
		l.dropped++
		return -1, l.epoch
	}
	l.entries = append(l.entries, *e)
	return len(l.entries) - 1, l.epoch
}

func (l *Ledger) end(slot, epoch int, e *Entry) {
	if slot < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch == l.epoch {
		l.entries[slot] = *e
	}
}

// All returns every entry in the order of arrival.
func (l *Ledger) All() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry(nil), l.entries...)
}

// Of returns the attempts of one id in order.
func (l *Ledger) Of(id string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Entry
	for i := range l.entries {
		if l.entries[i].ID == id {
			found = append(found, l.entries[i])
		}
	}
	return found
}

// Running counts the requests that have no end yet.
func (l *Ledger) Running() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for i := range l.entries {
		if l.entries[i].End.IsZero() {
			n++
		}
	}
	return n
}

// Dropped counts the requests for which there was no room.
func (l *Ledger) Dropped() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Reset forgets everything; requests that still run leave no entry.
func (l *Ledger) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.attempts, l.dropped = nil, map[string]int{}, 0
	l.epoch++
}

// serveLedger answers /ledger, /ledger?id=… and /ledger/reset.
func (p *Provider) serveLedger(x *exchange) error {
	if strings.HasSuffix(x.req.path, "/reset") {
		p.ledger.Reset()
		return x.answer(200, "application/json", []byte("{}"))
	}
	entries := []Entry{}
	if id := queryID(x.req.query); id != "" {
		entries = append(entries, p.ledger.Of(id)...)
	} else {
		entries = append(entries, p.ledger.All()...)
	}
	body, err := json.Marshal(map[string]any{
		"served": p.Served(), "open": p.Open(), "dropped": p.ledger.Dropped(), "entries": entries,
	})
	if err != nil {
		return errEnd
	}
	return x.answer(200, "application/json", body)
}

func queryID(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return values.Get("id")
}
