package store

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/identity"
)

// Unlock makes the store take its numbers as a sequence would: at once and for
// good, by way of another store, whenever the transaction commits. Known to be
// bad.
func (s *Store) Unlock(numbers *Store) {
	s.unlocked = func(ctx context.Context) (n int64, err error) {
		err = numbers.db.query(ctx, "UPDATE sluice.change_head SET number = number + 1 WHERE id = 1 RETURNING number - 1", nil,
			func(scan func(...any) error) error { return scan(&n) })
		return n, err
	}
}

// Types are all kinds of objects.
func Types() map[identity.Kind]reflect.Type { return objectTypes }

// Columns are the fields of a kind by the names of their columns.
func Columns(k identity.Kind) map[string][]int {
	out := map[string][]int{}
	for _, c := range mapped(k).columns {
		out[c.name] = c.field
	}
	return out
}

// Load reads an object by the key of another one.
func Load(ctx context.Context, s *Store, like identity.Object) (identity.Object, error) {
	m := mapped(like.Kind())
	out := m.fresh()
	b := &builder{m: m, d: s.db.dialect()}
	b.add("SELECT ", m.columnList(), " FROM ", table(m.kind))
	if err := b.whereKey(like); err != nil {
		return nil, err
	}
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error { return scan(m.destinations(out)...) })
	return out, err
}

// Path is the SQLite file.
func (s *Store) Path() string { return s.c.SQLite }

// Lookup is a statement of Resolve.
type Lookup struct {
	SQL  string
	Args []any
}

// Lookups are the statements of Resolve for one key.
func Lookups(s *Store, token, user, team, budget, organization string) map[string]Lookup {
	d := s.db.dialect()
	r := referencesOf([]*identity.Key{{
		Token: token, UserID: user, TeamID: team, BudgetID: budget, OrganizationID: organization, ProjectID: "p",
	}})
	statements, err := r.statements(d, &identity.Resolved{})
	if err != nil {
		panic(err)
	}
	out := map[string]Lookup{"keys": {d.resolver().keys, []any{[]string{token}}}}
	for i, st := range statements {
		name := [...]string{"users", "teams", "members", "organization_members", "projects", "organizations", "budgets", "groups"}[i]
		out[name] = Lookup{st.sql, st.args}
	}
	return out
}

// Plan says how the database would find the changes that a filter names.
func Plan(ctx context.Context, s *Store, f ChangeFilter) (string, error) {
	b := &builder{d: s.db.dialect()}
	b.add("EXPLAIN SELECT count(*) FROM sluice.changes WHERE 1 = 1")
	if err := f.write(b); err != nil {
		return "", err
	}
	var lines []string
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		var line string
		err := scan(&line)
		lines = append(lines, line)
		return err
	})
	return strings.Join(lines, "\n"), err
}

// Run runs a statement that no method of the store would.
func Run(ctx context.Context, s *Store, statement string) error {
	_, err := s.db.exec(ctx, statement, nil)
	return err
}

// CountQueries counts what a SQLite store runs from now on.
func CountQueries(s *Store) *int64 {
	n := new(int64)
	f := s.db.(*file)
	f.on = &counting{f.on.(*sql.DB), n}
	return n
}

type counting struct {
	*sql.DB
	n *int64
}

func (c *counting) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	*c.n++
	return c.DB.QueryContext(ctx, query, args...)
}

// CheckDocument is what is asked of every JSON document before it is written.
func CheckDocument(s string) error { return checkDocument("x", s) }

// Text is the only value that a query finds, as text.
func Text(ctx context.Context, s *Store, query string) (out string, err error) {
	err = s.db.query(ctx, query, nil, func(scan func(...any) error) error {
		var v any
		err := scan(&v)
		out = fmt.Sprint(v)
		return err
	})
	return out, err
}

// Number reads one number.
func Number(ctx context.Context, s *Store, sql string, args ...any) (n int64, err error) {
	err = s.db.query(ctx, sql, args, func(scan func(...any) error) error { return scan(&n) })
	return n, err
}

// Exec runs a statement.
func Exec(ctx context.Context, s *Store, sql string) error {
	_, err := s.db.exec(ctx, sql, nil)
	return err
}

// Moment is a time as a statement has it.
func Moment(s *Store, at time.Time) string {
	if s.db.dialect().sqlite {
		return strconv.FormatInt(at.UnixMicro(), 10)
	}
	return "'" + at.UTC().Format(time.RFC3339Nano) + "'"
}

// LimitContexts sets how many contexts there may be in a SQLite database.
func LimitContexts(s *Store, most int64) { s.db.(*file).mostContexts = most }

// ContextAhead is how far contexts are promised ahead.
const ContextAhead = contextAhead
