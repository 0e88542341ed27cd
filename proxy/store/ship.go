package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sluice/internal/postgres"
	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// ErrMoved refuses a batch: a segment was read up to another place than the
// batch begins at. The database has lost commits, or somebody else ships the
// same segment. Cursors says where to go on.
var ErrMoved = errors.New("the journal was read up to another place than this")

// Batch is what one transaction of the ledger writes: rows that are not there
// yet, and of those alone all sums.
type Batch struct {
	Host    string // id of the host that ships
	Rows    []*bill.Attempt
	Prices  []PriceVersion // of the rows, where they are known
	Bodies  []SpendBody
	Cursors []Cursor

	// Slim keeps nothing of a row but what makes it count once: see docs/ledger.md
	// on disable_spend_logs.
	Slim bool
	// Uncounted leaves the spend of keys, users and so on and the sums by day as
	// they are (disable_spend_updates). Windows and leases of budgets are kept:
	// without them a lease would never end.
	Uncounted bool

	apart bool // some rows are there already: which ones is asked for
}

// PriceVersion is a price that rows were computed with.
type PriceVersion struct {
	Version  int64
	Document []byte // JSON
}

// SpendBody is what was kept of a request and its answer: JSON texts, nil for
// none.
type SpendBody struct {
	RequestID                    [16]byte
	Attempt                      int64
	Messages, Response, Metadata []byte
}

// Cursor says that a segment was read from an offset to another one. From is 0
// where nothing of it was in the database.
type Cursor struct {
	Segment  string
	From, To int64
}

// Shipped is what a batch came to.
type Shipped struct {
	Inserted int        // rows that were not there yet
	Cost     money.Nano // of them
}

// Times of shipping.
const (
	shipTime  = 30 * time.Second // one batch, in all its tries
	shipLock  = 2 * time.Second  // for rows that a change or another host writes
	shipTries = 10               // a change of several objects locks them in its own order: one of the two is the victim
)

// Ship writes a batch in one transaction: its rows insert-if-absent by request
// id and attempt, the sums of those that were inserted, and how far the
// segments have been read. The same batch may be sent again whenever nobody
// knows what became of it: nothing counts twice.
//
// Rows that others write too are locked in one order by all, and last, so that
// a change of the management API waits for the end of the transaction at most.
// It does not take the lock on the change head, and never changes what an
// object is, only what it has spent.
//
// What was called with a key that has got another secret since belongs to the key
// that it became: such rows of the batch get its digest.
//
// ErrInvalid: a row that the database does not take; others of the batch may be.
func (s *Store) Ship(ctx context.Context, b *Batch) (Shipped, error) {
	ctx, cancel := context.WithTimeout(ctx, shipTime)
	defer cancel()
	for i := 1; ; i++ {
		out, err := s.shipOnce(ctx, b)
		if errors.Is(err, errApart) {
			apart := *b
			apart.apart = true
			out, err = s.shipOnce(ctx, &apart)
		}
		var keys *regenerated
		switch {
		case err == nil || i == shipTries:
			return out, err
		case errors.As(err, &keys):
			keys.rename(b)
			continue
		case !shipAgain(err):
			return out, err
		}
		if err := Pause(ctx, time.Duration(i)*20*time.Millisecond); err != nil {
			return Shipped{}, err
		}
	}
}

func (s *Store) shipOnce(ctx context.Context, b *Batch) (Shipped, error) {
	db, err := s.db.ship(ctx)
	if err != nil {
		return Shipped{}, fmt.Errorf("begin to ship: %w", err)
	}
	defer db.rollback() // does nothing after a commit
	inserted, err := db.rows(ctx, b)
	if err != nil {
		return Shipped{}, fmt.Errorf("ship rows: %w", err)
	}
	latest := int64(math.MaxInt64) // on PostgreSQL hosts go by its clock
	if s.db.dialect().sqlite {
		latest = s.c.Now().Add(time.Minute).Unix()
	}
	sums := newSums(b, inserted, latest)
	if err := db.sums(ctx, b, sums, s.c.Now()); err != nil {
		return Shipped{}, fmt.Errorf("ship sums: %w", err)
	}
	if err := present(ctx, db, sums); err != nil {
		return Shipped{}, err
	}
	if err := db.commit(ctx); err != nil {
		return Shipped{}, fmt.Errorf("commit what was shipped: %w", err)
	}
	return Shipped{Inserted: sums.rows, Cost: sums.cost}, nil
}

// shipping is a transaction that ships, on one of the databases.
type shipping interface {
	querier // that sees what was committed by now

	// rows compares the cursors, writes the rows, and says which of them were
	// not there yet.
	rows(ctx context.Context, b *Batch) (inserted []bool, err error)
	// sums writes everything else.
	sums(ctx context.Context, b *Batch, s *sums, now time.Time) error
	commit(ctx context.Context) error
	rollback()
}

// shipAgain is true for an error that the same batch may not meet again at once.
func shipAgain(err error) bool { return postgres.Classify(err) == postgres.Busy }

// compare says whether all segments were read up to where a batch begins.
func (b *Batch) compare(found map[string]int64) error {
	for _, c := range b.Cursors {
		if at := found[c.Segment]; at != c.From {
			return fmt.Errorf("%w: %s up to %d, not %d", ErrMoved, c.Segment, at, c.From)
		}
	}
	return nil
}

// Cursors are the offsets up to which the segments of a host have been read.
func (s *Store) Cursors(ctx context.Context, hostID string) (map[string]int64, error) {
	out := map[string]int64{}
	err := s.db.query(ctx, "SELECT segment, position FROM sluice.journal_cursors WHERE host_id = $1", []any{hostID},
		func(scan func(...any) error) error {
			var name string
			var at int64
			err := scan(&name, &at)
			out[name] = at
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read how far the journals have been shipped: %w", err)
	}
	return out, nil
}

// DropCursors forgets segments that are not there any more.
func (s *Store) DropCursors(ctx context.Context, segments []string) error {
	d := s.db.dialect()
	names, err := d.texts(segments)
	if err == nil {
		_, err = s.db.exec(ctx, "DELETE FROM sluice.journal_cursors WHERE segment IN ("+d.list("$1")+")", []any{names})
	}
	if err != nil {
		return fmt.Errorf("forget the cursors of journals: %w", err)
	}
	return nil
}
