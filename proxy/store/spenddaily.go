package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/money"
)

// Dimensions that sums by day can be grouped by.
const (
	ByDay      = "day"
	ByEntity   = "entity" // what DailyFilter.Entity names
	ByUser     = "user_id"
	ByToken    = "token"
	ByGroup    = "model_group"
	ByModel    = "model" // of the provider
	ByProvider = "provider"
	ByEndpoint = "endpoint"
)

// Entities that sums by day are kept for.
const (
	EntityUser         = "user"
	EntityTeam         = "team"
	EntityOrganization = "organization"
	EntityCustomer     = "customer"
	EntityTag          = "tag"
)

// DailyFilter names sums by day. Those of attempts of this gateway are added to
// those that came from another system; no call is in both. The sums of a tag or
// a customer are of calls that had one: a call with two tags is in the sums of
// each.
type DailyFilter struct {
	From, To string // days (UTC), both included, as 2026-11-21
	Entity   string // "" is user: every call is in the sums of users
	IDs      []string
	Not      []string
	Token    string
	Model    string // group, or model of the provider
	Scope    *SpendScope

	// Named leaves out what has no entity: calls without a team, and so on. Keyed
	// leaves out what has no key.
	Named, Keyed bool
	// Apart are the keys that ByToken tells from each other; those of all others
	// are summed up under "". nil: all.
	Apart []string

	By        []string
	MostFirst bool // by what was spent; else the newest day first, then by By
	Limit     int
	Offset    int
}

// DailySum is one sum. What it is not grouped by is empty. Of sums that came from
// another system nobody knows the user, but those of users.
type DailySum struct {
	Day, Entity, User, Token, ModelGroup, Model, Provider, Endpoint string

	PromptTokens, CompletionTokens, CacheReadTokens, CacheWriteTokens int64

	Spend                        money.Nano
	Requests, Successful, Failed int64
}

// TotalTokens are those of prompts and completions.
func (d *DailySum) TotalTokens() int64 { return d.PromptTokens + d.CompletionTokens }

// dailyDimensions are the columns of ByDay and so on, in the order in which they
// are read and sorted.
var dailyDimensions = []string{ByDay, ByEntity, ByUser, ByToken, ByGroup, ByModel, ByProvider, ByEndpoint}

const dailyCounters = "prompt_tokens, completion_tokens, cache_read_tokens, cache_write_tokens, spend, requests, successful_requests, failed_requests"

// DailySums reads sums by day, and how many there are beside Limit and Offset.
func (s *Store) DailySums(ctx context.Context, f DailyFilter) (sums []DailySum, total int, err error) {
	b := &builder{d: s.db.dialect()}
	if err := f.write(b); err != nil {
		return nil, 0, err
	}
	var n int64
	err = s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		var d DailySum
		err := scan(&d.Day, &d.Entity, &d.User, &d.Token, &d.ModelGroup, &d.Model, &d.Provider, &d.Endpoint, &d.PromptTokens, &d.CompletionTokens,
			&d.CacheReadTokens, &d.CacheWriteTokens, (*int64)(&d.Spend), &d.Requests, &d.Successful, &d.Failed, &n)
		sums = append(sums, d)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read sums by day: %w", err)
	}
	if len(sums) == 0 && f.Offset > 0 { // behind the last page nothing says how many there are
		f.Offset, f.Limit = 0, 1
		_, total, err = s.DailySums(ctx, f)
		return nil, total, err
	}
	return sums, int(n), nil
}

// write writes the statement.
func (f *DailyFilter) write(b *builder) error {
	var by []string
	b.add("SELECT ")
	for _, d := range dailyDimensions {
		if slices.Contains(f.By, d) {
			by = append(by, d)
			b.add(d, ", ")
		} else {
			b.add("'', ")
		}
	}
	for _, c := range strings.Split(dailyCounters, ", ") {
		b.add("CAST(SUM(", c, ") AS BIGINT) AS ", c, ", ")
	}
	b.add("COUNT(*) OVER () FROM (")
	if err := f.writeOwn(b); err != nil {
		return err
	}
	b.add(" UNION ALL ")
	if err := f.writeHistoric(b); err != nil {
		return err
	}
	b.add(") AS x")
	if len(by) == 0 {
		b.add(" HAVING COUNT(*) > 0")
		return nil
	}
	b.add(" GROUP BY ", strings.Join(by, ", "), " ORDER BY ")
	if f.MostFirst {
		b.add("spend DESC, ", strings.Join(by, ", "))
	} else {
		if by[0] == ByDay {
			by[0] = "day DESC"
		}
		b.add(strings.Join(by, ", "))
	}
	return b.page(f.Limit, f.Offset)
}

