package store_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// summed adds up attempts without the database: as is says what they count for.
func summed(rows []*bill.Attempt, historic []store.DailySpend, as func(a *bill.Attempt) []store.DailySum, was func(h *store.DailySpend) *store.DailySum) []store.DailySum {
	all := map[store.DailySum]*store.DailySum{}
	at := func(k store.DailySum) *store.DailySum {
		if all[k] == nil {
			c := k
			all[k] = &c
		}
		return all[k]
	}
	for i := range rows {
		a := rows[i]
		for _, k := range as(a) {
			d := at(k)
			d.PromptTokens += a.Usage.Input
			d.CompletionTokens += a.Usage.Output
			d.CacheReadTokens += a.Usage.CachedIn
			d.CacheWriteTokens += a.Usage.CacheWrite
			d.Spend += a.Cost
			d.Requests++
			if a.Status == bill.StatusSuccess {
				d.Successful++
			} else {
				d.Failed++
			}
		}
	}
	for i := range historic {
		h := &historic[i]
		if k := was(h); k != nil {
			d := at(*k)
			d.PromptTokens += h.PromptTokens
			d.Spend += h.Spend
			d.Requests += h.Requests
			d.Successful += h.SuccessfulRequests
			d.Failed += h.FailedRequests
		}
	}
	var out []store.DailySum
	for _, d := range all {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b store.DailySum) int {
		return cmp.Or(-cmp.Compare(a.Day, b.Day), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Token, b.Token), cmp.Compare(a.ModelGroup, b.ModelGroup))
	})
	return out
}

func dayOf(a *bill.Attempt) string { return time.Unix(0, a.Intent.At).UTC().Format(time.DateOnly) }

