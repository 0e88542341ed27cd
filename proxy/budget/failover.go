package budget

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// A server that takes over from another one may lack its last commits: leases
// that hosts hold, and rows of what they have spent. It grants too much until it
// has these rows again, so a host that sees it asks for nothing until its own are
// there, and leaves the others some time.
const (
	settleAfter = 5 * time.Second  // that nothing is leased at least, unless Config says otherwise
	settleMost  = 75 * time.Second // and at most: a ledger with nothing to ship looks each minute
)

// errTookOver is why nothing is leased for a while.
var errTookOver = errors.New("another server has taken over: what it may lack of this host's spend is shipped first")

// historyTag is the record that says which history of the database this host
// has leased under. Its words, beside the one that keeps it:
//
//	3  a digest of its name, 0: nobody has asked
//	4  Now at which it was seen to have changed, 0: nothing is held back
var historyTag = Tag(bill.KindNone, "history", "")

const (
	wordHistory = wordRoom
	wordChanged = wordSpent
)

// own says whether a record is none of a budget.
func own(tag uint64) bool { return tag == allowanceTag || tag == historyTag }

// history is the record of historyTag; nil where there is no room for it.
func (b *Budgets) history() *fleet.Record {
	r, shared := b.bank.FindAt(historyTag, fleet.Now())
	if shared {
		return nil
	}
	r.Words[wordLeased].CompareAndSwap(0, 1)
	return r
}

// remember asks the database for the name of its history, and takes back what it
// does not know of when that is another one than this host has leased under.
func (b *Budgets) remember(ctx context.Context) error {
	if b.c.History == nil {
		return nil
	}
	name, err := b.c.History(ctx)
	r := b.history()
	if err != nil || name == "" || r == nil {
		return err
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	is := max(h.Sum64(), 1)
	was := r.Words[wordHistory].Load()
	if was == is {
		return nil
	}
	if was != 0 { // held before anybody can take the new name for the old one
		r.Words[wordChanged].Store(uint64(fleet.Now()))
	}
	if !r.Words[wordHistory].CompareAndSwap(was, is) || was == 0 {
		return nil
	}
	b.c.Log.Warn("another server has taken over the database: nothing is leased until what it may lack is shipped", slog.String("history", name))
	return b.disown(ctx)
}

// held says whether nothing may be leased now.
func (b *Budgets) held() bool {
	if b.c.History == nil {
		return false
	}
	r := b.bank.Peek(historyTag)
	if r == nil {
		return false
	}
	since, now := int64(r.Words[wordChanged].Load()), fleet.Now()
	if since == 0 {
		return false
	}
	waited := time.Duration(now - since)
	if waited < b.c.Settle || waited < settleMost && b.c.Shipped() <= since {
		return true
	}
	if r.Words[wordChanged].CompareAndSwap(uint64(since), 0) && waited >= settleMost {
		b.c.Log.Warn("budgets are leased again although this host's journals are not known to be in the database", slog.Duration("after", waited))
	}
	return false
}

// disown takes back what is available of leases that the database does not know
// of. What attempts have claimed of them is in flight, and stays.
func (b *Budgets) disown(ctx context.Context) error {
	known := map[uint64]money.Nano{}
	for after := (bill.Lease{}); ; {
		page, err := b.c.Leaser.Leases(ctx, b.holder, 0, after, pageOf)
		if err != nil {
			return err
		}
		for i := range page {
			l := &page[i]
			known[Tag(l.Kind, l.ID, l.Window)] = l.Amount
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1]
	}
	b.bank.Each(func(tag uint64, r *fleet.Record) {
		a := account{r}
		if own(tag) {
			return
		}
		// No lock: whoever leases waits for this. What another process was granted a
		// moment ago may be taken back too; it is found again as an idle rest.
		if beyond := a.available() - known[tag]; beyond > 0 && r.Is(tag) {
			a.add(-beyond)
			b.c.Metrics.forgotten.Inc()
		}
	})
	return nil
}
