package admin

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/store"
)

const (
	exportRows  = 1000    // on a page, where the caller names no number
	exportBytes = 8 << 20 // a page ends once it has so many
)

// errPageFull ends the reading of a page.
var errPageFull = errors.New("the page is full")

// exportColumns are the first line of an export as a table.
var exportColumns = []string{
	"id", "updated_at", "changed_by", "changed_by_api_key", "action", "table_name", "object_id", "before_value", "updated_values",
	"claimed_by", "source", "request_id", "host", "reason", "chain_key", "chain_mac",
}

// exportChanges writes one page of the record, oldest first. Where more follow,
// x-sluice-next-after has what after of the next page is; the pages one behind
// the other are one file, so only the first has the line of columns.
func (a *API) exportChanges(c *Call) (any, *llm.Error) {
	var out bytes.Buffer
	table, asTable := csv.NewWriter(&out), c.Arg("format") == "csv"
	f, known := c.auditFilter()
	most := c.ArgInt("limit", exportRows)
	f.After, f.Oldest, f.Limit = int64(c.ArgInt("after", 0)), true, most+1
	if asTable && f.After == 0 {
		_ = table.Write(exportColumns) // into memory
	}
	rows, last := 0, int64(0)
	var err error
	if known {
		err = a.c.Store.EachChange(c.Ctx, f, func(ch *store.Change) error {
			if rows == most || out.Len() >= exportBytes {
				return errPageFull
			}
			rows, last = rows+1, ch.Number
			return exportRow(&out, table, asTable, auditOf(ch))
		})
	}
	more := errors.Is(err, errPageFull)
	if err != nil && !more {
		return nil, a.failed(err)
	}
	table.Flush()
	kind, ending := "application/x-ndjson", "jsonl"
	if asTable {
		kind, ending = "text/csv; charset=utf-8", "csv"
	}
	r := Reply{Type: kind, Body: out.Bytes(), Headers: []llm.Field{
		{Name: []byte("content-disposition"), Value: []byte(`attachment; filename="audit.` + ending + `"`)},
	}}
	if more {
		r.Headers = append(r.Headers, llm.Field{Name: []byte("x-sluice-next-after"), Value: strconv.AppendInt(nil, last, 10)})
	}
	return r, nil
}

// exportRow writes one change.
func exportRow(out *bytes.Buffer, table *csv.Writer, asTable bool, row auditRow) error {
	if !asTable {
		to := json.NewEncoder(out)
		to.SetEscapeHTML(false)
		return to.Encode(row)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	cells := []string{
		row.ID, time.Time(row.UpdatedAt).UTC().Format(time.RFC3339Nano), row.ChangedBy, row.ChangedByAPIKey, row.Action, row.TableName, row.ObjectID,
		string(row.BeforeValue), string(row.UpdatedValues), text(row.ClaimedBy), text(row.Source), text(row.RequestID), text(row.Host), text(row.Reason),
		text(row.ChainKey), text(row.ChainMAC),
	}
	for i := range cells {
		cells[i] = harmless(cells[i])
	}
	if err := table.Write(cells); err != nil {
		return err
	}
	table.Flush()
	return table.Error()
}

// harmless is a text that a spreadsheet shows and does not run: callers choose
// some of them, and = + - @ would begin a formula.
func harmless(text string) string {
	if text == "" {
		return ""
	}
	switch text[0] {
	case '=', '+', '-', '@', '\t', '\r':
		return "'" + text
	}
	return text
}