// entity is the column of daily_spend that f.Entity names, and the entity_type
// of its rows.
func (f *DailyFilter) entity() (column, kind string, err error) {
	switch f.Entity {
	case "", EntityUser:
		return "user_id", "", nil
	case EntityTeam:
		return "team_id", "", nil
	case EntityOrganization:
		return "organization_id", "", nil
	case EntityCustomer, EntityTag:
		return "entity_id", f.Entity, nil
	default:
		return "", "", fmt.Errorf("there are no sums by day of %q", f.Entity)
	}
}

// token writes the key that a sum is of, as far as it is told apart.
func (f *DailyFilter) token(b *builder) error {
	if f.Apart == nil {
		b.add("token")
		return nil
	}
	b.add("CASE WHEN token")
	if err := b.among(f.Apart); err != nil {
		return err
	}
	b.add(" THEN token ELSE '' END")
	return nil
}

// writeOwn reads the sums of this gateway.
func (f *DailyFilter) writeOwn(b *builder) error {
	column, kind, err := f.entity()
	if err != nil {
		return err
	}
	day := "day"
	if !b.d.sqlite {
		day = "to_char(day, 'YYYY-MM-DD') AS day"
	}
	b.add("SELECT ", day, ", ", column, " AS entity, user_id, ")
	if err := f.token(b); err != nil {
		return err
	}
	b.add(" AS token, model_group, model, provider, endpoint, ", dailyCounters, " FROM sluice.daily_spend WHERE entity_type = '", kind, "'")
	if err := f.conditions(b, column); err != nil {
		return err
	}
	if f.Scope != nil {
		b.add(" AND ")
		return f.Scope.short().write(b)
	}
	return nil
}

// short is the scope of the names that sums by day have.
func (s *SpendScope) short() *SpendScope {
	return &SpendScope{UserID: short(s.UserID), Teams: shorts(s.Teams), TeamsNobody: shorts(s.TeamsNobody), Organizations: shorts(s.Organizations)}
}

// writeHistoric reads the sums of another system, which knows each of its rows
// to be of one entity alone.
func (f *DailyFilter) writeHistoric(b *builder) error {
	kind, user, columns := f.Entity, "''", "model_group, model, provider, endpoint"
	if kind == "" {
		kind = EntityUser
	}
	if kind == EntityUser {
		user = "entity_id"
	}
	day := "day"
	if !b.d.sqlite { // two collations cannot be told apart after a UNION
		day = "to_char(day, 'YYYY-MM-DD')"
		columns = `model_group COLLATE "C", model COLLATE "C", provider COLLATE "C", endpoint COLLATE "C"`
	}
	b.add("SELECT ", day, ", entity_id, ", user, ", ")
	if err := f.token(b); err != nil {
		return err
	}
	b.add(", ", columns, ", ", dailyCounters, " FROM sluice.historic_daily_spend WHERE entity_type = '", kind, "'")
	if err := f.conditions(b, "entity_id"); err != nil {
		return err
	}
	if f.Scope == nil {
		return nil
	}
	var seen []string
	switch kind {
	case EntityUser:
		seen = []string{f.Scope.UserID}
		if f.Scope.UserID == "" {
			seen = nil
		}
	case EntityTeam:
		seen = f.Scope.Teams
	case EntityOrganization:
		seen = f.Scope.Organizations
	}
	b.add(" AND entity_id")
	return b.among(seen)
}

// conditions writes what both tables are asked for.
func (f *DailyFilter) conditions(b *builder, entity string) error {
	for _, c := range []struct{ operator, day string }{{" >= ", f.From}, {" <= ", f.To}} {
		b.add(" AND day", c.operator)
		if !b.d.sqlite {
			b.add("CAST(CAST(")
		}
		b.bound(c.day)
		if !b.d.sqlite {
			b.add(" AS TEXT) AS DATE)")
		}
	}
	if f.Named {
		b.add(" AND ", entity, " <> ''")
	}
	if f.Keyed {
		b.add(" AND token <> ''")
	}
	if f.IDs != nil {
		b.add(" AND ", entity)
		if err := b.among(shorts(f.IDs)); err != nil {
			return err
		}
	}
	if len(f.Not) > 0 {
		b.add(" AND NOT (", entity)
		if err := b.among(shorts(f.Not)); err != nil {
			return err
		}
		b.add(")")
	}
	if f.Token != "" {
		b.add(" AND token = ")
		if err := b.bind(f.Token); err != nil {
			return err
		}
	}
	if f.Model != "" {
		model := short(f.Model)
		b.add(" AND (model_group = ")
		if err := b.bind(model); err != nil {
			return err
		}
		b.add(" OR model = ")
		if err := b.bind(model); err != nil {
			return err
		}
		b.add(")")
	}
	return nil
}

// shorts are ids as sums by day have them.
func shorts(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = short(id)
	}
	return out
}
