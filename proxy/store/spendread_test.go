package store_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

var firstSpent = time.Date(2026, 11, 19, 6, 0, 0, 0, time.UTC)

// spentRows are attempts ten minutes from each other: 500 of them are over three
// and a half days.
func spentRows(n, keys int) []*bill.Attempt {
	rows := make([]*bill.Attempt, n)
	for i := range rows {
		a := attemptOf(i, keys)
		at := firstSpent.Add(time.Duration(i) * 10 * time.Minute)
		binary.BigEndian.PutUint64(a.RequestID[:8], uint64(at.UnixMilli())<<16|0x7000|uint64(i&0xfff))
		a.Intent.At, a.Settle.At, a.FirstByteAt = at.UnixNano(), at.Add(time.Second).UnixNano(), 0
		a.Cost, a.Session, a.CallID = money.Nano(1000+i), fmt.Sprint("s", i%50), fmt.Sprint("call-", i)
		if i%3 == 0 {
			a.Tags, a.EndUser = []string{"red", fmt.Sprint("t", i%2), "red"}, fmt.Sprint("customer-", i%4)
		}
		if i%10 == 9 {
			a.Status, a.HTTPStatus, a.Organization, a.User = bill.StatusFailure, 429, "o", ""
		}
		rows[i] = a
	}
	return rows
}

