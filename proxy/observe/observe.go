// Package observe looks at what the appliance depends on, the database, its
// schema and Redis, once a second and once for the whole host: the workers
// take turns by one word of the host table, and write what they see into it.
// healthd reads it there.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"sluice/internal/postgres"
	"sluice/migrator/schema"
	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

const (
	every   = time.Duration(fleet.ObservationFresh)
	patient = 2 * time.Second // for one answer of a dependency
	keep    = 10 * time.Second
	fresh   = 5 * time.Second // an observation counts for so long for who was not there
)

// Config says what there is to observe.
type Config struct {
	Postgres *postgres.Source // nil: the SQLite file
	SQLite   string           // path; empty and no Postgres: no database
	Redis    redis.Config     // without addresses: not configured
	// NeedsDatabase makes readiness wait, at the first start, until the
	// database was seen once.
	NeedsDatabase bool
}

// database is how one kind of database is looked at.
type database interface {
	// look returns the schema version and whether the database answers.
	look(ctx context.Context) (version uint32, state fleet.Dependency)
	// close gives up what look keeps open.
	close()
}

// Observer is one worker's part in the observation. Run and WaitSchema are
// never called at the same time.
type Observer struct {
	table *fleet.Table
	log   *slog.Logger
	db    database
	redis *cache
}

// New makes an observer; it starts nothing.
func New(table *fleet.Table, c Config, log *slog.Logger) *Observer {
	o := &Observer{table: table, log: log, redis: &cache{config: c.Redis}}
	o.db = newDatabase(c)
	h := table.Header()
	h.SchemaWant.Store(schema.Version)
	if c.NeedsDatabase {
		h.NeedsDatabase.Store(1)
	} else {
		h.NeedsDatabase.Store(0)
	}
	return o
}

func newDatabase(c Config) database {
	switch {
	case c.Postgres != nil:
		return &server{source: c.Postgres}
	case c.SQLite != "":
		return file(c.SQLite)
	default:
		return nothing{}
	}
}

// nothing is a machine without a database.
type nothing struct{}

func (nothing) look(context.Context) (uint32, fleet.Dependency) { return 0, fleet.DependencyAbsent }
func (nothing) close()                                          {}

// Run takes this worker's turns until ctx ends, then closes its connections.
func (o *Observer) Run(ctx context.Context) {
	defer o.close()
	t := time.NewTimer(0)
	defer t.Stop()
	next := &o.table.Header().ObserveNext
	lastTurn := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now, due := fleet.Now(), next.Load()
		// The claim is for as long as both dependencies may keep us waiting.
		mine := now >= due && next.CompareAndSwap(due, now+int64(2*patient))
		if mine {
			o.observe(ctx)
			next.Store(now + int64(every))
			lastTurn = time.Now()
		} else if time.Since(lastTurn) > keep {
			o.close()
		}
		wait := time.Duration(next.Load() - fleet.Now())
		if !mine { // whoever had the last turn has the connection open: it goes first
			wait += 50*time.Millisecond + rand.N(100*time.Millisecond)
		}
		t.Reset(max(wait, 10*time.Millisecond))
	}
}

// observe looks at everything and writes it down.
func (o *Observer) observe(ctx context.Context) {
	h := o.table.Header()
	version, db := o.db.look(ctx)
	if ctx.Err() != nil {
		return // a stop is no observation
	}
	o.changed("database", fleet.Dependency(h.Database.Swap(uint32(db))), db)
	if db == fleet.DependencyConnected {
		h.Schema.Store(version)
		h.DatabaseUp.Store(1)
	}
	r := o.redis.look(ctx)
	if ctx.Err() != nil {
		return
	}
	o.changed("redis", fleet.Dependency(h.Redis.Swap(uint32(r))), r)
	h.SchemaWant.Store(schema.Version)
	h.ObservedAt.Store(fleet.Now())
}

// changed says once what became of a dependency.
func (o *Observer) changed(what string, before, now fleet.Dependency) {
	if before == now || now == fleet.DependencyAbsent {
		return
	}
	switch now {
	case fleet.DependencyConnected:
		o.log.Info("dependency is there", slog.String("dependency", what))
	case fleet.DependencyUnsupported:
		o.log.Error("dependency is too old and not used", slog.String("dependency", what), slog.String("error", o.reason(what)))
	case fleet.DependencyUnusable:
		o.log.Error("dependency refuses what is needed of it and is not used", slog.String("dependency", what), slog.String("error", o.reason(what)))
	default:
		o.log.Error("dependency is away", slog.String("dependency", what), slog.String("error", o.reason(what)))
	}
}

// reason is the last error of a dependency; it holds no secrets.
func (o *Observer) reason(what string) string {
	var err error
	if what == "redis" {
		err = o.redis.err
	} else if s, ok := o.db.(*server); ok {
		err = s.err
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func (o *Observer) close() {
	o.db.close()
	o.redis.close()
}

// ErrAway means that the database does not answer.
var ErrAway = errors.New("the database is away")

// WaitSchema returns nil when the schema is one that this release can work
// with; newer ones are. It waits while the database answers with an older one,
// until ctx ends, and returns ErrAway at once when it does not answer, or was
// just seen not to: whether to serve without it is the caller's decision.
func (o *Observer) WaitSchema(ctx context.Context) error {
	if h := o.table.Header(); fleet.Dependency(h.Database.Load()) == fleet.DependencyDown && fleet.Since(h.ObservedAt.Load()) < fresh {
		return fmt.Errorf("%w: this host has just seen it", ErrAway)
	}
	told := false
	for {
		version, state := o.db.look(ctx)
		switch {
		case state == fleet.DependencyAbsent, state == fleet.DependencyConnected && version >= schema.Minimum:
			return nil
		case state != fleet.DependencyConnected:
			if err := ctx.Err(); err != nil {
				return err
			}
			return fmt.Errorf("%w: %s", ErrAway, o.reason("database"))
		}
		if !told {
			told = true
			o.log.Warn("waiting for the schema", slog.Uint64("have", uint64(version)), slog.Uint64("want", schema.Minimum))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for schema %d, the database has %d: %w", schema.Minimum, version, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
