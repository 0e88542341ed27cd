// Package importer moves what a LiteLLM database holds into one of ours. It
// reads one snapshot of the source, page by page, has package litellm say what
// the rows mean, and writes them in batches: each is one change with one row in
// the record and the place from which the next run goes on. LiteLLM's tables
// are only read.
//
// A run that was killed goes on where the last batch ended, over a new snapshot:
// what the source changed meanwhile in rows that had come over stays as it was
// then until the next import. After an import is done the next one starts from
// the beginning: rows that were not changed here since are overwritten, others
// are kept and reported, deleted ones stay deleted.
package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/migrator/litellm"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// System names LiteLLM in the tables of imports.
const System = "litellm"

// Actor is who the record says has changed something here.
const Actor = "sluice-migrator"

// Options say what is imported, into what and how.
type Options struct {
	Source *postgres.Source // its Schema is where LiteLLM's tables are
	Store  *store.Store     // nil in a dry run into a database that is not migrated
	// Target or SQLite is the database of Store, for the lock that lets one
	// import go on at a time.
	Target *postgres.Source
	SQLite string

	Ring    *seal.Ring   // seals what is stored
	OldSalt []env.Secret // what LiteLLM may have encrypted with, beside the ring's

	DryRun bool // everything but writing
	Merge  bool // into a database that has objects of its own
	// LeaveUnreadable leaves out, and reports, what is encrypted with a key that
	// nobody has any more, instead of refusing to import.
	LeaveUnreadable bool
	SpendLogsSince  time.Time // zero: rows of single calls are not taken

	// Wait is how long to wait for another import; negative: until it has ended.
	Wait time.Duration
	// Automatic imports happen at a start: only where Due says so under the lock.
	Automatic bool

	Log      *slog.Logger
	Progress io.Writer            // a terminal, nil for none
	Told     func(rows, of int64) // of all tables together, now and then; nil for nobody

	// stop is called inside each change, after the rows of a batch were written,
	// and again when it is committed. Tests stop there.
	stop func(committed bool) error
}

// Run imports. The report is there, as far as the import came, also with an
// error. It is nil, without an error, where an automatic import is not due.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Target != nil || o.SQLite != "" {
		release, err := lock(ctx, o.Target, o.SQLite, o.Wait, o.Log)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	src, err := openSource(ctx, o.Source)
	if err != nil {
		return nil, err
	}
	defer src.close(ctx)
	if o.Automatic {
		if wanted, err := due(ctx, src, o); err != nil || !wanted {
			return nil, err
		}
	}
	r, err := newRun(ctx, src, o)
	if err != nil {
		return nil, err
	}
	defer r.progress.end()
	err = r.all(ctx)
	r.countSealed()
	r.report.Ended = time.Now().UTC()
	if err != nil && ctx.Err() != nil {
		err = tryAgain("stopped after %d of about %d rows; the same command goes on from there", r.written, r.of)
	}
	return r.report, err
}

// run is one run of an import.
type run struct {
	o        Options
	src      *source
	tables   []litellm.Table
	c        *litellm.Converter
	batch    *batch
	imported store.Import
	cursors  map[string]cursor
	report   *Report
	progress *progress
	done, of int64 // rows of all tables
	written  int64 // of them, up to the last batch
	sealed   Sealed
}

// cursor is how far a table has come over.
type cursor struct {
	After []string `json:"after,omitempty"` // primary key of the last row
	Done  bool     `json:"done,omitempty"`
}

// newRun looks at both sides and refuses what cannot be imported. It writes
// nothing.
func newRun(ctx context.Context, src *source, o Options) (*run, error) {
	r := &run{o: o, src: src, tables: litellm.Tables(), cursors: map[string]cursor{}}
	r.progress = &progress{terminal: o.Progress, log: o.Log, now: time.Now}
	if o.Told != nil {
		r.progress.told = func(s Step) { o.Told(r.done, r.of) }
	}
	if err := src.check(ctx, r.tables); err != nil {
		return nil, err
	}
	opener, err := newOpener(o)
	if err != nil {
		return nil, err
	}
	r.c = &litellm.Converter{Open: opener.open, Ring: o.Ring, Now: time.Now().UTC(), Columns: src.have}
	r.report = &Report{System: System, Source: src.name, DryRun: o.DryRun, Run: 1, Goes: 1, Started: time.Now().UTC()}
	if o.Store != nil {
		if err := r.lookAtTarget(ctx); err != nil {
			return nil, err
		}
	}
	return r, r.count(ctx)
}

// count writes into the report what there is and what there is not.
func (r *run) count(ctx context.Context) error {
	known := map[string]bool{history: true}
	for _, t := range r.tables {
		known[t.Reads()] = true
		c := r.report.table(t.Name)
		c.Left, c.Opaque = r.left(&t), t.Opaque
		if r.src.have[t.Reads()] == nil {
			if t.Reads() != history {
				r.report.absent(t.Reads())
			}
			c.Left = "the source does not have it"
			continue
		}
		if column := r.src.lacks(&t); column != "" && c.Left == "" {
			c.Left = "the source lacks its column " + column
		}
		for _, column := range t.Absent(r.src.have) {
			r.report.AbsentColumns = append(r.report.AbsentColumns, t.Name+"."+column)
		}
		var err error
		if c.About, err = r.src.about(ctx, t.Reads()); err != nil {
			return err
		}
		if c.Left == "" {
			if t.Source == "" { // other readings of a table bring few of its rows
				r.of += max(c.About, 0)
			}
			r.done += c.Rows
			r.written = r.done
		}
	}
	for table := range r.src.have {
		if !known[table] {
			r.report.unknown(table)
		}
	}
	return nil
}

