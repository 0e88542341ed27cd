package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// lookAtTarget finds out whether an earlier import goes on, the next one begins
// or the first one, and whether the ring fits the database.
func (r *run) lookAtTarget(ctx context.Context) error {
	if err := r.fitRing(ctx); err != nil {
		return err
	}
	earlier, err := r.o.Store.Import(ctx, System)
	switch {
	case errors.Is(err, store.ErrNotFound):
		r.imported = store.Import{System: System, Run: 1, StartedAt: r.report.Started}
		if err := r.empty(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	case earlier.State == store.ImportRunning && earlier.Source == r.src.name:
		if err := r.goOn(earlier); err != nil {
			return err
		}
	default:
		r.imported = store.Import{System: System, Run: earlier.Run + 1, StartedAt: r.report.Started}
	}
	r.imported.Source, r.report.Run = r.src.name, r.imported.Run
	return nil
}

// goOn takes up the cursors and the report of a run that was stopped.
func (r *run) goOn(earlier *store.Import) error {
	r.imported = *earlier
	for table, text := range earlier.Cursors {
		var at cursor
		if err := json.Unmarshal(text, &at); err != nil {
			return fmt.Errorf("read the cursor of %s in sluice.imports: %w", table, err)
		}
		r.cursors[table] = at
	}
	var report Report
	if err := json.Unmarshal(earlier.Report, &report); err != nil {
		return fmt.Errorf("read the report in sluice.imports: %w", err)
	}
	report.Goes++
	report.AbsentTables, report.AbsentColumns, report.UnknownTables = nil, nil, nil
	report.DryRun, report.Started = r.o.DryRun, earlier.StartedAt
	r.report, r.sealed = &report, report.Sealed
	r.o.Log.Info("an import that was stopped goes on", slog.Int64("rows", report.Total().Rows))
	return nil
}

// fitRing seals with the key that all hosts seal with, and refuses a ring that
// cannot open what the database holds.
func (r *run) fitRing(ctx context.Context) error {
	promoted, err := r.o.Store.SealingKey(ctx)
	if err != nil {
		return err
	}
	rows, err := r.o.Store.SealedRows(ctx)
	if err != nil {
		return err
	}
	for id, kinds := range rows {
		if !r.o.Ring.Has(id) {
			return refuse("the database holds secrets (%s) that were sealed with key %s, which is not among those given: set LITELLM_SALT_KEY or SLUICE_KEYRING_FILE as the proxy has it",
				store.Rows(kinds), id)
		}
	}
	if promoted == "" {
		return nil
	}
	ring, ok := r.o.Ring.Writing(promoted)
	if !ok {
		return refuse("the database is sealed with key %s, which is not among those given: set LITELLM_SALT_KEY or SLUICE_KEYRING_FILE as the proxy has it", promoted)
	}
	r.o.Ring, r.c.Ring = ring, ring
	return nil
}

// empty refuses a database that has objects of its own: they might be others'
// of the same names. Whoever knows better says so.
func (r *run) empty(ctx context.Context) error {
	if r.o.Merge {
		return nil
	}
	kinds, err := ownObjects(ctx, r.o.Store)
	if err != nil || len(kinds) == 0 {
		return err
	}
	return refuse("the database that is imported into has objects of its own already (of the kinds %v) and was never imported into: --merge imports beside them and leaves them as they are", kinds)
}

// ownObjects are the kinds of which a database has objects.
func ownObjects(ctx context.Context, s *store.Store) (kinds []identity.Kind, err error) {
	for _, look := range []func(context.Context, *store.Store) (identity.Kind, bool, error){
		has[identity.Key], has[identity.User], has[identity.Team], has[identity.Organization], has[identity.Project], has[identity.EndUser],
		has[identity.Budget], has[identity.Tag], has[identity.AccessGroup], has[identity.Model], has[identity.Credential],
		has[identity.ConfigItem], has[identity.JWTMapping],
	} {
		kind, some, err := look(ctx, s)
		if err != nil {
			return nil, err
		}
		if some {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

func has[T any, P interface {
	*T
	identity.Object
}](ctx context.Context, s *store.Store) (identity.Kind, bool, error) {
	found, err := store.Find[T, P](ctx, s, store.Query{Limit: 1})
	return P(nil).Kind(), len(found) > 0, err
}

// due says whether an automatic import is to happen: LiteLLM's keys are there
// and were never imported, or not to the end.
func due(ctx context.Context, src *source, o Options) (bool, error) {
	if !src.isLiteLLM() {
		return false, nil
	}
	var keys bool
	if err := src.tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM "LiteLLM_VerificationToken")`).Scan(&keys); err != nil {
		return false, classify("look for LiteLLM's keys", err)
	}
	if !keys {
		return false, nil
	}
	earlier, err := o.Store.Import(ctx, System)
	switch {
	case err == nil:
		return earlier.State != store.ImportDone, nil
	case !errors.Is(err, store.ErrNotFound):
		return false, err
	}
	kinds, err := ownObjects(ctx, o.Store)
	if err == nil && len(kinds) > 0 {
		names := make([]string, len(kinds))
		for i, k := range kinds {
			names[i] = k.String()
		}
		o.Log.Warn("the database holds LiteLLM's keys, and objects of our own: nothing is imported by itself; `migrator import litellm --merge` imports beside them, SLUICE_IMPORT=off ends this warning",
			slog.Any("own_objects", names))
		return false, nil
	}
	return err == nil, err
}

// absent notes an optional table that the source does not have.
func (r *Report) absent(table string) {
	if !slices.Contains(r.AbsentTables, table) {
		r.AbsentTables = append(r.AbsentTables, table)
	}
}

func (r *Report) unknown(table string) {
	r.UnknownTables = append(r.UnknownTables, table)
	slices.Sort(r.UnknownTables)
}

// Due says whether a database holds LiteLLM's keys that were never imported, or
// not to the end. It is a quick look before anything is prepared.
func Due(ctx context.Context, o Options) (bool, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	src, err := openSource(ctx, o.Source)
	if err != nil {
		return false, err
	}
	defer src.close(ctx)
	return due(ctx, src, o)
}
