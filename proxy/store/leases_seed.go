package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sluice/proxy/bill"
)

// proxyUser is the user whose spend LiteLLM counts for the proxy as a whole.
const proxyUser = "litellm-proxy-budget"

// seeding is a kind of objects that have a spend of their own. own says that
// the budget's duration may stand in the object itself.
type seeding struct {
	table string
	keys  []string
	own   bool
}

var seedings = map[bill.Kind]seeding{
	bill.KindKey:                {"keys", []string{"token"}, true},
	bill.KindUser:               {"users", []string{"user_id"}, true},
	bill.KindProxy:              {"users", []string{"user_id"}, false},
	bill.KindTeam:               {"teams", []string{"team_id"}, true},
	bill.KindMember:             {"team_members", []string{"team_id", "user_id"}, false},
	bill.KindOrganization:       {"organizations", []string{"organization_id"}, false},
	bill.KindOrganizationMember: {"organization_members", []string{"organization_id", "user_id"}, false},
	bill.KindProject:            {"projects", []string{"project_id"}, false},
	bill.KindCustomer:           {"end_users", []string{"user_id"}, false},
	bill.KindTag:                {"tags", []string{"tag_name"}, false},
}

// seed makes the windows of asks that are the first of their host, with what
// their objects have spent. The objects are locked meanwhile: who ships counts in
// an object first and then in its window, so that nothing is counted in one of
// them alone.
func seed(ctx context.Context, on querier, asks []bill.LeaseAsk) error {
	kinds := map[bill.Kind][]*bill.LeaseAsk{}
	for i := range asks {
		if asks[i].First {
			kinds[asks[i].Kind] = append(kinds[asks[i].Kind], &asks[i])
		}
	}
	for k := bill.KindNone; len(kinds) > 0; k++ {
		if kinds[k] == nil {
			continue
		}
		sql, args, err := seedStatement(on.dialect(), k, kinds[k])
		if err != nil {
			return err
		}
		if _, err := on.exec(ctx, sql, args); err != nil {
			return fmt.Errorf("begin windows of budgets: %w", err)
		}
		delete(kinds, k)
	}
	return nil
}

// seedStatement makes the windows of budgets of one kind. What an object has
// spent is of the window that its spend_from says. Where that says nothing it is
// of the present window, unless a reset is overdue, and of the object's own
// budget only. Of a window that was forgotten with its object hosts may still hold
// leases, which they give back to the new one.
func seedStatement(d dialect, k bill.Kind, asks []*bill.LeaseAsk) (string, []any, error) {
	s, known := seedings[k]
	b := &bulk{names: []string{"id", "win", "start", "a", "b"}, sorts: []sort{asText, asText, asTime, asText, asText}}
	for _, a := range asks {
		id, start := kept(a.ID), d.time(time.Unix(a.Start, 0))
		switch {
		case k == bill.KindProxy:
			b.add(id, a.Window, start, proxyUser, "")
		case len(s.keys) < 2:
			b.add(id, a.Window, start, id, "")
		default: // a slash may be part of either id
			b.add(id, a.Window, start, id, "")
			for i := range len(a.ID) {
				if a.ID[i] == '/' {
					b.add(id, a.Window, start, kept(a.ID[:i]), kept(a.ID[i+1:]))
				}
			}
		}
	}
	source, args, err := b.source(d, []any{k.String()})
	if err != nil {
		return "", nil, err
	}
	var t strings.Builder
	largest, endless := "GREATEST", "to_timestamp(0)"
	if d.sqlite {
		largest, endless = "MAX", "0"
	}
	t.WriteString("WITH v0 AS MATERIALIZED (SELECT * FROM " + source + ")")
	spent := "0"
	if known {
		duration, reset := "b.budget_duration", "b.budget_reset_at"
		if s.own {
			duration, reset = "COALESCE(e.budget_duration, b.budget_duration, '')", "COALESCE(e.budget_reset_at, b.budget_reset_at)"
		}
		match := "e." + s.keys[0] + " = v.a"
		if len(s.keys) > 1 {
			match += " AND e." + s.keys[1] + " = v.b"
		}
		t.WriteString(", found AS MATERIALIZED (SELECT v.id, v.win, CASE WHEN e.spend_from = v.start THEN e.spend WHEN v.start = " + endless +
			" AND " + ifOwn(s.own, duration+" = v.win", "true") + " THEN e.spend WHEN e.spend_from IS NULL AND (" + reset + " IS NULL OR " + reset +
			" > v.start) AND " + ifOwn(s.own, duration+" = v.win", "("+duration+" IS NULL OR "+duration+" = v.win)") +
			" THEN e.spend ELSE 0 END AS spend FROM v0 AS v JOIN sluice." + s.table + " AS e ON " + match +
			" LEFT JOIN sluice.budgets AS b ON b.budget_id = e.budget_id")
		if !d.sqlite {
			t.WriteString(" ORDER BY v.a, v.b FOR NO KEY UPDATE OF e")
		}
		t.WriteString(")")
		spent = "COALESCE((SELECT MAX(f.spend) FROM found AS f WHERE f.id = v.id AND f.win = v.win), 0)"
	}
	later := toCome(d.sqlite, "excluded.window_start")
	t.WriteString(` INSERT INTO sluice.budget_windows (entity_type, entity_id, window_duration, window_start, spend, leased)
		SELECT DISTINCT CAST($1 AS TEXT), v.id, v.win, v.start, ` + spent + `, (SELECT CAST(COALESCE(SUM(l.amount), 0) AS BIGINT)
			FROM sluice.budget_leases AS l WHERE l.entity_type = $1 AND l.entity_id = v.id AND l.window_duration = v.win)
			FROM v0 AS v WHERE true ORDER BY 2, 3
		ON CONFLICT (entity_type, entity_id, window_duration) DO UPDATE SET
			spend = CASE WHEN budget_windows.window_start < excluded.window_start AND NOT ` + later + ` THEN excluded.spend
				WHEN budget_windows.window_start = excluded.window_start THEN ` + largest + `(budget_windows.spend, excluded.spend)
				ELSE budget_windows.spend END,
			window_start = CASE WHEN ` + later + ` THEN budget_windows.window_start WHEN ` + toCome(d.sqlite, "budget_windows.window_start") + `
				THEN excluded.window_start ELSE ` + largest + `(budget_windows.window_start, excluded.window_start) END`)
	return t.String(), args, nil
}

func ifOwn(own bool, then, otherwise string) string {
	if own {
		return then
	}
	return otherwise
}