// left says why a table is not taken, "" where it is.
func (r *run) left(t *litellm.Table) string {
	if t.Left == "" && t.Since != "" && r.o.SpendLogsSince.IsZero() {
		return "single calls are taken only with --spend-logs-since"
	}
	return t.Left
}

// where is a condition on the rows of a table.
func (r *run) where(t *litellm.Table) string {
	if t.Since == "" {
		return ""
	}
	return `t."` + t.Since + `" >= '` + r.o.SpendLogsSince.UTC().Format("2006-01-02 15:04:05.999999") + `'`
}

// all does everything in its order.
func (r *run) all(ctx context.Context) error {
	if err := r.tryKeys(ctx); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	r.o.Log.Info("importing", slog.String("from", r.src.name), slog.Int64("rows_about", r.of), slog.Bool("dry_run", r.o.DryRun))
	for i := range r.tables {
		t := &r.tables[i]
		if r.report.table(t.Name).Left != "" || r.cursors[t.Name].Done {
			continue
		}
		if err := r.take(ctx, t); err != nil {
			return err
		}
	}
	return r.end(ctx)
}

// take imports one table.
func (r *run) take(ctx context.Context, t *litellm.Table) error {
	c := r.report.table(t.Name)
	at := r.cursors[t.Name]
	r.progress.start(t.Name, c.Rows, c.About)
	r.batch = newBatch(r, t)
	r.c.Sink = r.batch
	err := r.read(ctx, t, at.After, func(rows []row) error {
		for _, one := range rows {
			if err := r.batch.row(one); err != nil {
				return err
			}
			if r.batch.full() {
				if err := r.flush(ctx, false); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.flush(ctx, true)
}

// read hands over all rows of a table after a key. The next chunk is read while
// one is being written.
func (r *run) read(ctx context.Context, t *litellm.Table, after []string, each func([]row) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunks := make(chan []row) // holds none: what is read and not used is one chunk
	result := make(chan error, 1)
	go func() { // ends with the table, or with ctx
		defer close(chunks)
		for {
			n, err := r.src.page(ctx, *t, r.where(t), after, func(rows []row) error {
				after = rows[len(rows)-1].key
				select {
				case chunks <- rows:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
			if err != nil || n < pageRows {
				result <- err
				return
			}
		}
	}()
	var failed error
	for rows := range chunks {
		if failed == nil {
			if failed = lost(ctx); failed == nil {
				failed = each(rows)
			}
			if failed != nil {
				cancel(failed)
			}
		}
	}
	if err := <-result; failed == nil {
		failed = err
	}
	return failed
}

// begin notes that an import has begun, or goes on.
func (r *run) begin(ctx context.Context) error {
	if r.o.Store == nil || r.o.DryRun {
		return nil
	}
	if _, err := r.o.Store.ChainUp(ctx); err != nil {
		return fmt.Errorf("chain the record of changes: %w", err)
	}
	r.imported.State = store.ImportRunning
	return r.save(ctx, nil)
}

// save writes the row of the import, with what else is to be written in the
// same change.
func (r *run) save(ctx context.Context, write func(tx *store.Tx) error) error {
	// What is told to stop ends after the batch: half of it would be lost work.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTime)
	defer cancel()
	return r.o.Store.Change(ctx, store.Actor{User: Actor, Reason: "import from LiteLLM"}, func(tx *store.Tx) error {
		if write != nil {
			if err := write(tx); err != nil {
				return err
			}
		}
		r.imported.Cursors = make(map[string]json.RawMessage, len(r.cursors))
		for table, at := range r.cursors {
			text, err := json.Marshal(at)
			if err != nil {
				return fmt.Errorf("write the cursor of %s: %w", table, err)
			}
			r.imported.Cursors[table] = text
		}
		r.countSealed()
		text, err := json.Marshal(r.report)
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		r.imported.Report = text
		return tx.SaveImport(r.imported)
	})
}

// batchTime bounds the writing of one batch.
const batchTime = 2 * time.Minute

// end notes that everything has come over.
func (r *run) end(ctx context.Context) error {
	r.report.Ended = time.Now().UTC()
	if r.o.Store == nil || r.o.DryRun {
		return nil
	}
	if err := lost(ctx); err != nil {
		return err
	}
	r.imported.State = store.ImportDone
	finished := time.Now().UTC()
	r.imported.FinishedAt = &finished
	sum := r.report.Total()
	err := r.save(ctx, func(tx *store.Tx) error {
		return tx.Note(store.Imported, identity.KindImport, System+"/"+strconv.FormatInt(r.report.Run, 10), nil, map[string]any{
			"source": r.src.name, "rows": sum.Rows, "new": sum.New, "replaced": sum.Replaced, "same": sum.Same,
			"kept": sum.Kept, "deleted_here": sum.Deleted, "other": sum.Other,
		})
	})
	if err != nil {
		return err
	}
	r.o.Log.Info("import is done", slog.Int64("rows", sum.Rows), slog.Int64("new", sum.New), slog.Int64("replaced", sum.Replaced),
		slog.Int64("kept", sum.Kept), slog.Float64("seconds", r.report.Ended.Sub(r.report.Started).Seconds()))
	return nil
}

// errDry ends a change of a dry run: what it wrote is rolled back.
var errDry = errors.New("a dry run")
