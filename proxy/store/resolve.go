package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"sluice/proxy/identity"
)

// statement is one query of several that go to the database together.
type statement struct {
	sql  string
	args []any
	each func(scan func(dest ...any) error) error
}

// resolver holds the statements of Resolve, written once per dialect.
type resolver struct {
	keys string // digests → change head, keys, retired keys

	users, teams, members, organizations, organizationMembers, projects, budgets, groups string
}

var (
	ofPostgres = sync.OnceValue(func() *resolver { return newResolver(dialect{}) })
	ofSQLite   = sync.OnceValue(func() *resolver { return newResolver(dialect{sqlite: true}) })
)

func (d dialect) resolver() *resolver {
	if d.sqlite {
		return ofSQLite()
	}
	return ofPostgres()
}

// list writes a parameter that is a list of texts as a subquery of its elements.
func (d dialect) list(n string) string {
	if d.sqlite {
		return "SELECT value FROM json_each(" + n + ")"
	}
	return "SELECT unnest(" + n + "::text[])"
}

// fieldList writes the elements of a list inside a JSON column as a subquery.
func (d dialect) fieldList(from, column, field, where string) string {
	if d.sqlite {
		return "SELECT j.value FROM " + from + ", json_each(" + column + ", '$." + field + "') j WHERE " + where
	}
	path := column + "->'" + field + "'"
	return "SELECT jsonb_array_elements_text(" + path + ") FROM " + from + " WHERE " + where + " AND jsonb_typeof(" + path + ") = 'array'"
}

// fieldText writes a text inside a JSON column.
func (d dialect) fieldText(column, field string) string {
	if d.sqlite {
		return "json_extract(" + column + ", '$." + field + "')"
	}
	return column + "->>'" + field + "'"
}

// newResolver writes the statements. The first one reads the change head and
// the keys in one snapshot, so that every change that it does not show has a
// greater number. Of the others each finds its rows by ids that the first one
// gave and by those that rows of other tables refer to: nothing waits for a
// third round trip.
func newResolver(d dialect) *resolver {
	k, r := mapped(identity.KindKey), mapped(identity.KindRetiredKey)
	nulls := strings.TrimSuffix(strings.Repeat("NULL, ", len(r.columns)), ", ")
	if !d.sqlite { // a NULL of a UNION needs its type
		nulls = "NULL::text, NULL::text, NULL::timestamptz, NULL::bigint, NULL::timestamptz, NULL::text, NULL::timestamptz, NULL::text"
	}
	all := func(k identity.Kind, alias, where string) string {
		return "SELECT " + mapped(k).columnsOf(alias) + " FROM " + table(k) + " " + alias + " WHERE " + where
	}
	member := "(m.team_id, m.user_id) IN (SELECT unnest($1::text[]), unnest($2::text[]))"
	if d.sqlite {
		member = "(m.team_id, m.user_id) IN (SELECT t.value, u.value FROM json_each($1) t JOIN json_each($2) u ON u.key = t.key)"
	}
	users, teams := "user_id IN ("+d.list("$1")+")", "team_id IN ("+d.list("$2")+")"
	budget := func(k identity.Kind, where string) string {
		return " UNION SELECT budget_id FROM " + table(k) + " WHERE " + where + " AND budget_id IS NOT NULL"
	}
	ofTeams := "SELECT organization_id FROM sluice.teams WHERE " + teams + " AND organization_id IS NOT NULL"
	ofUsers := "SELECT organization_id FROM sluice.users WHERE " + users + " AND organization_id IS NOT NULL"
	orgs := d.list("$3") + " UNION " + ofTeams + " UNION " + ofUsers
	return &resolver{
		keys: "SELECT h.number, x.* FROM sluice.change_head h LEFT JOIN (" +
			"SELECT " + k.columnsOf("k") + ", " + nulls + " FROM sluice.keys k WHERE k.token IN (" + d.list("$1") + ")" +
			" UNION ALL SELECT " + k.columnsOf("k") + ", " + r.columnsOf("r") +
			" FROM sluice.retired_keys r JOIN sluice.keys k ON k.token = r.active_token WHERE r.token IN (" + d.list("$1") + ")" +
			") x ON 1 = 1 WHERE h.id = 1",
		users:               all(identity.KindUser, "u", "u."+users),
		teams:               all(identity.KindTeam, "t", "t.team_id IN ("+d.list("$1")+")"),
		members:             all(identity.KindMember, "m", member),
		organizationMembers: all(identity.KindOrganizationMember, "m", "m."+users),
		projects:            all(identity.KindProject, "p", "p.project_id IN ("+d.list("$1")+")"),
		organizations:       all(identity.KindOrganization, "o", "o.organization_id IN ("+orgs+")"),
		budgets: all(identity.KindBudget, "b", "b.budget_id IN ("+d.list("$5")+
			budget(identity.KindUser, users)+budget(identity.KindTeam, teams)+
			budget(identity.KindMember, strings.NewReplacer("m.", "", "$1", "$6", "$2", "$7").Replace(member))+
			budget(identity.KindOrganization, "organization_id IN ("+orgs+")")+
			budget(identity.KindOrganizationMember, users)+
			budget(identity.KindProject, "project_id IN ("+d.list("$4")+")")+
			" UNION SELECT "+d.fieldText("metadata", "team_member_budget_id")+" FROM sluice.teams WHERE "+teams+
			" AND "+d.fieldText("metadata", "team_member_budget_id")+" IS NOT NULL)"),
		groups: all(identity.KindAccessGroup, "a", "a.access_group_id IN ("+d.list("$1")+" UNION "+
			d.fieldList("sluice.teams", "settings", "access_group_ids", teams)+")"),
	}
}

