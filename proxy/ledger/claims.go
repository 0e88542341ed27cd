package ledger

import (
	"encoding/binary"
	"log/slog"
	"time"

	"sluice/proxy/journal"
	"sluice/supervisor/fleet"
)

// claimed names an attempt as a claim in the host table does: the last 64 bits
// of the request's id, and the attempt.
type claimed struct {
	ref uint64
	n   int64
}

func claimOf(id *[16]byte, n int64) claimed { return claimed{binary.BigEndian.Uint64(id[8:]), n} }

const claimsEvery = 10 * time.Second

// recoverClaims gives back what dead generations of this host hold of leases,
// once their journals are in the database to the end: what an attempt cost stays
// taken, the rest is given back.
func (s *session) recoverClaims(now time.Time) {
	t := s.l.c.Table
	if t == nil || !s.began || s.sending != nil {
		return
	}
	fresh := false
	lives := map[int64][]*generation{}
	for _, g := range s.generations {
		if g.holder != s.l.c.Holder {
			continue
		}
		lives[g.generation] = append(lives[g.generation], g)
		if g.closed && !g.recovered && g.settled() {
			g.recovered, fresh = true, true
		}
	}
	if !fresh && now.Sub(s.claimsAt) < claimsEvery {
		return
	}
	s.claimsAt = now
	unknown := false
	dead := func(generation uint32) bool {
		if t.Find(int(generation)) >= 0 {
			return false
		}
		of := lives[int64(generation)]
		if len(of) == 0 && !s.lookedFor(generation) {
			unknown = true
			return false
		}
		for _, g := range of {
			if !g.closed || !g.settled() {
				return false
			}
		}
		return true
	}
	wanted := map[uint32]map[claimed]bool{}
	t.EachClaim(func(c *fleet.ClaimInfo) {
		if !c.Held || !dead(c.Generation) {
			return
		}
		if wanted[c.Generation] == nil {
			wanted[c.Generation] = map[claimed]bool{}
		}
		wanted[c.Generation][claimed{c.Reference, c.Attempt}] = true
	})
	costs := map[claimed]int64{}
	for generation, want := range wanted {
		for _, g := range lives[int64(generation)] {
			s.costs(g, want, costs)
		}
	}
	if n := t.RecoverClaims(dead, func(ref uint64, n int64) int64 { return costs[claimed{ref, n}] }); n > 0 {
		s.l.c.Metrics.recovered.Add(n)
		s.l.c.Log.Info("what dead processes had reserved of budgets was given back", slog.Int("attempts", n))
	}
	if unknown {
		s.claimsAt = time.Time{} // again after the next scan
	} else {
		clear(s.lost)
	}
}

// lookedFor says whether journals were listed since a generation of which there is
// none was seen to be dead. A process that dies soon after it began has written
// one that the last listing does not have: what its attempts cost stands there.
func (s *session) lookedFor(generation uint32) bool {
	at, seen := s.lost[generation]
	if !seen {
		s.lost[generation] = s.scans
	}
	return seen && s.scans > at
}

// settled says that every attempt of a journal that was read to its end is in the
// database.
func (g *generation) settled() bool {
	for _, seg := range g.segments {
		if !seg.shipped() {
			return false
		}
	}
	return true
}

// costs reads from the journal of a dead process what some of its attempts came
// to. It is a rare thing: nobody remembers them.
func (s *session) costs(g *generation, want map[claimed]bool, costs map[claimed]int64) {
	open := map[claimed]*attempt{}
	for _, seg := range g.segments {
		_, err := seg.Read(journal.Start, func(_, _ int64, r journal.Record) error {
			switch r := r.(type) {
			case *journal.Intent:
				if k := claimOf(&r.RequestID, r.Attempt); want[k] {
					a := &attempt{}
					a.Intent = r.Intent
					open[k] = a
				}
			case *journal.Progress:
				if a := open[claimOf(&r.RequestID, r.Attempt)]; a != nil {
					a.output = max(a.output, r.Output)
				}
			case *journal.Settle:
				if k := claimOf(&r.RequestID, r.Attempt); want[k] {
					delete(open, k)
					costs[k] = int64(r.Cost)
				}
			case *journal.PriceDoc:
				s.price(r)
			}
			return nil
		})
		if err != nil {
			s.l.c.Log.Error("the journal of a dead process cannot be read: a part of a lease lies idle until it is returned", slog.Any("error", err))
			return
		}
	}
	for k, a := range open {
		s.interrupt(a)
		costs[k] = int64(a.Cost)
	}
}
