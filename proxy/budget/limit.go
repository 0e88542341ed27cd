package budget

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/window"
	"sluice/supervisor/fleet"
)

// Limit is one account that attempts are charged to, and what may be spent of
// it. It is made once and never changed. One without Max and Soft only counts.
type Limit struct {
	Kind     bill.Kind
	ID       string
	Max      money.Nano // None: no maximum. 0 refuses always
	Soft     money.Nano // None: no soft budget
	Duration string     // of its window, "" is all time
	Tag      uint64     // of its record in the host table: kind, id and duration

	grid    window.Grid
	current atomic.Pointer[span]    // the window that was used last
	place   atomic.Pointer[located] // the record that was used last
	looked  atomic.Int64            // fleet.Now of the last look at what was spent, for the soft budget
}

// span is a window: unix nanoseconds, start as accounts have it.
type span struct{ from, to, start int64 }

// located is the record of a limit in a bank.
type located struct {
	bank   *fleet.Bank
	record *fleet.Record
}

// NewLimit prepares a limit. resetAt is when its window is due for a reset, as
// far as it is known (zero: it is not); zone is that of windows (nil: UTC). With
// a duration that cannot be read the window is all time: too strict, never too
// lax.
func NewLimit(kind bill.Kind, id string, maximum, soft money.Nano, duration string, resetAt time.Time, zone *time.Location) *Limit {
	id = fitted(id)
	l := &Limit{
		Kind: kind, ID: id, Max: max(maximum, None), Soft: max(soft, None), Duration: duration, Tag: Tag(kind, id, duration),
		grid: window.New(duration, resetAt, zone),
	}
	if l.grid.Endless() {
		l.Duration, l.Tag = "", Tag(kind, id, "")
	}
	return l
}

// longest is the length in bytes of an id in the database.
const longest = 1024

// fitted is an id as the database takes it. What is longer is cut, and a digest
// keeps it apart.
func fitted(id string) string {
	if len(id) <= longest && utf8.ValidString(id) && strings.IndexByte(id, 0) < 0 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	id = strings.ReplaceAll(strings.ToValidUTF8(id, "\uFFFD"), "\x00", "\uFFFD")
	end := min(len(id), longest-17)
	for end < len(id) && !utf8.RuneStart(id[end]) {
		end--
	}
	return id[:end] + "~" + hex.EncodeToString(sum[:8])
}

// Tag is what the record of an account is known by in the host table. It is a
// digest, because clients choose the ids of customers and tags: nobody is to find
// one that spends what was leased of somebody else's budget. Two of a million
// accounts share one with a probability of 3 in 10⁸.
func Tag(kind bill.Kind, id, duration string) uint64 {
	b := make([]byte, 1, 128)
	b[0] = byte(kind)
	b = append(append(append(b, id...), 0xff), duration...) // which no id and no duration has in it
	sum := sha256.Sum256(b)
	return max(binary.LittleEndian.Uint64(sum[:8]), 1)
}

// start is the unix second at which the window of a moment began; 0 for all time.
func (l *Limit) start(now int64) int64 {
	if l.grid.Endless() {
		return 0
	}
	if w := l.current.Load(); w != nil && w.from <= now && now < w.to {
		return w.start
	}
	from, to := l.grid.At(time.Unix(0, now))
	l.current.Store(&span{from.UnixNano(), to.UnixNano(), from.Unix()})
	return from.Unix()
}

// Ends is when the window of a moment ends; zero for a budget of all time.
func (l *Limit) Ends(now time.Time) time.Time {
	if l.grid.Endless() {
		return time.Time{}
	}
	_, to := l.grid.At(now)
	return to
}

// record is the limit's record in the host table; nil where there is no room for
// one more account. Finding it is no use of it: a lease that refuses all the time
// is idle, and goes back to where it may be enough.
func (l *Limit) record(bank *fleet.Bank, now int64) *fleet.Record {
	if p := l.place.Load(); p != nil && p.bank == bank && p.record.Is(l.Tag) {
		return p.record
	}
	r := bank.Peek(l.Tag)
	if r == nil {
		var shared bool
		if r, shared = bank.FindAt(l.Tag, now); shared {
			return nil
		}
	}
	l.place.Store(&located{bank, r})
	return r
}

// leased says whether attempts reserve something of it.
func (l *Limit) leased() bool { return l.Max > 0 || l.Max == None && l.Soft >= 0 }

// most is the maximum that leases are taken under. A budget that is only soft has
// one that nobody reaches, so that what it has come to is known.
func (l *Limit) most() money.Nano {
	if l.Max == None {
		return endless
	}
	return l.Max
}

// endless is more dollars than there will be.
const endless money.Nano = 1 << 61
