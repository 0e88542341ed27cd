package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

type spendReconcile struct {
	From string `name:"from" placeholder:"DATE" help:"First day (UTC). Default: 30 days before the last one."`
	To   string `name:"to" placeholder:"DATE" help:"Last day (UTC). Default: today."`
	Deep bool   `name:"deep" help:"Compare what objects have spent with the rows of their window too, which reads all of these."`
	JSON bool   `name:"json" help:"Print one JSON document."`
}

// commandTime is how long a command may take that reads whole periods. Each of
// its statements has the bound of the connection.
const commandTime = 24 * time.Hour

// reconcileDays is the period that is compared where none is named.
const reconcileDays = 30

// reconcileReport is what a comparison found, as --json prints it.
type reconcileReport struct {
	From    string           `json:"from"`
	To      string           `json:"to"`
	Days    int              `json:"days"`
	Rows    int64            `json:"rows"`
	Drift   money.Nano       `json:"drift"`
	Places  []reconcilePlace `json:"places"`
	Skipped []reconcileDay   `json:"skipped"`
}

type reconcilePlace struct {
	Where    string     `json:"where"`
	Sum      money.Nano `json:"sum"`
	Rows     money.Nano `json:"rows"`
	Requests int64      `json:"requests"` // of the sum, less those of the rows
}

type reconcileDay struct {
	Day string `json:"day"`
	Why string `json:"why"`
}

// days reads a period of days, both included.
func days(from, to string, now time.Time) (first, last time.Time, err error) {
	last = now.UTC().Truncate(24 * time.Hour)
	for _, d := range []struct {
		name, text string
		at         *time.Time
	}{{"to", to, &last}, {"from", from, &first}} {
		if d.text == "" {
			continue
		}
		if *d.at, err = time.Parse(time.DateOnly, d.text); err != nil {
			return first, last, boot.Exit(fleet.ExitConfig, fmt.Errorf("--%s %s is no date: write 2026-05-01", d.name, d.text))
		}
	}
	if from == "" {
		first = last.AddDate(0, 0, -reconcileDays)
	}
	if first.After(last) {
		return first, last, boot.Exit(fleet.ExitConfig, fmt.Errorf("--from %s is after --to %s: nothing would be compared",
			first.Format(time.DateOnly), last.Format(time.DateOnly)))
	}
	return first, last, nil
}

// reconcile compares sums with rows, and fails where they differ.
func reconcile(ctx context.Context, to io.Writer, args *spendReconcile, s *store.Store) error {
	first, last, err := days(args.From, args.To, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	found, err := s.Reconcile(ctx, store.Reconciling{From: first, To: last, Deep: args.Deep})
	if err != nil {
		return storeExit(err)
	}
	r := reconcileReport{
		From: first.Format(time.DateOnly), To: last.Format(time.DateOnly), Days: found.Days, Rows: found.Rows, Drift: found.Drift,
		Places: []reconcilePlace{}, Skipped: []reconcileDay{},
	}
	for _, d := range found.Places {
		r.Places = append(r.Places, reconcilePlace{d.Where, d.Is, d.Rows, d.Count})
	}
	for _, d := range found.Skipped {
		r.Skipped = append(r.Skipped, reconcileDay{d.Day, d.Why})
	}
	if args.JSON {
		err = json.NewEncoder(to).Encode(r)
	} else {
		err = r.print(to)
	}
	if err == nil && len(r.Places) > 0 {
		err = boot.Exit(fleet.ExitFailed, fmt.Errorf("sums differ from their rows by $%s", r.Drift))
	}
	return err
}

func (r *reconcileReport) print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	if len(r.Places) > 0 {
		_, _ = fmt.Fprintln(w, "WHERE\tSUM\tROWS\tREQUESTS")
	}
	for _, p := range r.Places {
		_, _ = fmt.Fprintf(w, "%s\t$%s\t$%s\t%+d\n", p.Where, p.Sum, p.Rows, p.Requests)
	}
	for _, d := range r.Skipped {
		_, _ = fmt.Fprintf(w, "%s is left out: %s\n", d.Day, d.Why)
	}
	_, _ = fmt.Fprintf(w, "drift $%s: %d days from %s to %s, %d rows\n", r.Drift, r.Days, r.From, r.To, r.Rows)
	return w.Flush()
}