// columnsOf is the list of columns of a table under another name.
func (m *mapping) columnsOf(alias string) string {
	return alias + "." + strings.ReplaceAll(m.columnList(), ", ", ", "+alias+".")
}

// Resolve finds keys by the hex SHA-256 of their text, and everything that a
// request with one of them is judged by: one query for the keys, and where any
// is known a second round trip for the rest. Digests that nothing is known about
// are not in the answer.
func (s *Store) Resolve(ctx context.Context, digests []string) (*identity.Resolved, error) {
	d := s.db.dialect()
	found, err := s.resolveKeys(ctx, d, digests)
	if err != nil {
		return nil, fmt.Errorf("look up keys: %w", err)
	}
	if len(found.Keys) == 0 {
		return found, nil
	}
	statements, err := referencesOf(found.Keys).statements(d, found)
	if err != nil || len(statements) == 0 {
		return found, err
	}
	if err := s.db.batch(ctx, statements, true); err != nil {
		return nil, fmt.Errorf("look up what keys refer to: %w", err)
	}
	return found, nil
}

func (s *Store) resolveKeys(ctx context.Context, d dialect, digests []string) (*identity.Resolved, error) {
	argument, err := d.texts(digests)
	if err != nil {
		return nil, err
	}
	out := &identity.Resolved{}
	known := map[string]bool{}
	keys, retired := mapped(identity.KindKey).row(), mapped(identity.KindRetiredKey).row()
	dest := slices.Concat([]any{&out.Number}, keys.any, retired.any)
	// In a flood of wrong keys one statement is enough: what is in vain shall
	// not cost the server three. In all others the plan is worth its two.
	err = s.db.batch(ctx, []statement{{d.resolver().keys, []any{argument}, func(scan func(...any) error) error {
		k, r := new(identity.Key), new(identity.RetiredKey)
		keys.into(k)
		retired.into(r)
		if err := scan(dest...); err != nil {
			return err
		}
		if k.Token != "" && !known[k.Token] {
			known[k.Token] = true
			out.Keys = append(out.Keys, k)
		}
		if r.Token != "" {
			out.Retired = append(out.Retired, r)
		}
		return nil
	}}}, !s.vain.Load())
	if err == nil {
		s.vain.Store(len(out.Keys) == 0)
	}
	return out, err
}

// references are the ids that keys name.
type references struct {
	users, teams, organizations, projects, budgets, groups []string
	memberTeams, memberUsers                               []string // pairs by position
}

func referencesOf(keys []*identity.Key) *references {
	sets := [6]map[string]bool{}
	for i := range sets {
		sets[i] = map[string]bool{}
	}
	pairs := map[[2]string]bool{}
	for _, k := range keys {
		for i, id := range []string{k.UserID, k.TeamID, k.OrganizationID, k.ProjectID, k.BudgetID} {
			if id != "" {
				sets[i][id] = true
			}
		}
		if k.TeamID != "" && k.UserID != "" {
			pairs[[2]string{k.TeamID, k.UserID}] = true
		}
		var groups []string
		if raw, ok := k.Settings["access_group_ids"]; ok && json.Unmarshal(raw, &groups) == nil {
			for _, id := range groups {
				sets[5][id] = true
			}
		}
	}
	r := &references{}
	for i, to := range []*[]string{&r.users, &r.teams, &r.organizations, &r.projects, &r.budgets, &r.groups} {
		*to = slices.Sorted(maps.Keys(sets[i]))
	}
	for p := range pairs {
		r.memberTeams, r.memberUsers = append(r.memberTeams, p[0]), append(r.memberUsers, p[1])
	}
	return r
}

// statements are the queries that can find something.
func (r *references) statements(d dialect, to *identity.Resolved) ([]statement, error) {
	q := d.resolver()
	var out []statement
	for _, s := range []struct {
		sql  string
		each func(scan func(...any) error) error
		ids  [][]string
	}{
		{q.users, collect(&to.Users), [][]string{r.users}},
		{q.teams, collect(&to.Teams), [][]string{r.teams}},
		{q.members, collect(&to.Members), [][]string{r.memberTeams, r.memberUsers}},
		{q.organizationMembers, collect(&to.OrganizationMembers), [][]string{r.users}},
		{q.projects, collect(&to.Projects), [][]string{r.projects}},
		{q.organizations, collect(&to.Organizations), [][]string{r.users, r.teams, r.organizations}},
		{q.budgets, collect(&to.Budgets), [][]string{r.users, r.teams, r.organizations, r.projects, r.budgets, r.memberTeams, r.memberUsers}},
		{q.groups, collect(&to.AccessGroups), [][]string{r.groups, r.teams}},
	} {
		args, some := make([]any, len(s.ids)), false
		for i, ids := range s.ids {
			var err error
			if args[i], err = d.texts(ids); err != nil {
				return nil, err
			}
			some = some || len(ids) > 0
		}
		if some {
			out = append(out, statement{s.sql, args, s.each})
		}
	}
	return out, nil
}

// collect scans rows into new objects at the end of a list.
func collect[T any, P pointer[T]](to *[]*T) func(scan func(...any) error) error {
	r := mapped(P(nil).Kind()).row()
	return func(scan func(...any) error) error {
		o := new(T)
		if err := scan(r.into(o)...); err != nil {
			return err
		}
		*to = append(*to, o)
		return nil
	}
}

// texts is a list of texts as one argument.
func (d dialect) texts(values []string) (any, error) {
	for _, v := range values {
		if err := checkText("", v); err != nil {
			return nil, err
		}
	}
	if !d.sqlite {
		if values == nil {
			values = []string{}
		}
		return values, nil
	}
	return jsonList(values)
}
