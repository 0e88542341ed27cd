package ledger

import (
	"sluice/proxy/journal"
	"sluice/supervisor/fleet"
)

// tell says in the host table what leases of budgets wait for: up to when
// everything that was settled is in the database, and which earlier lives of the
// table have left something to ship. Both are told only of what the cursors of
// the database have confirmed: a standby that took over may lack commits.
func (s *session) tell() {
	t := s.l.c.Table
	if t == nil {
		return
	}
	h := t.Header()
	if s.scans < 2 || s.verify || s.verified.IsZero() { // who lives is known from the second look on
		h.JournalShipped.Store(0)
		h.Earlier.Forget()
		return
	}
	left := map[string]struct{}{}
	for _, g := range s.generations {
		if s.foreign(g) && (!g.closed || !g.settled()) {
			left[g.holder] = struct{}{}
		}
	}
	h.Earlier.Tell(left)
	// What was settled since the oldest attempt that waits was may wait too.
	to := s.clear
	if s.verified.Before(to) {
		to = s.verified
	}
	oldest := s.ready
	if s.sending != nil {
		oldest = s.sending.attempts
	}
	if len(oldest) > 0 && oldest[0].after.Before(to) {
		to = oldest[0].after
	}
	if to.IsZero() {
		return
	}
	h.JournalShipped.Store(fleet.Now() - int64(s.l.c.Now().Sub(to)))
}

// unread says that a journal of this life holds records that nobody has looked at.
// Segments that were made since the last scan are not known yet.
func (s *session) unread() bool {
	for _, seg := range s.segments {
		if !s.foreign(seg.of) && !seg.ended && seg.read < seg.Committed {
			return true
		}
	}
	return false
}

// allShipped says, to a process that does not ship, that every segment of this host
// which is finished is in the database.
func allShipped(dirs []string, hostID string) bool {
	segments, err := journal.Scan(dirs...)
	if err != nil {
		return false
	}
	for _, f := range segments {
		if f.Host == hostID && f.Finished && f.Committed > journal.Start && f.Unshipped() > 0 {
			return false
		}
	}
	return true
}