func TestDailySums(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		loadObjects(t, s, 5)
		rows := spentRows(500, 5)
		ship(t, s, &store.Batch{Host: "h", Rows: rows}, len(rows))
		var historic []store.DailySpend
		for i := range 60 {
			d := store.DailySpend{
				EntityType: []string{"user", "team", "tag", "customer", "agent"}[i%5], RowID: fmt.Sprint(i), Day: fmt.Sprintf("2026-11-%02d", 15+i%7),
				Token: digest(i % 3), Model: "old-model", ModelGroup: "gpt-5", Provider: "openai", Endpoint: "/v1/chat/completions",
				PromptTokens: int64(i), Spend: 10, Requests: 3, SuccessfulRequests: 2, FailedRequests: 1,
			}
			d.EntityID = map[string]string{"user": "user-2", "team": "team-1", "tag": "red", "customer": "customer-9", "agent": "a"}[d.EntityType]
			historic = append(historic, d)
		}
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			if err := tx.TakeDaily(historic); err != nil {
				return err
			}
			return tx.Note(store.Imported, identity.KindImport, "daily", nil, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		of := func(kind string, k func(h *store.DailySpend) store.DailySum) func(h *store.DailySpend) *store.DailySum {
			return func(h *store.DailySpend) *store.DailySum {
				if h.EntityType != kind {
					return nil
				}
				d := k(h)
				return &d
			}
		}
		byEntity := func(h *store.DailySpend) store.DailySum { return store.DailySum{Day: h.Day, Entity: h.EntityID} }
		none := func(*store.DailySpend) *store.DailySum { return nil }
		all := store.DailyFilter{From: "2026-11-01", To: "2026-11-30"}
		with := func(edit func(f *store.DailyFilter)) store.DailyFilter {
			f := all
			edit(&f)
			return f
		}
		for name, c := range map[string]struct {
			f    store.DailyFilter
			want []store.DailySum
		}{
			"everything": {all, summed(rows, historic, func(*bill.Attempt) []store.DailySum { return make([]store.DailySum, 1) },
				of("user", func(*store.DailySpend) store.DailySum { return store.DailySum{} }))},
			"days": {
				with(func(f *store.DailyFilter) { f.By = []string{store.ByDay} }),
				summed(rows, historic, func(a *bill.Attempt) []store.DailySum { return []store.DailySum{{Day: dayOf(a)}} },
					of("user", func(h *store.DailySpend) store.DailySum { return store.DailySum{Day: h.Day} })),
			},
			"users": {
				with(func(f *store.DailyFilter) { f.By = []string{store.ByDay, store.ByEntity} }),
				summed(rows, historic, func(a *bill.Attempt) []store.DailySum { return []store.DailySum{{Day: dayOf(a), Entity: a.User}} }, of("user", byEntity)),
			},
			"teams, keys, groups": {
				with(func(f *store.DailyFilter) {
					f.Entity, f.By = store.EntityTeam, []string{store.ByDay, store.ByEntity, store.ByToken, store.ByGroup}
				}),
				summed(rows, historic, func(a *bill.Attempt) []store.DailySum {
					return []store.DailySum{{Day: dayOf(a), Entity: a.Team, Token: a.Token, ModelGroup: a.Model}}
				}, of("team", func(h *store.DailySpend) store.DailySum {
					return store.DailySum{Day: h.Day, Entity: h.EntityID, Token: h.Token, ModelGroup: h.ModelGroup}
				})),
			},
			"tags, each once a call": {
				with(func(f *store.DailyFilter) { f.Entity, f.By = store.EntityTag, []string{store.ByDay, store.ByEntity} }),
				summed(rows, historic, func(a *bill.Attempt) []store.DailySum {
					var out []store.DailySum
					for _, tag := range slices.Compact(slices.Sorted(slices.Values(a.Tags))) {
						out = append(out, store.DailySum{Day: dayOf(a), Entity: tag})
					}
					return out
				}, of("tag", byEntity)),
			},
			"customers": {
				with(func(f *store.DailyFilter) { f.Entity, f.By = store.EntityCustomer, []string{store.ByEntity} }),
				summed(rows, historic, func(a *bill.Attempt) []store.DailySum {
					if a.EndUser == "" {
						return nil
					}
					return []store.DailySum{{Entity: a.EndUser}}
				}, of("customer", func(h *store.DailySpend) store.DailySum { return store.DailySum{Entity: h.EntityID} })),
			},
			"organizations that have a name": {
				with(func(f *store.DailyFilter) {
					f.Entity, f.Named, f.By = store.EntityOrganization, true, []string{store.ByEntity}
				}),
				summed(rows, nil, func(a *bill.Attempt) []store.DailySum {
					if a.Organization == "" {
						return nil
					}
					return []store.DailySum{{Entity: a.Organization}}
				}, none),
			},
			"some users, one key": {with(func(f *store.DailyFilter) {
				f.IDs, f.Not, f.Token, f.Model, f.By = []string{"user-1", "user-2"}, []string{"user-1"}, digest(2), "gpt-5", []string{store.ByDay}
			}), summed(rows, historic, func(a *bill.Attempt) []store.DailySum {
				if a.User != "user-2" || a.Token != digest(2) {
					return nil
				}
				return []store.DailySum{{Day: dayOf(a)}}
			}, func(h *store.DailySpend) *store.DailySum {
				if h.EntityType != "user" || h.Token != digest(2) {
					return nil
				}
				return &store.DailySum{Day: h.Day}
			})},
			"what a user sees": {with(func(f *store.DailyFilter) {
				f.Scope, f.By = &store.SpendScope{UserID: "user-2", TeamsNobody: []string{"team-4"}}, []string{store.ByDay}
			}), summed(rows, historic, func(a *bill.Attempt) []store.DailySum {
				if a.User != "user-2" && (a.Team != "team-4" || a.User != "") {
					return nil
				}
				return []store.DailySum{{Day: dayOf(a)}}
			}, of("user", func(h *store.DailySpend) store.DailySum { return store.DailySum{Day: h.Day} }))},
			"what nobody sees": {with(func(f *store.DailyFilter) {
				f.Scope, f.Entity, f.By = &store.SpendScope{}, store.EntityTag, []string{store.ByDay}
			}), nil},
			"a day": {
				with(func(f *store.DailyFilter) { f.From, f.To, f.By = "2026-11-20", "2026-11-20", []string{store.ByDay} }),
				summed(rows, historic, func(a *bill.Attempt) []store.DailySum {
					if dayOf(a) != "2026-11-20" {
						return nil
					}
					return []store.DailySum{{Day: dayOf(a)}}
				}, func(h *store.DailySpend) *store.DailySum {
					if h.EntityType != "user" || h.Day != "2026-11-20" {
						return nil
					}
					return &store.DailySum{Day: h.Day}
				}),
			},
		} {
			got, total, err := s.DailySums(t.Context(), c.f)
			if err != nil || total != len(c.want) || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %d of %d\n%+v\nnot\n%+v\n%v", name, len(got), total, got, c.want, err)
			}
		}
		f := with(func(f *store.DailyFilter) { f.By, f.Limit, f.Offset = []string{store.ByDay, store.ByToken}, 4, 4 })
		whole := with(func(f *store.DailyFilter) { f.By = []string{store.ByDay, store.ByToken} })
		every, total, err := s.DailySums(t.Context(), whole)
		if err != nil || total != len(every) || total < 20 {
			t.Fatal(total, err)
		}
		if page, n, err := s.DailySums(t.Context(), f); err != nil || n != total || !reflect.DeepEqual(page, every[4:8]) {
			t.Errorf("page of %d: %+v %v", n, page, err)
		}
		f.Offset = 10_000
		if page, n, err := s.DailySums(t.Context(), f); err != nil || n != total || len(page) != 0 {
			t.Errorf("behind the end: %d, %+v %v", n, page, err)
		}
		f = with(func(f *store.DailyFilter) { f.By, f.MostFirst = []string{store.ByToken}, true })
		if most, _, err := s.DailySums(t.Context(), f); err != nil || len(most) != 5 || !slices.IsSortedFunc(most, func(a, b store.DailySum) int { return cmp.Compare(b.Spend, a.Spend) }) {
			t.Errorf("most first: %+v %v", most, err)
		}
	})
}

// TestDailySumsLongNames: sums have long names cut, and are found by the whole
// ones.
func TestDailySumsLongNames(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		a := spentRows(1, 1)[0]
		a.User, a.Team, a.Organization, a.Model = strings.Repeat("u", 300), strings.Repeat("t", 300), strings.Repeat("o", 300), strings.Repeat("m", 300)
		ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{a}}, 1)
		for name, c := range map[string]struct {
			f    store.DailyFilter
			want int
		}{
			"user":           {store.DailyFilter{IDs: []string{a.User}}, 1},
			"model":          {store.DailyFilter{Model: a.Model}, 1},
			"own":            {store.DailyFilter{Scope: &store.SpendScope{UserID: a.User}}, 1},
			"team's admin":   {store.DailyFilter{Scope: &store.SpendScope{Teams: []string{a.Team}}, Entity: store.EntityTeam}, 1},
			"organization's": {store.DailyFilter{Scope: &store.SpendScope{Organizations: []string{a.Organization}}}, 1},
			"another":        {store.DailyFilter{Scope: &store.SpendScope{UserID: a.User[1:], Teams: []string{a.Team + "t"}}}, 0},
		} {
			c.f.From, c.f.To, c.f.By = "2026-11-01", "2026-11-30", []string{store.ByDay}
			if sums, _, err := s.DailySums(t.Context(), c.f); err != nil || len(sums) != c.want {
				t.Errorf("%s: %d sums, not %d: %v", name, len(sums), c.want, err)
			}
		}
	})
}
