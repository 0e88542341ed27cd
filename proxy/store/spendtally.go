package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Columns that rows of spend can be counted by.
const (
	TallyDay           = "day" // of the start of the attempt (UTC), as 2026-11-21
	TallyToken         = "token"
	TallyCallType      = "call_type"
	TallyProviderModel = "provider_model"
	TallyModelID       = "model_id"
)

// SpendTally counts rows of spend that are alike in what they were counted by.
// What they were not counted by is empty.
type SpendTally struct {
	Day, Token, CallType, ProviderModel, ModelID string

	Rows, CacheHits, Failed int64
	CachedTokens            int64 // of completions that a cache gave
	GeneratedTokens         int64 // of the others
}

// tallyColumns are what Tally reads, in the order in which it sorts.
var tallyColumns = []string{TallyDay, TallyToken, TallyCallType, TallyProviderModel, TallyModelID}

// Tally counts the rows that the filter names by some of their columns, at most
// f.Limit groups, in the order of the columns. Sort, After and Offset mean
// nothing here. It reads every row of the period: nothing else says which calls
// were hits, or failed by which status.
func (s *Store) Tally(ctx context.Context, f SpendFilter, by ...string) ([]SpendTally, error) {
	b := &builder{d: s.db.dialect()}
	b.add("SELECT ")
	var groups []string
	for i, c := range tallyColumns {
		if !slices.Contains(by, c) {
			b.add("'', ")
			continue
		}
		groups = append(groups, fmt.Sprint(i+1))
		if c == TallyDay {
			c = s.startDay()
		}
		b.add(c, ", ")
	}
	if len(groups) == 0 || len(groups) != len(by) {
		return nil, fmt.Errorf("rows of spend cannot be counted by %q", by)
	}
	hit, failed := "cache_hit", "status <> 'success'"
	sum := func(value, when string) string {
		return "CAST(COALESCE(SUM(CASE WHEN " + when + " THEN " + value + " ELSE 0 END), 0) AS BIGINT)"
	}
	b.add("COUNT(*), ", sum("1", hit), ", ", sum("1", failed), ", ", sum("completion_tokens", hit), ", ", sum("completion_tokens", "NOT "+hit),
		" FROM sluice.spend WHERE ")
	if err := f.write(b); err != nil {
		return nil, err
	}
	b.add(" GROUP BY ", strings.Join(groups, ", "), " ORDER BY ", strings.Join(groups, ", "))
	if err := b.page(f.Limit, 0); err != nil {
		return nil, err
	}
	var out []SpendTally
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		var t SpendTally
		err := scan(&t.Day, &t.Token, &t.CallType, &t.ProviderModel, &t.ModelID, &t.Rows, &t.CacheHits, &t.Failed, &t.CachedTokens, &t.GeneratedTokens)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count rows of spend: %w", err)
	}
	return out, nil
}

// startDay is the day of started_at as a text.
func (s *Store) startDay() string {
	if s.db.dialect().sqlite {
		return "date(started_at / 1000000, 'unixepoch')"
	}
	return "to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
}
