// Package store keeps the identity data in PostgreSQL or SQLite: one engine over
// the tags of package identity, so that a new noun is a struct and a migration.
// Every write is a change: it takes its number under a lock that is held to the
// commit, and its audit row commits with it.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"sluice/internal/postgres"
	"sluice/proxy/bill"
	"sluice/proxy/identity"
)

// Errors that callers act on.
var (
	ErrNotFound = errors.New("no such object")
	ErrExists   = errors.New("it exists already") // a key or a unique column is taken
	ErrAway     = errors.New("the database is not available")
	ErrInvalid  = errors.New("the value cannot be stored")
	ErrNone     = errors.New("no database is configured")
)

// Config says which database, and how it is used.
type Config struct {
	Postgres *postgres.Source // nil: the SQLite file
	SQLite   string           // path
	Pool     int              // connections at most; 0: the URL's connection_limit, or 10
	Wait     time.Duration    // for a free connection; 0: the URL's pool_timeout, or 60 s
	Idle     time.Duration    // a connection that nobody used for so long is closed; 0: 60 s
	Options  postgres.Options // timeouts of 0 are the defaults of this package
	Host     string           // of this machine, for audit rows
	Log      *slog.Logger
	// Committed is told of every change of this process after its commit and
	// before Change returns.
	Committed func([]Changed)
	// Chain returns the key that the record of changes is chained under now, and
	// the id of the sealing key that it is derived from. An error refuses the
	// change. nil: rows stay without a code.
	Chain func() (id string, key [32]byte, err error)
	Now   func() time.Time // nil: time.Now
}

// Changed is one changed object, by kind and the key that the store knows it by.
type Changed struct {
	Number int64
	Kind   identity.Kind
	ID     string // the parts of a longer key are joined by "/"
}

// Store is the identity data. It is safe for concurrent use. It connects at the
// first use: a database that is away does not keep a worker from starting.
type Store struct {
	c  Config
	db database

	// leases is the way to the database for who waits for a lease: on PostgreSQL a
	// part of the pool's connections, that lookups and changes do not use.
	leases database

	slim slimPass      // of DeleteSpend
	vain atomic.Bool   // the last lookup found no key
	saw  atomic.Uint64 // times that SawHost has written

	// unlocked takes numbers without the lock, as a sequence would. Only a test
	// sets it, to see that it finds what goes wrong then.
	unlocked func(ctx context.Context) (int64, error)
}

// Open makes a store. It connects to nothing yet.
func Open(c Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{c: c}
	var err error
	switch {
	case c.Postgres != nil:
		s.db, s.leases, err = openPools(c)
	case c.SQLite != "":
		s.db, err = openSQLite(c)
		s.leases = s.db
	default:
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends all connections.
func (s *Store) Close() {
	s.db.close()
	if s.leases != s.db {
		s.leases.close()
	}
}

// Reached tells the store that the database answers others of this host: what is
// asked next is not held back because of an earlier failure.
func (s *Store) Reached() {
	s.db.reached()
	s.leases.reached()
}

// Listen calls notify once it has begun to listen, and then as soon as any
// process of any host has changed something. It holds one connection of its own
// and returns when that breaks, or with ErrNone where the database, or a pooler
// before it, cannot notify: then only polling helps.
func (s *Store) Listen(ctx context.Context, notify func()) error { return s.db.listen(ctx, notify) }

// Away is true for errors that mean that the database cannot answer now, and
// that trying again later may help.
func Away(err error) bool { return errors.Is(err, ErrAway) }

// Reader is what can be read from: the store, or a transaction.
type Reader interface {
	reader() querier
}

func (s *Store) reader() querier { return s.db }

// querier is one way to the database. SQL is written for PostgreSQL: tables in
// the schema sluice, parameters as $1.
type querier interface {
	// query calls each for every row, with the function that scans it.
	query(ctx context.Context, sql string, args []any, each func(scan func(dest ...any) error) error) error
	exec(ctx context.Context, sql string, args []any) (rows int64, err error)
	// dialect converts what differs between the two databases.
	dialect() dialect
}

// database is a pool of connections.
type database interface {
	querier
	// begin starts a transaction that writes.
	begin(ctx context.Context) (transaction, error)
	// ship starts a transaction that ships, beside those that begin starts.
	ship(ctx context.Context) (shipping, error)
	// lease grants parts of budgets, all in one transaction.
	lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error)
	// batch runs queries together, on PostgreSQL in one round trip; planned
	// ones keep their plans, for two statements more at the server.
	batch(ctx context.Context, statements []statement, planned bool) error
	// listen calls notify when it has begun to listen and after every change of
	// any process. It returns when the connection breaks or ctx ends.
	listen(ctx context.Context, notify func()) error
	// reached ends a pause after failed attempts to connect.
	reached()
	close()
}

type transaction interface {
	querier
	commit(ctx context.Context) error
	rollback()
}

// pointer is a pointer to an object.
type pointer[T any] interface {
	*T
	identity.Object
}

// Get reads one object by its key, in the order of its key columns.
func Get[T any, P pointer[T]](ctx context.Context, r Reader, key ...any) (*T, error) {
	m := mapped(P(nil).Kind())
	if len(key) != len(m.keys) {
		return nil, fmt.Errorf("%s has a key of %d columns, not %d", m.kind, len(m.keys), len(key))
	}
	where := make([]Cond, len(key))
	for i, c := range m.keys {
		where[i] = Eq(c.name, key[i])
	}
	found, err := Find[T, P](ctx, r, Query{Where: where, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s %v: %w", m.kind, key, ErrNotFound)
	}
	return found[0], nil
}

// One reads the first object that meets the conditions.
func One[T any, P pointer[T]](ctx context.Context, r Reader, where ...Cond) (*T, error) {
	found, err := Find[T, P](ctx, r, Query{Where: where, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", P(nil).Kind(), ErrNotFound)
	}
	return found[0], nil
}

// Find reads the objects that a query names. Objects are the caller's.
func Find[T any, P pointer[T]](ctx context.Context, r Reader, q Query) ([]*T, error) {
	m := mapped(P(nil).Kind())
	db := r.reader()
	sql, args, err := m.selects(db.dialect(), q, m.columnList())
	if err != nil {
		return nil, err
	}
	var out []*T
	err = db.query(ctx, sql, args, collect[T, P](&out))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m.kind.Table(), err)
	}
	if tx, ok := r.(*Tx); ok {
		for _, o := range out {
			tx.saw(m, P(o))
		}
	}
	return out, nil
}

// Count counts the objects that meet the query's conditions.
func Count[T any, P pointer[T]](ctx context.Context, r Reader, where ...Cond) (int, error) {
	m := mapped(P(nil).Kind())
	db := r.reader()
	sql, args, err := m.selects(db.dialect(), Query{Where: where, unordered: true}, "count(*)")
	if err != nil {
		return 0, err
	}
	var n int64
	err = db.query(ctx, sql, args, func(scan func(...any) error) error { return scan(&n) })
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", m.kind.Table(), err)
	}
	return int(n), nil
}
