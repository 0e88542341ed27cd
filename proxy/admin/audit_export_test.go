package admin

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// An export page by page is the whole record, in either form, and every row of
// it is the row that /audit tells.
func TestAuditExport(t *testing.T) {
	each(t, func(w *world) {
		for i := range 7 {
			w.insert(&identity.Key{Token: fmt.Sprint("k", i), TeamID: fmt.Sprint("t", i%2)})
		}
		var lines []string
		pages, after := 0, "0"
		for after != "" {
			page := w.call("master", "GET", "/audit/export?limit=3&after="+after, nil)
			if page.Status != 200 || page.Headers["content-disposition"] != `attachment; filename="audit.jsonl"` {
				w.Fatalf("%d %s %v", page.Status, page.Raw, page.Headers)
			}
			lines = append(lines, strings.Split(strings.TrimSpace(string(page.Raw)), "\n")...)
			pages, after = pages+1, page.Headers["x-sluice-next-after"]
		}
		if pages != 3 || len(lines) != 7 {
			w.Fatalf("%d pages, %d lines: %q", pages, len(lines), lines)
		}
		for i, line := range lines {
			one := w.ok("master", "GET", fmt.Sprintf("/audit/%d", i+1), nil)
			var row map[string]any
			d := json.NewDecoder(strings.NewReader(line))
			d.UseNumber()
			if err := d.Decode(&row); err != nil || fmt.Sprint(row) != fmt.Sprint(one) {
				w.Errorf("%s is not %v: %v", line, one, err)
			}
		}
		first := w.call("master", "GET", "/audit/export?format=csv&limit=4", nil)
		rest := w.call("master", "GET", "/audit/export?format=csv&after="+first.Headers["x-sluice-next-after"], nil)
		table, err := csv.NewReader(strings.NewReader(string(first.Raw) + string(rest.Raw))).ReadAll()
		if err != nil || len(table) != 8 || table[0][0] != "id" || table[7][0] != "7" || table[7][6] != "k6" {
			w.Errorf("%q %v", table, err)
		}
		if a := w.call("master", "GET", "/audit/export?object_team_id=t1", nil); strings.Count(string(a.Raw), "\n") != 3 {
			w.Errorf("of one team: %s", a.Raw)
		}
		for _, empty := range []string{"table_name=nothing", "after=7", "action=blocked"} {
			if a := w.call("master", "GET", "/audit/export?"+empty, nil); a.Status != 200 || len(a.Raw) != 0 || a.Headers["x-sluice-next-after"] != "" {
				w.Errorf("%s: %d %q %v", empty, a.Status, a.Raw, a.Headers)
			}
		}
		w.refused(422, "limit", "master", "GET", "/audit/export?limit=1001", nil)
		w.refused(422, "format", "master", "GET", "/audit/export?format=xml", nil)
	})
}

// A page ends where it has as many bytes as it may, whatever its rows hold, and
// none is left out.
func TestAuditExportOfLargeRows(t *testing.T) {
	each(t, func(w *world) {
		large, _ := json.Marshal(strings.Repeat("x", 1<<20-100))
		for i := range 12 {
			w.insert(&identity.Key{Token: fmt.Sprint("k", i), Metadata: identity.Fields{"a": large}})
		}
		rows, pages, after := 0, 0, ""
		for {
			page := w.call("master", "GET", "/audit/export?after="+after, nil)
			if len(page.Raw) > exportBytes+2<<20 {
				w.Errorf("a page of %d bytes", len(page.Raw))
			}
			rows, pages = rows+strings.Count(string(page.Raw), "\n"), pages+1
			if after = page.Headers["x-sluice-next-after"]; after == "" {
				break
			}
		}
		if rows != 12 || pages != 2 {
			w.Errorf("%d rows on %d pages", rows, pages)
		}
	})
}

// What a caller says of itself does not become a formula in a spreadsheet.
func TestAuditExportHoldsNoFormula(t *testing.T) {
	each(t, func(w *world) {
		by := store.Actor{Claimed: `=HYPERLINK("http://x")`, Reason: "@now"}
		err := w.store.Change(context.Background(), by, func(tx *store.Tx) error { return tx.Insert(&identity.Budget{ID: "-b"}) })
		if err != nil {
			w.Fatal(err)
		}
		a := w.call("master", "GET", "/audit/export?format=csv", nil)
		for _, want := range []string{`"'=HYPERLINK(""http://x"")"`, ",'@now,", ",'-b,"} {
			if !strings.Contains(string(a.Raw), want) {
				w.Errorf("no %s in %s", want, a.Raw)
			}
		}
	})
}
