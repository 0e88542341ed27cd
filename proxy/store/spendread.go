package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/money"
)

// SpendRow is a row of the spend table as it is read.
type SpendRow struct {
	SpendLog
	ProjectID string
	Sequence  int64 // in the host's journals
}

// SpendScope says whose spend somebody may see: rows that belong to one of what
// is named. Nothing named is nothing seen.
type SpendScope struct {
	UserID        string
	Teams         []string // whoever's the rows are
	TeamsNobody   []string // rows without a user
	Organizations []string
}

// SpendKey is the place of a row in the order of the table.
type SpendKey struct {
	RequestID [16]byte
	Attempt   int64
}

// SpendFilter names rows of the spend table. All that is given has to hold; what
// is empty is not asked for. Rows that are kept only to count once are never
// among them.
type SpendFilter struct {
	From, To time.Time // of the start of the attempt: From ≤ start < To
	Scope    *SpendScope

	RequestID                                                  *[16]byte
	Token, UserID, TeamID, EndUser, CallID, SessionID          string
	Model, ModelID, ProviderModel, Provider, ProviderRequestID string

	Attempted bool // not those that were refused before any provider was called

	Tokens      []string // nil: of all keys
	Status      string   // success, or failure for all others
	HTTPStatus  int64
	CacheHit    *bool
	Least, Most *money.Nano // of the cost

	Sort   string    // "" by request: the order in which they were admitted; cost, total_tokens, started_at, ended_at, provider_model, SortDuration, SortFirstByte
	Oldest bool      // the first ones first
	After  *SpendKey // behind this row, in the order of requests
	Limit  int       // 0: all
	Offset int
}

// How long attempts took, and how long they took to their first byte: those that
// have none come last.
const (
	SortDuration  = "ended_at - started_at"
	SortFirstByte = "first_byte_at - started_at"
)

var spendOrders = map[string]bool{
	"cost": true, "total_tokens": true, "started_at": true, "ended_at": true, "provider_model": true, SortDuration: true, SortFirstByte: true,
}

// readable are rows that say who called what.
const readable = "call_type <> ''"

// EachSpend calls fn with each row that the filter names, one after the other,
// and keeps none of them: fn may keep what it is given. An error of fn ends the
// reading and is returned as it is. A range of time is a range of the primary
// key: rows outside of it are not read.
func (s *Store) EachSpend(ctx context.Context, f SpendFilter, fn func(r *SpendRow) error) error {
	b := &builder{d: s.db.dialect()}
	b.add("SELECT ", strings.Join(spendNames, ", "), ", project_id, sequence FROM sluice.spend WHERE ")
	if err := f.write(b); err != nil {
		return err
	}
	direction := " DESC"
	if f.Oldest {
		direction = ""
	}
	b.add(" ORDER BY ")
	if f.Sort != "" {
		if !spendOrders[f.Sort] {
			return fmt.Errorf("rows of spend cannot be sorted by %q", f.Sort)
		}
		b.add(f.Sort, direction, " NULLS LAST, ")
	}
	b.add("request_id", direction, ", attempt", direction)
	if err := b.page(f.Limit, f.Offset); err != nil {
		return err
	}
	var stopped error
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		r := &SpendRow{}
		if err := scan(r.into()...); err != nil {
			return err
		}
		stopped = fn(r)
		return stopped
	})
	if err != nil && stopped == nil {
		return fmt.Errorf("read rows of spend: %w", err)
	}
	return stopped
}

// CountSpend counts rows that the filter names, at most so many.
func (s *Store) CountSpend(ctx context.Context, f SpendFilter, most int) (int, error) {
	b := &builder{d: s.db.dialect()}
	b.add("SELECT COUNT(*) FROM (SELECT 1 AS one FROM sluice.spend WHERE ")
	if err := f.write(b); err != nil {
		return 0, err
	}
	if err := b.page(most, 0); err != nil {
		return 0, err
	}
	b.add(") AS x")
	var n int64
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error { return scan(&n) })
	if err != nil {
		return 0, fmt.Errorf("count rows of spend: %w", err)
	}
	return int(n), nil
}

// into are the places that the columns of EachSpend are read into.
func (r *SpendRow) into() []any {
	raw := func(to *[]byte) any { return &letters{(*json.RawMessage)(to)} }
	return []any{
		&uuid{&r.RequestID}, &r.Attempt, &r.Status, &r.HTTPStatus, &r.ErrorKind, &r.CallType, &destination{to: &r.Streamed}, &moment{&r.StartedAt},
		&maybeMoment{&r.FirstByteAt}, &moment{&r.EndedAt}, &r.Token, &r.UserID, &r.TeamID, &r.OrganizationID, &r.EndUser, &r.Model, &r.ModelID,
		&r.Provider, &r.ProviderModel, &r.ProviderRequestID, &r.CallID, &r.SessionID, &r.PromptTokens, &r.CompletionTokens, &r.TotalTokens,
		&r.CacheReadTokens, &r.CacheWriteTokens, &r.ReasoningTokens, raw(&r.UsageDetail), &destination{to: &r.Estimated}, (*int64)(&r.Cost),
		&r.PriceVersion, &destination{to: &r.CacheHit}, &r.ClientAddress, &r.Host, raw(&r.Tags), raw(&r.Metadata), &r.ProjectID, &r.Sequence,
	}
}

