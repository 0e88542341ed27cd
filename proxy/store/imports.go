package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sluice/proxy/money"
)

// States of an import.
const (
	ImportRunning = "running"
	ImportDone    = "done"
)

// Import is what is known of taking over another system's data.
type Import struct {
	System     string                     // for example litellm
	Source     string                     // where it was taken from, without secrets
	State      string                     // ImportRunning or ImportDone
	Run        int64                      // the first one is 1
	Cursors    map[string]json.RawMessage // source table: the last key that was taken
	Report     json.RawMessage            // an object; nil: none yet
	StartedAt  time.Time
	UpdatedAt  time.Time // the store fills it in
	FinishedAt *time.Time
}

// Import reads what is known of the import from a system, ErrNotFound where
// there was none.
func (s *Store) Import(ctx context.Context, system string) (*Import, error) {
	return readImport(ctx, s.db, system)
}

// Import is the same inside a transaction.
func (t *Tx) Import(system string) (*Import, error) { return readImport(t.ctx, t.tx, system) }

func readImport(ctx context.Context, db querier, system string) (*Import, error) {
	var out *Import
	err := db.query(ctx, `SELECT system, source, state, run, cursors, report, started_at, updated_at, finished_at
		FROM sluice.imports WHERE system = $1`, []any{system}, func(scan func(...any) error) error {
		i := &Import{}
		var cursors json.RawMessage
		err := scan(&i.System, &i.Source, &i.State, &i.Run, &letters{&cursors}, &letters{&i.Report},
			&moment{&i.StartedAt}, &moment{&i.UpdatedAt}, &maybeMoment{&i.FinishedAt})
		if err == nil {
			err = json.Unmarshal(cursors, &i.Cursors)
		}
		out = i
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the import from %s: %w", system, err)
	}
	if out == nil {
		return nil, fmt.Errorf("import from %s: %w", system, ErrNotFound)
	}
	return out, nil
}

// SaveImport writes how far an import is. It commits with what was taken.
func (t *Tx) SaveImport(i Import) error {
	cursors := i.Cursors
	if cursors == nil {
		cursors = map[string]json.RawMessage{}
	}
	text, err := json.Marshal(cursors)
	if err != nil {
		return fmt.Errorf("write the import from %s: %w", i.System, err)
	}
	report := i.Report
	if report == nil {
		report = json.RawMessage("{}")
	}
	d := t.tx.dialect()
	finished, err := d.value(i.FinishedAt, false)
	if err != nil {
		return err
	}
	_, err = t.tx.exec(t.ctx, `INSERT INTO sluice.imports (system, source, state, run, cursors, report, started_at, updated_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (system) DO UPDATE SET source = excluded.source, state = excluded.state,
		run = excluded.run, cursors = excluded.cursors, report = excluded.report, started_at = excluded.started_at,
		updated_at = excluded.updated_at, finished_at = excluded.finished_at`,
		[]any{i.System, i.Source, i.State, i.Run, string(text), string(report), d.time(i.StartedAt), d.time(t.now), finished})
	if err != nil {
		return fmt.Errorf("write the import from %s: %w", i.System, err)
	}
	return nil
}

// Document is a row of another system that is kept to the letter.
type Document struct {
	ID   string // its primary key, unique in its table
	JSON []byte
}

// mostRows is how many rows one statement writes.
const mostRows = 1000

// TakeDocuments keeps rows of a table of another system. One that is there is
// replaced.
func (t *Tx) TakeDocuments(source string, documents []Document) error {
	for part := range slices.Chunk(documents, mostRows) {
		b := &bulk{names: []string{"source_table", "object_id", "document"}, sorts: []sort{asText, asText, asLetters}}
		for i := range part {
			if err := checkDocument("document", string(part[i].JSON)); err != nil {
				return fmt.Errorf("%s %s: %w", source, part[i].ID, err)
			}
			b.add(source, part[i].ID, string(part[i].JSON))
		}
		if _, err := b.put(t, "sluice.imported_documents", false, "source_table", "object_id"); err != nil {
			return err
		}
	}
	return nil
}

// DailySpend is what an entity used on a day before the import.
type DailySpend struct {
	EntityType string // user, team, organization, customer, agent or tag
	RowID      string // of the source's row; unique with EntityType
	EntityID   string // "": nobody
	Day        string // YYYY-MM-DD
	Token      string // digest of the key
	Model      string
	ModelGroup string
	Provider   string
	Endpoint   string
	Tool       string

	PromptTokens, CompletionTokens, CacheReadTokens, CacheWriteTokens int64

	Spend                                        money.Nano
	Requests, SuccessfulRequests, FailedRequests int64
}

// TakeDaily writes daily sums. One that is there is replaced.
func (t *Tx) TakeDaily(rows []DailySpend) error {
	for part := range slices.Chunk(rows, mostRows) {
		b := &bulk{
			names: []string{
				"entity_type", "row_id", "entity_id", "day", "token", "model", "model_group", "provider", "endpoint", "tool",
				"prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens", "spend", "requests", "successful_requests",
				"failed_requests",
			},
			sorts: []sort{
				asText, asText, asText, asDate, asText, asText, asText, asText, asText, asText,
				asInt, asInt, asInt, asInt, asInt, asInt, asInt, asInt,
			},
		}
		for i := range part {
			r := &part[i]
			b.add(r.EntityType, r.RowID, r.EntityID, r.Day, r.Token, r.Model, r.ModelGroup, r.Provider, r.Endpoint, r.Tool,
				r.PromptTokens, r.CompletionTokens, r.CacheReadTokens, r.CacheWriteTokens, int64(r.Spend), r.Requests, r.SuccessfulRequests,
				r.FailedRequests)
		}
		if _, err := b.put(t, "sluice.historic_daily_spend", false, "entity_type", "row_id"); err != nil {
			return err
		}
	}
	return nil
}

// BudgetWindow is what was spent in the window of a budget that is running, or
// was when it was taken over.
type BudgetWindow struct {
	EntityType string
	EntityID   string
	Duration   string // as budgets say it, for example 30d
	Start      time.Time
	Spend      money.Nano
}

// TakeWindows writes budget windows. One that is there is replaced.
func (t *Tx) TakeWindows(rows []BudgetWindow) error {
	for part := range slices.Chunk(rows, mostRows) {
		b := &bulk{
			names: []string{"entity_type", "entity_id", "window_duration", "window_start", "spend"},
			sorts: []sort{asText, asText, asText, asTime, asInt},
		}
		for i := range part {
			r := &part[i]
			b.add(r.EntityType, r.EntityID, r.Duration, t.tx.dialect().time(r.Start), int64(r.Spend))
		}
		if _, err := b.put(t, "sluice.budget_windows", false, "entity_type", "entity_id", "window_duration"); err != nil {
			return err
		}
	}
	return nil
}
