package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"sluice/internal/postgres"
	"sluice/migrator/schema"
)

const (
	// lockID is the advisory lock of our migrations: "sluice" as a number, away
	// from goose's own and from Prisma's 72707369.
	lockID = 0x736c75696365
	// oldestServer is the oldest PostgreSQL that is served, in the form of
	// server_version_num: gen_random_uuid is built in from 13.
	oldestServer = 130000
	// lockTimeout bounds the wait for one table: whoever waits longer keeps
	// every later reader of that table waiting behind it.
	lockTimeout      = 2 * time.Second
	statementTimeout = 10 * time.Minute
)

// versionTable is where goose keeps the applied versions.
const versionTable = schema.Name + "." + schema.VersionTable

func settings(o Options) postgres.Options {
	return postgres.Options{
		Application: "sluice-migrator", ConnectTimeout: o.Connect,
		StatementTimeout: statementTimeout, LockTimeout: lockTimeout,
	}
}

func postgresFiles() (fs.FS, []file, error) {
	dir, err := fs.Sub(schema.Postgres, "postgres")
	if err != nil {
		return nil, nil, err
	}
	files, err := list(dir)
	return dir, files, err
}

func lookPostgres(ctx context.Context, src *postgres.Source, o Options) (State, error) {
	conn, err := postgres.Open(ctx, src, settings(o))
	if err != nil {
		return State{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return readPostgres(ctx, conn)
}

// readPostgres checks the server, then what is applied.
func readPostgres(ctx context.Context, conn *pgx.Conn) (State, error) {
	_, files, err := postgresFiles()
	if err != nil {
		return State{}, err
	}
	var number int
	var version string
	var exists bool
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		to_regclass($1) IS NOT NULL`, versionTable).Scan(&number, &version, &exists)
	if err != nil {
		return State{}, fmt.Errorf("ask for the server's version: %w", err)
	}
	if number < oldestServer {
		return State{}, &problem{
			class: Config, err: fmt.Errorf("PostgreSQL %s is too old", version), advice: "13 or newer is needed",
		}
	}
	if !exists {
		return merge(files, nil, nil), nil
	}
	rows, err := conn.Query(ctx, `SELECT version_id, max(tstamp AT TIME ZONE 'UTC') FROM `+versionTable+
		` WHERE is_applied AND version_id > 0 GROUP BY version_id ORDER BY version_id`)
	if err != nil {
		return State{}, fmt.Errorf("read applied migrations: %w", err)
	}
	applied, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Step, error) {
		var s Step
		return s, row.Scan(&s.Version, &s.Applied)
	})
	if err != nil {
		return State{}, fmt.Errorf("read applied migrations: %w", err)
	}
	recorded, err := readSums(ctx, conn)
	if err != nil {
		return State{}, err
	}
	return merge(files, applied, recorded), compare(files, recorded)
}

func readSums(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	sums := map[string]string{}
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, schema.Name+".meta").Scan(&exists); err != nil || !exists {
		return sums, err
	}
	rows, err := conn.Query(ctx, `SELECT name, value FROM `+schema.Name+`.meta WHERE name LIKE 'migration\_%'`)
	if err != nil {
		return nil, fmt.Errorf("read digests of migrations: %w", err)
	}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		sums[name] = value
		return nil
	})
	return sums, err
}

func upPostgres(ctx context.Context, src *postgres.Source, o Options) (State, error) {
	deadline := time.Now().Add(o.Wait)
	for try := 0; ; try++ {
		state, err := tryPostgres(ctx, src, o, deadline)
		if err == nil || postgres.Classify(err) != postgres.Busy || time.Now().After(deadline) {
			return state, err
		}
		o.Log.Warn("a lock is in the way, trying again", slog.Int("attempt", try+1), slog.String("error", err.Error()))
		if err := pause(ctx, time.Second/2+rand.N(time.Second)); err != nil {
			return state, err
		}
	}
}

// tryPostgres looks, applies what is pending, and sees to the workers' rights.
func tryPostgres(ctx context.Context, src *postgres.Source, o Options, deadline time.Time) (State, error) {
	conn, err := postgres.Open(ctx, src, settings(o))
	if err != nil {
		return State{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	state, err := readPostgres(ctx, conn)
	if err != nil {
		return state, err
	}
	if state.Pending() > 0 || state.unrecorded {
		if state, err = applyPostgres(ctx, conn, state, o, deadline); err != nil {
			return state, err
		}
	}
	if o.Workers == "" {
		return state, nil
	}
	return state, grant(ctx, conn, o, deadline)
}

// applyPostgres applies what is pending under the lock, and looks again.
func applyPostgres(ctx context.Context, conn *pgx.Conn, state State, o Options, deadline time.Time) (State, error) {
	if err := lock(ctx, conn, o, deadline); err != nil {
		return state, err
	}
	dir, files, err := postgresFiles()
	if err != nil {
		return state, err
	}
	db := stdlib.OpenDB(*conn.Config())
	defer func() { _ = db.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true))
	if err != nil {
		return state, fmt.Errorf("read migrations: %w", err)
	}
	if err := apply(ctx, provider, o); err != nil {
		return state, err
	}
	for _, f := range files {
		if _, err := conn.Exec(ctx, `INSERT INTO `+schema.Name+`.meta (name, value, updated_at)
			VALUES ($1, $2, now()) ON CONFLICT (name) DO NOTHING`, f.key(), f.sum); err != nil {
			return state, fmt.Errorf("record digest of %s: %w", f.name, err)
		}
	}
	return readPostgres(ctx, conn)
}

// lock takes the advisory lock for the session and makes the schema under it:
// CREATE SCHEMA IF NOT EXISTS fails when two sessions run it at once. It is not
// given to goose, which looks for pending files, and makes its version table,
// before it would take it. The lock ends with the session, also when this
// process is killed.
func lock(ctx context.Context, conn *pgx.Conn, o Options, deadline time.Time) error {
	start, told := time.Now(), false
	for {
		var locked bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", o.LockID).Scan(&locked); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if locked {
			return makeSchema(ctx, conn)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w, waited %s", errBusy, time.Since(start).Round(time.Second))
		}
		if !told {
			told = true
			o.Log.Info("another migrator is at work, waiting")
		}
		if err := pause(ctx, 50*time.Millisecond+rand.N(150*time.Millisecond)); err != nil {
			return err
		}
	}
}

// makeSchema asks first: IF NOT EXISTS needs the right to create even where the
// schema exists.
func makeSchema(ctx context.Context, conn *pgx.Conn) error {
	var exists bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", schema.Name).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE SCHEMA "+schema.Name)
	}
	if err != nil {
		return fmt.Errorf("make schema %s: %w", schema.Name, err)
	}
	return nil
}

// pause waits, or returns early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