// uuid takes an id of either database.
type uuid struct{ to *[16]byte }

// Scan implements sql.Scanner.
func (u *uuid) Scan(src any) error {
	raw := bytesOf(src)
	if len(raw) == 36 {
		out, err := hex.DecodeString(strings.ReplaceAll(string(raw), "-", ""))
		if err != nil {
			return fmt.Errorf("read an id: %w", err)
		}
		raw = out
	}
	if len(raw) != len(u.to) {
		return fmt.Errorf("an id has %d bytes", len(raw))
	}
	copy(u.to[:], raw)
	return nil
}

// bound adds an argument as it is.
func (b *builder) bound(v any) {
	b.args = append(b.args, v)
	b.add("$", strconv.Itoa(len(b.args)))
}

// write writes the conditions of a filter.
func (f *SpendFilter) write(b *builder) error {
	b.add(readable)
	f.writeRange(b)
	for _, c := range []struct{ column, value string }{
		{"token", f.Token},
		{"user_id", f.UserID},
		{"team_id", f.TeamID},
		{"end_user", f.EndUser},
		{"call_id", f.CallID},
		{"session_id", f.SessionID},
		{"model", f.Model},
		{"model_id", f.ModelID},
		{"provider_model", f.ProviderModel},
		{"provider", f.Provider},
		{"provider_request_id", f.ProviderRequestID},
	} {
		if c.value == "" {
			continue
		}
		b.add(" AND ", c.column, " = ")
		if err := b.bind(c.value); err != nil {
			return err
		}
	}
	if f.Tokens != nil {
		b.add(" AND token")
		if err := b.among(f.Tokens); err != nil {
			return err
		}
	}
	switch f.Status {
	case "":
	case "success":
		b.add(" AND status = 'success'")
	default:
		b.add(" AND status <> 'success'")
	}
	if f.Attempted {
		b.add(" AND status <> 'rejected'")
	}
	if f.HTTPStatus != 0 {
		b.add(" AND http_status = ")
		b.bound(f.HTTPStatus)
	}
	if f.CacheHit != nil {
		b.add(" AND cache_hit = ")
		b.bound(b.d.bool(*f.CacheHit))
	}
	if f.Least != nil {
		b.add(" AND cost >= ")
		b.bound(int64(*f.Least))
	}
	if f.Most != nil {
		b.add(" AND cost <= ")
		b.bound(int64(*f.Most))
	}
	if f.Scope != nil {
		b.add(" AND ")
		return f.Scope.write(b)
	}
	return nil
}

// writeRange writes what bounds the part of the table that is read.
func (f *SpendFilter) writeRange(b *builder) {
	if f.RequestID != nil {
		b.add(" AND request_id = ")
		b.bound(b.d.id(f.RequestID[:]))
	}
	if !f.From.IsZero() {
		b.add(" AND request_id >= ")
		b.bound(b.d.id(idAt(f.From.Add(-longestAdmitted))))
		b.add(" AND started_at >= ")
		b.bound(b.d.time(f.From))
	}
	if !f.To.IsZero() {
		b.add(" AND request_id < ")
		b.bound(b.d.id(idAt(f.To.Add(longestAdmitted))))
		b.add(" AND started_at < ")
		b.bound(b.d.time(f.To))
	}
	if f.After != nil {
		b.add(" AND (request_id, attempt) ")
		if f.Oldest {
			b.add("> (")
		} else {
			b.add("< (")
		}
		b.bound(b.d.id(f.After.RequestID[:]))
		b.add(", ")
		b.bound(f.After.Attempt)
		b.add(")")
	}
}

// write writes the condition that a row of spend or daily_spend is seen.
func (s *SpendScope) write(b *builder) error {
	b.add("(1 = 0")
	if s.UserID != "" {
		b.add(" OR user_id = ")
		if err := b.bind(s.UserID); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		condition string
		values    []string
		end       string
	}{
		{" OR team_id", s.Teams, ""},
		{" OR (user_id = '' AND team_id", s.TeamsNobody, ")"},
		{" OR organization_id", s.Organizations, ""},
		{" OR team_id IN (SELECT team_id FROM sluice.teams WHERE organization_id", s.Organizations, ")"},
	} {
		if len(c.values) == 0 {
			continue
		}
		b.add(c.condition)
		if err := b.among(c.values); err != nil {
			return err
		}
		b.add(c.end)
	}
	b.add(")")
	return nil
}

// BodyOf reads what was kept of a request and its answer: nil where nothing was.
func (s *Store) BodyOf(ctx context.Context, key SpendKey) (*SpendBody, error) {
	var out *SpendBody
	err := s.db.query(ctx, "SELECT messages, response, metadata FROM sluice.spend_bodies WHERE request_id = $1 AND attempt = $2",
		[]any{s.db.dialect().id(key.RequestID[:]), key.Attempt}, func(scan func(...any) error) error {
			out = &SpendBody{RequestID: key.RequestID, Attempt: key.Attempt}
			return scan(&letters{(*json.RawMessage)(&out.Messages)}, &letters{(*json.RawMessage)(&out.Response)},
				&letters{(*json.RawMessage)(&out.Metadata)})
		})
	if err != nil {
		return nil, fmt.Errorf("read what was kept of a request: %w", err)
	}
	return out, nil
}
