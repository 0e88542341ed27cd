package audit

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"sluice/proxy/chain"
)

// Formats of an export.
const (
	JSONL = "jsonl" // a row is a line, every column to the letter, as in an archive
	CSV   = "csv"   // for spreadsheets, see cell
)

// Range is a range of time in which rows count: From ≤ at < To. A zero time is
// no bound.
type Range struct {
	From, To time.Time
}

func (r Range) has(at time.Time) bool {
	return (r.From.IsZero() || !at.Before(r.From)) && (r.To.IsZero() || at.Before(r.To))
}

// columns are the first line of an export as CSV.
var columns = []string{
	"number", "at", "actor", "actor_key", "claimed_actor", "action", "object_type", "object_id", "before", "after",
	"source", "request_id", "host", "reason", "chain_key", "chain_mac",
}

// Record is a record of changes that can be read from its beginning:
// *store.Store.
type Record interface {
	// Record hands over the rows whose numbers are greater than after, in order,
	// until an error of fn, which it returns.
	Record(ctx context.Context, after int64, fn func(chain.Row) error) error
}

// Export writes the rows of the record that is in the database, oldest first.
// It keeps no more than a page of them.
func Export(ctx context.Context, record Record, within Range, form string, to io.Writer) error {
	out := bufio.NewWriterSize(to, 1<<16)
	table := csv.NewWriter(out)
	if form == CSV {
		if err := table.Write(columns); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
	}
	err := record.Record(ctx, 0, func(r chain.Row) error {
		if !within.has(r.At) {
			return nil
		}
		var err error
		if form == CSV {
			err = table.Write(cells(&r))
		} else {
			var text []byte
			if text, err = encoded(lineOf(&r)); err == nil {
				_, err = out.Write(append(text, '\n'))
			}
		}
		if err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		return nil
	})
	table.Flush()
	if err = errors.Join(err, table.Error()); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

func cells(r *chain.Row) []string {
	l := lineOf(r)
	optional := func(text *letters) string {
		if text == nil {
			return ""
		}
		return string(*text)
	}
	mac, _ := l.MAC.MarshalText() // it never fails
	out := []string{
		strconv.FormatInt(l.Number, 10), l.At, string(l.Actor), string(l.ActorKey), string(l.ClaimedActor), string(l.Action),
		string(l.ObjectType), string(l.ObjectID), optional(l.Before), optional(l.After), string(l.Source), string(l.RequestID),
		string(l.Host), string(l.Reason), string(l.Key), string(mac),
	}
	for i := range out {
		out[i] = cell(out[i])
	}
	return out
}

// cell is a text that a spreadsheet shows and does not run: callers choose what
// stands in some columns, and = + - @ would begin a formula.
func cell(text string) string {
	if text == "" {
		return ""
	}
	switch text[0] {
	case '=', '+', '-', '@', '\t', '\r':
		return "'" + text
	}
	return text
}