// spendOf reads the ids of calls that a filter names.
func spendOf(t *testing.T, s *store.Store, f store.SpendFilter) []string {
	t.Helper()
	var out []string
	err := s.EachSpend(t.Context(), f, func(r *store.SpendRow) error {
		out = append(out, r.CallID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEachSpend(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		rows := spentRows(500, 5)
		loadObjects(t, s, 5)
		insert(t, s, &identity.Organization{ID: "o2"})
		b := &store.Batch{Host: "h", Rows: rows}
		ship(t, s, b, len(rows))
		slim := spentRows(501, 5)[500:]
		ship(t, s, &store.Batch{Host: "h", Rows: slim, Slim: true}, 1)
		day := firstSpent.Truncate(24*time.Hour).AddDate(0, 0, 1)
		yes, least := true, money.Nano(1490)
		for name, c := range map[string]struct {
			f  store.SpendFilter
			is func(a *bill.Attempt) bool
		}{
			"all":     {store.SpendFilter{}, func(*bill.Attempt) bool { return true }},
			"a day":   {store.SpendFilter{From: day, To: day.AddDate(0, 0, 1)}, func(a *bill.Attempt) bool { return a.Intent.At/86400e9 == day.Unix()/86400 }},
			"key":     {store.SpendFilter{Token: digest(3)}, func(a *bill.Attempt) bool { return a.Token == digest(3) }},
			"keys":    {store.SpendFilter{Tokens: []string{digest(3), digest(4)}}, func(a *bill.Attempt) bool { return a.Token == digest(3) || a.Token == digest(4) }},
			"no key":  {store.SpendFilter{Tokens: []string{}}, func(*bill.Attempt) bool { return false }},
			"request": {store.SpendFilter{RequestID: &rows[77].RequestID}, func(a *bill.Attempt) bool { return a.RequestID == rows[77].RequestID }},
			"session": {store.SpendFilter{SessionID: "s7"}, func(a *bill.Attempt) bool { return a.Session == "s7" }},
			"failed":  {store.SpendFilter{Status: "failure"}, func(a *bill.Attempt) bool { return a.Status != bill.StatusSuccess }},
			"429":     {store.SpendFilter{HTTPStatus: 429, EndUser: "customer-1"}, func(a *bill.Attempt) bool { return a.HTTPStatus == 429 && a.EndUser == "customer-1" }},
			"cached":  {store.SpendFilter{CacheHit: &yes}, func(*bill.Attempt) bool { return false }},
			"dear":    {store.SpendFilter{Least: &least}, func(a *bill.Attempt) bool { return a.Cost >= 1490 }},
			"own":     {store.SpendFilter{Scope: &store.SpendScope{UserID: "user-2"}}, func(a *bill.Attempt) bool { return a.User == "user-2" }},
			"nothing": {store.SpendFilter{Scope: &store.SpendScope{}}, func(*bill.Attempt) bool { return false }},
			"scopes": {
				store.SpendFilter{Scope: &store.SpendScope{UserID: "user-2", TeamsNobody: []string{"team-4"}}},
				func(a *bill.Attempt) bool { return a.User == "user-2" || a.Team == "team-4" && a.User == "" },
			},
			"organization": {store.SpendFilter{Scope: &store.SpendScope{Organizations: []string{"o", "o2"}}}, func(a *bill.Attempt) bool { return a.Organization == "o" }},
			"team":         {store.SpendFilter{Scope: &store.SpendScope{Teams: []string{"team-1"}}}, func(a *bill.Attempt) bool { return a.Team == "team-1" }},
		} {
			var want []string
			for i := range rows {
				if c.is(rows[i]) {
					want = append(want, rows[i].CallID)
				}
			}
			got := spendOf(t, s, c.f)
			slices.Reverse(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d rows, not %d", name, len(got), len(want))
			}
			if n, err := s.CountSpend(t.Context(), c.f, 50); err != nil || n != min(len(want), 50) {
				t.Errorf("%s: counted %d of %d, %v", name, n, len(want), err)
			}
			if c.f.Oldest = true; !slices.Equal(spendOf(t, s, c.f), want) {
				t.Errorf("%s: another order", name)
			}
		}
		// Page by page, either way of naming one.
		var paged []string
		f := store.SpendFilter{Oldest: true, Limit: 64}
		for n := 1; n > 0; {
			n = 0
			err := s.EachSpend(t.Context(), f, func(r *store.SpendRow) error {
				n++
				paged = append(paged, r.CallID)
				f.After = &store.SpendKey{RequestID: r.RequestID, Attempt: r.Attempt}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(paged) != 500 || paged[0] != "call-0" || paged[499] != "call-499" {
			t.Errorf("%d rows page by page", len(paged))
		}
		if got := spendOf(t, s, store.SpendFilter{Sort: "cost", Limit: 2, Offset: 1}); !slices.Equal(got, []string{"call-498", "call-497"}) {
			t.Errorf("dearest: %v", got)
		}
		if err := s.EachSpend(t.Context(), store.SpendFilter{Sort: "request_id; DROP TABLE"}, nil); err == nil {
			t.Error("sorted by anything")
		}
	})
}

// TestSpendRowWhole: what was shipped is what is read.
func TestSpendRowWhole(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		a := spentRows(1, 1)[0]
		a.Attempt, a.Streamed, a.CacheHit, a.Project, a.Metadata, a.ErrorKind = 3, true, true, "p", `{"a":[1]}`, "upstream"
		a.FirstByteAt = a.Intent.At + 5e8
		a.Usage.CachedIn, a.Usage.CacheWrite, a.Usage.Reasoning, a.Usage.AudioIn, a.Usage.Estimated = 1, 2, 3, 4, true
		body := store.SpendBody{RequestID: a.RequestID, Attempt: 3, Messages: []byte(`[{"role":"user"}]`), Response: []byte(`{"id":"x"}`)}
		ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{a}, Bodies: []store.SpendBody{body}}, 1)
		var r *store.SpendRow
		err := s.EachSpend(t.Context(), store.SpendFilter{RequestID: &a.RequestID}, func(x *store.SpendRow) error { r = x; return nil })
		if err != nil || r == nil {
			t.Fatal(r, err)
		}
		got := []any{
			r.RequestID, r.Attempt, r.Streamed, r.CacheHit, r.ProjectID, r.ErrorKind, r.StartedAt.UnixNano(), r.FirstByteAt.UnixNano(), r.EndedAt.UnixNano(),
			r.Token, r.UserID, r.TeamID, r.EndUser, r.Model, r.ModelID, r.Provider, r.ProviderModel, r.ProviderRequestID, r.CallID, r.SessionID,
			r.PromptTokens, r.CompletionTokens, r.TotalTokens, r.CacheReadTokens, r.CacheWriteTokens, r.ReasoningTokens, r.Estimated, r.Cost,
			r.PriceVersion, r.ClientAddress, r.Host, r.Sequence, r.HTTPStatus, r.Status,
		}
		want := []any{
			a.RequestID, a.Attempt, true, true, "p", "upstream", a.Intent.At, a.FirstByteAt, a.Settle.At,
			a.Token, a.User, a.Team, a.EndUser, a.Model, a.ModelID, a.Provider, a.ProviderModel, a.ProviderID, a.CallID, a.Session,
			a.Usage.Input, a.Usage.Output, a.Usage.Total, int64(1), int64(2), int64(3), true, a.Cost,
			a.Price, a.ClientAddress, a.Host, a.Sequence, int64(200), "success",
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%d: %v, not %v", i, got[i], want[i])
			}
		}
		for text, doc := range map[string][]byte{`{"a":[1]}`: r.Metadata, `["red","t0","red"]`: r.Tags} {
			if strings.ReplaceAll(string(doc), " ", "") != text {
				t.Errorf("%s, not %s", doc, text)
			}
		}
		if !json.Valid(r.UsageDetail) || !strings.Contains(string(r.UsageDetail), "audio_input_tokens") {
			t.Errorf("detail %s", r.UsageDetail)
		}
		kept, err := s.BodyOf(t.Context(), store.SpendKey{RequestID: a.RequestID, Attempt: 3})
		if err != nil || kept == nil || string(kept.Messages) != string(body.Messages) || string(kept.Response) != string(body.Response) || kept.Metadata != nil {
			t.Errorf("%+v %v", kept, err)
		}
		if kept, err := s.BodyOf(t.Context(), store.SpendKey{RequestID: a.RequestID}); err != nil || kept != nil {
			t.Errorf("%+v %v", kept, err)
		}
	})
}
