// Package migrate brings a database to this release's schema, once, however
// many ask for it at the same time: goose applies each file in one transaction
// with its version row, under an advisory lock on PostgreSQL and a lock file
// beside the database on SQLite. Killed at any point, the next run goes on
// where the last committed file ended.
//
// As `prisma migrate deploy` does, it applies what is pending and nothing else:
// no drift check, no reset, no shadow database; versions that a newer release
// applied are no error. Only a file that differs from the one that was applied
// under its number is refused.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"

	"sluice/internal/postgres"
	"sluice/migrator/schema"
)

// Target is one database: PostgreSQL, or the path of a SQLite file where
// Postgres is nil.
type Target struct {
	Postgres *postgres.Source
	SQLite   string
}

// String names the target without secrets.
func (t Target) String() string {
	if t.Postgres != nil {
		return "PostgreSQL " + t.Postgres.String()
	}
	return "SQLite " + t.SQLite
}

// Options say how long to wait and where to report progress.
type Options struct {
	Log     *slog.Logger
	Wait    time.Duration // for another migrator, or for locks that others hold; 0 means 60 s
	Connect time.Duration // for the connection; 0 means the URL's, or 5 s
	LockID  int64         // of the advisory lock; 0 means ours
	Workers string        // role that the workers connect as; "": the one of this target, or not known
}

// Step is one migration file as the database knows it.
type Step struct {
	Version int64
	Name    string    // file name; empty for one of a newer release
	Applied time.Time // zero: pending
}

// State is what a database has and what this release wants.
type State struct {
	Have  int64 // newest applied version, 0 for an empty database
	Want  int64
	Steps []Step // in order of version

	unrecorded bool // a digest is missing: a run was killed just before it wrote it
}

// Pending is the number of files that are not applied yet.
func (s State) Pending() int {
	n := 0
	for _, step := range s.Steps {
		if step.Applied.IsZero() {
			n++
		}
	}
	return n
}

// Class is what an error means to whoever started the migrator.
type Class int

// Classes of errors.
const (
	Failed   Class = iota // the statement itself, or something unforeseen
	TryAgain              // database busy or away
	Config                // trying again does not help before a human has acted
)

// problem is an error whose class is known.
type problem struct {
	class  Class
	err    error
	advice string
}

func (p *problem) Error() string {
	if p.advice == "" {
		return p.err.Error()
	}
	return p.err.Error() + ": " + p.advice
}

func (p *problem) Unwrap() error { return p.err }

// ClassOf says what an error of Up or Look means.
func ClassOf(err error) Class {
	var p *problem
	if errors.As(err, &p) {
		return p.class
	}
	return Failed
}

// errBusy means that another migrator or a foreign lock was in the way for the
// whole of Options.Wait.
var errBusy = errors.New("another migrator is at work")

// Up applies what is pending, gives the role of the workers its rights where it
// is another one, and returns the state afterwards. With nothing pending it
// takes no lock and writes nothing.
func Up(ctx context.Context, t Target, o Options) (State, error) {
	o = o.filled()
	var state State
	var err error
	if t.Postgres != nil {
		state, err = upPostgres(ctx, t.Postgres, o)
	} else {
		state, err = upSQLite(ctx, t.SQLite, o)
	}
	return state, classify(t, err)
}

// Look reads the state and changes nothing.
func Look(ctx context.Context, t Target, o Options) (State, error) {
	o = o.filled()
	var state State
	var err error
	if t.Postgres != nil {
		state, err = lookPostgres(ctx, t.Postgres, o)
	} else {
		state, err = lookSQLite(ctx, t.SQLite)
	}
	return state, classify(t, err)
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Wait == 0 {
		o.Wait = time.Minute
	}
	if o.LockID == 0 {
		o.LockID = lockID
	}
	return o
}

// classify gives an error its class, once.
func classify(t Target, err error) error {
	var p *problem
	switch {
	case err == nil || errors.As(err, &p):
		return err
	case errors.Is(err, errBusy), errors.Is(err, context.Canceled):
		return &problem{class: TryAgain, err: fmt.Errorf("migrate %s: %w", t, err)}
	case t.Postgres == nil:
		return classifySQLite(t, err)
	}
	kind := postgres.Classify(err)
	class := Failed
	if kind.Temporary() {
		class = TryAgain
	} else if kind != postgres.Other {
		class = Config
	}
	return &problem{class: class, err: fmt.Errorf("%s: %w", kind, err), advice: kind.Advice()}
}

// apply runs the provider and says what it did.
func apply(ctx context.Context, p *goose.Provider, o Options) error {
	results, err := p.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
		err = fmt.Errorf("apply %s: %w", base(partial.Failed.Source.Path), partial.Err)
	}
	for _, r := range results {
		o.Log.Info("migration applied", slog.Int64("version", r.Source.Version),
			slog.String("file", base(r.Source.Path)), slog.Float64("duration_ms", millis(r.Duration)))
	}
	return err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// merge lays the applied rows over the files of this release.
func merge(files []file, applied []Step, recorded map[string]string) State {
	s := State{Want: schema.Version}
	at := map[int64]time.Time{}
	for _, a := range applied {
		s.Have = max(s.Have, a.Version)
		at[a.Version] = a.Applied
	}
	for _, f := range files {
		s.Steps = append(s.Steps, Step{Version: f.version, Name: f.name, Applied: at[f.version]})
		delete(at, f.version)
		s.unrecorded = s.unrecorded || recorded[f.key()] == ""
	}
	for _, a := range applied {
		if _, newer := at[a.Version]; newer {
			s.Steps = append(s.Steps, a)
		}
	}
	return s
}
