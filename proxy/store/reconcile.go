package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// Reconciling says what is compared.
type Reconciling struct {
	From, To time.Time // days (UTC), both included
	// Deep also compares what objects have spent with the rows of their window,
	// which reads all of these.
	Deep bool
	// MostRows leaves days out that have more rows; 0: none.
	MostRows int64
}

// Reconciled is what a comparison found.
type Reconciled struct {
	Days    int   // compared
	Skipped []Day // left out, and why
	Rows    int64 // that were added up
	Drift   money.Nano
	Places  []Drift // at most 100
}

// Day is a day that was not compared.
type Day struct {
	Day string // 2026-11-21
	Why string
}

// Drift is a sum that is not that of its rows.
type Drift struct {
	Where string // scope and id, day or window
	Is    money.Nano
	Rows  money.Nano // what the rows come to
	Count int64      // of requests: sum less rows
}

const mostDrifts = 100

func (r *Reconciled) add(d Drift) {
	diff := d.Is - d.Rows
	r.Drift += max(diff, -diff)
	if len(r.Places) < mostDrifts {
		r.Places = append(r.Places, d)
	}
}

// Reconcile compares sums with the rows that they are of: by day and by
// everything that daily_spend tells apart; what is leased of budgets with what
// hosts hold; windows of budgets with what their objects have spent; with Deep
// also what objects have spent with the rows of their window. Each comparison is
// one statement, so that what is shipped meanwhile is in both or in neither.
//
// Rows that came from another system are in no sum. Days of which rows have been
// deleted are left out, and objects whose spend somebody has set or that came
// from another system are in no deep comparison.
func (s *Store) Reconcile(ctx context.Context, what Reconciling) (Reconciled, error) {
	var out Reconciled
	from, err := s.comparable(ctx)
	if err != nil {
		return out, err
	}
	for day := what.From.UTC().Truncate(24 * time.Hour); !day.After(what.To.UTC()); day = day.Add(24 * time.Hour) {
		name := day.Format(time.DateOnly)
		if day.Before(from) {
			out.Skipped = append(out.Skipped, Day{name, "rows of it have been deleted"})
			continue
		}
		if what.MostRows > 0 {
			n, err := s.dayRows(ctx, name)
			if err != nil {
				return out, err
			}
			if n > what.MostRows {
				out.Skipped = append(out.Skipped, Day{name, fmt.Sprintf("it has %d rows", n)})
				continue
			}
		}
		if err := s.reconcileDay(ctx, day, &out); err != nil {
			return out, fmt.Errorf("compare the sums of %s: %w", name, err)
		}
		out.Days++
	}
	checks := []func(context.Context, *Reconciled) error{s.reconcileLeases, s.reconcileWindows}
	if what.Deep {
		checks = append(checks, func(ctx context.Context, r *Reconciled) error { return s.reconcileObjects(ctx, from, r) })
	}
	for _, check := range checks {
		if err := check(ctx, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// comparable is the first day of which all rows are there.
func (s *Store) comparable(ctx context.Context) (day time.Time, err error) {
	from, err := s.RowsFrom(ctx)
	return from.UTC().Add(24*time.Hour - 1).Truncate(24 * time.Hour), err
}

// RowsFrom is the time since which all rows are there, of those that began: what
// is older may have been deleted. Zero: nothing was.
func (s *Store) RowsFrom(ctx context.Context) (from time.Time, err error) {
	for _, name := range []string{metaRowsFrom, metaSlimFrom} {
		text, err := s.Meta(ctx, name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return from, err
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return from, fmt.Errorf("read meta %s: %w", name, err)
		}
		if at.After(from) {
			from = at
		}
	}
	return from, nil
}

func (s *Store) dayRows(ctx context.Context, day string) (n int64, err error) {
	err = s.db.query(ctx, "SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) FROM sluice.daily_spend WHERE entity_type = '' AND day = "+s.dayArgument(),
		[]any{day}, func(scan func(...any) error) error { return scan(&n) })
	return n, err
}

// dayArgument is $1 as a day.
func (s *Store) dayArgument() string {
	if s.db.dialect().sqlite {
		return "$1"
	}
	return "CAST(CAST($1 AS TEXT) AS DATE)"
}

// compared is both sides of a sum: 0 the rows, 1 the sum.
type compared struct{ cost, requests, tokens [2]int64 }

// A request may begin long after it was admitted, which is what its id says: an
// attempt after others.
const longestAdmitted = 6 * time.Hour

// reconcileDay compares one day. Rows that are kept without names count in the
// sum of the day alone.
func (s *Store) reconcileDay(ctx context.Context, day time.Time, out *Reconciled) error {
	d, next := s.db.dialect(), day.Add(24*time.Hour)
	args := []any{
		day.Format(time.DateOnly), d.id(idAt(day.Add(-longestAdmitted))), d.id(idAt(next.Add(longestAdmitted))), d.time(day), d.time(next),
	}
	const rows = " FROM sluice.spend WHERE request_id >= $2 AND request_id < $3 AND started_at >= $4 AND started_at < $5 AND host <> ''"
	tags, tag := "jsonb_array_elements_text(tags) AS t(tag)", "t.tag"
	if d.sqlite {
		tags, tag = "json_each(spend.tags) AS t", "t.value"
	}
	const counted = "cost, prompt_tokens, completion_tokens"
	tagged := " FROM (SELECT DISTINCT request_id, attempt, " + counted + ", " + tag + " AS tag" + fromTags(rows, tags) + ") AS x"
	const sums = "CAST(SUM(cost) AS BIGINT), COUNT(*), CAST(SUM(prompt_tokens + completion_tokens) AS BIGINT)"
	const days = "CAST(SUM(spend) AS BIGINT), CAST(SUM(requests) AS BIGINT), CAST(SUM(prompt_tokens + completion_tokens) AS BIGINT)" +
		" FROM sluice.daily_spend WHERE day = "
	const dims = "token, user_id, team_id, organization_id, project_id, "
	none := "'', '', '', '', '', '', '', '', '', "
	statement := "SELECT 0, '', '', " + dims + "model, provider_model, provider, call_type, " + sums + rows + " GROUP BY " + dims +
		"model, provider_model, provider, call_type" +
		" UNION ALL SELECT 1, '', '', " + dims + "model_group, model, provider, endpoint, " + days + s.dayArgument() + " AND entity_type = '' GROUP BY " +
		dims + "model_group, model, provider, endpoint" +
		" UNION ALL SELECT 0, 'customer', end_user, " + none + sums + rows + " AND end_user <> '' GROUP BY end_user" +
		" UNION ALL SELECT 0, 'tag', x.tag, " + none + sums + tagged + " GROUP BY x.tag" +
		" UNION ALL SELECT 1, entity_type, entity_id, " + none + days + s.dayArgument() + " AND entity_type <> '' GROUP BY entity_type, entity_id"
	sides, slim := map[dayKey]*compared{}, false
	err := s.db.query(ctx, statement, args, func(scan func(...any) error) error {
		var k dayKey
		var side, cost, requests, tokens int64
		err := scan(&side, &k.kind, &k.id, &k.token, &k.user, &k.team, &k.organization, &k.project, &k.group, &k.model, &k.provider, &k.endpoint,
			&cost, &requests, &tokens)
		if err != nil {
			return err
		}
		if side == 0 {
			out.Rows += requests * int64(1-min(len(k.kind), 1))
			slim = slim || k.kind == "" && k.endpoint == ""
			for _, p := range []*string{&k.id, &k.user, &k.team, &k.organization, &k.project, &k.group, &k.model, &k.provider, &k.endpoint} {
				*p = short(*p)
			}
		}
		c := at(sides, k)
		c.cost[side] += cost
		c.requests[side] += requests
		c.tokens[side] += tokens
		return nil
	})
	if err != nil {
		return err
	}
	name := day.Format(time.DateOnly)
	if slim { // only the whole day can be compared
		whole := compared{}
		for k, c := range sides {
			for i := range 2 {
				if k.kind == "" {
					whole.cost[i] += c.cost[i]
					whole.requests[i] += c.requests[i]
				}
			}
		}
		sides = map[dayKey]*compared{{}: &whole}
	}
	for _, k := range sorted(sides, func(a, b dayKey) int { return a.compare(&b) }) {
		if c := sides[k]; c.cost[0] != c.cost[1] || c.requests[0] != c.requests[1] || c.tokens[0] != c.tokens[1] {
			out.add(Drift{
				Where: "day " + name + k.words(), Is: money.Nano(c.cost[1]), Rows: money.Nano(c.cost[0]), Count: c.requests[1] - c.requests[0],
			})
		}
	}
	return nil
}

// fromTags adds the tags of a row to what is read from rows.
func fromTags(rows, tags string) string {
	const from = " FROM sluice.spend"
	return from + ", " + tags + rows[len(from):] + " AND tags IS NOT NULL"
}

// words names what a sum is of.
func (a *dayKey) words() string {
	out := ""
	for _, p := range [][2]string{
		{a.kind, a.id},
		{"key", a.token},
		{"user", a.user},
		{"team", a.team},
		{"organization", a.organization},
		{"project", a.project},
		{"model", a.group},
		{"provider model", a.model},
		{"provider", a.provider},
		{"endpoint", a.endpoint},
	} {
		if p[1] != "" {
			out += ", " + p[0] + " " + p[1]
		}
	}
	return out
}

// drifts adds what a statement finds: where it is, the sum, and what it should
// be.
func (s *Store) drifts(ctx context.Context, out *Reconciled, what, statement string, args ...any) error {
	err := s.db.query(ctx, statement, args, func(scan func(...any) error) error {
		var d Drift
		var is, rows int64
		var id string
		if err := scan(&id, &is, &rows); err != nil {
			return err
		}
		d.Where, d.Is, d.Rows = what+" "+id, money.Nano(is), money.Nano(rows)
		out.add(d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("compare %s: %w", what, err)
	}
	return nil
}

// reconcileLeases compares what windows say is leased with what hosts hold.
func (s *Store) reconcileLeases(ctx context.Context, out *Reconciled) error {
	return s.drifts(ctx, out, "leases of", `SELECT w.entity_type || ' ' || w.entity_id || ' ' || w.window_duration, w.leased, CAST(COALESCE(l.amount, 0) AS BIGINT)
		FROM sluice.budget_windows w LEFT JOIN (SELECT entity_type, entity_id, window_duration, SUM(amount) AS amount FROM sluice.budget_leases
			GROUP BY entity_type, entity_id, window_duration) l
		ON l.entity_type = w.entity_type AND l.entity_id = w.entity_id AND l.window_duration = w.window_duration
		WHERE w.leased <> COALESCE(l.amount, 0)`)
}

// entityID is the key of an object in accounts.
func entityID(i int) string {
	id := "e." + objectKeys[i][0]
	if len(objectKeys[i]) > 1 {
		id += " || '/' || e." + objectKeys[i][1]
	}
	return id
}

// reconcileWindows compares the windows of objects' own budgets with what the
// objects have spent, where both are of the same window.
func (s *Store) reconcileWindows(ctx context.Context, out *Reconciled) error {
	for i, k := range counted {
		duration := "b.budget_duration"
		if c, ok := mapped(objectKinds[i]).column("budget_duration"); ok {
			duration = "COALESCE(e." + c.name + ", b.budget_duration)"
		}
		err := s.drifts(ctx, out, "window of", `SELECT w.entity_type || ' ' || w.entity_id || ' ' || w.window_duration, w.spend, e.spend
			FROM sluice.budget_windows w JOIN sluice.`+objectTables[i]+` e ON w.entity_id = `+entityID(i)+`
			LEFT JOIN sluice.budgets b ON b.budget_id = e.budget_id
			WHERE w.entity_type = '`+k.String()+`' AND w.window_start = e.spend_from AND w.window_duration = `+duration+` AND w.spend <> e.spend`)
		if err != nil {
			return err
		}
	}
	return nil
}

// spendColumns are where rows of spend name the objects of counted; "": they are
// in no deep comparison.
var spendColumns = [len(counted)]string{"token", "user_id", "team_id", "", "organization_id", "", "project_id", "end_user", ""}

// objectKinds are the kinds of the objects of counted.
var objectKinds = [len(counted)]identity.Kind{
	identity.KindKey, identity.KindUser, identity.KindTeam, identity.KindMember, identity.KindOrganization, identity.KindOrganizationMember,
	identity.KindProject, identity.KindEndUser, identity.KindTag,
}

// reconcileObjects compares what objects have spent in their present window with
// its rows, and what those without one have spent at all with the sums by day. Of
// what was called in the name of an object before there was one, it has nothing,
// or what was written down after it was made: its spend is at least what was
// called since.
func (s *Store) reconcileObjects(ctx context.Context, from time.Time, out *Reconciled) error {
	d := s.db.dialect()
	made := "CAST(e.created_at AT TIME ZONE 'UTC' AS DATE)"
	if d.sqlite {
		made = "date(e.created_at / 1000000, 'unixepoch')"
	}
	imported := "NOT EXISTS (SELECT 1 FROM sluice.imported i WHERE i.object_type = '%s' AND i.object_id = %s)"
	for i, k := range counted {
		column := spendColumns[i]
		if column == "" {
			continue
		}
		kind, id := objectKinds[i], entityID(i)
		theirs := fmt.Sprintf(imported, kind, id)
		err := s.drifts(ctx, out, "spend of "+k.String(), `SELECT `+id+`, e.spend, CAST(COALESCE(SUM(s.cost), 0) AS BIGINT)
			FROM sluice.`+objectTables[i]+` e LEFT JOIN sluice.spend s ON s.`+column+` = `+id+` AND s.started_at >= e.spend_from AND s.host <> ''
			WHERE e.spend_from >= $1 AND e.updated_at < e.spend_from AND `+theirs+`
			GROUP BY `+id+`, e.spend HAVING e.spend <> COALESCE(SUM(s.cost), 0)`, d.time(from))
		if err != nil {
			return err
		}
		if k == bill.KindCustomer { // made by its first call
			continue
		}
		err = s.drifts(ctx, out, "spend of "+k.String(), `SELECT `+id+`, e.spend, CAST(COALESCE(SUM(s.spend), 0) AS BIGINT)
			FROM sluice.`+objectTables[i]+` e LEFT JOIN sluice.daily_spend s ON s.`+column+` = `+id+` AND s.entity_type = ''
			WHERE e.spend_from IS NULL AND e.updated_at = e.created_at AND `+theirs+`
			GROUP BY `+id+`, e.spend, e.created_at HAVING e.spend > COALESCE(SUM(s.spend), 0)
			OR e.spend < COALESCE(SUM(CASE WHEN s.day > `+made+` THEN s.spend END), 0)
			OR e.spend < COALESCE(SUM(s.spend), 0) AND e.spend < (SELECT COALESCE(SUM(r.cost), 0) FROM sluice.spend r
				WHERE r.`+column+` = `+id+` AND r.started_at >= e.created_at AND r.host <> '')`)
		if err != nil {
			return err
		}
	}
	return nil
}
