package store

import (
	"context"
	"fmt"
	"strings"

	"sluice/proxy/bill"
)

// regenerated ends a transaction that ships calls of keys that have got another
// digest since.
type regenerated struct{ became map[string]string }

func (*regenerated) Error() string { return "keys of the batch were regenerated" }

// present looks for rows of keys that were regenerated. Once the sums are written
// nobody can regenerate a key that counts in them until the transaction ends, and
// who has done so before is seen.
func present(ctx context.Context, q querier, s *sums) error {
	var tokens []string
	seen := map[string]bool{}
	for k := range s.shapes {
		if k.token != "" && !seen[k.token] {
			seen[k.token] = true
			tokens = append(tokens, kept(k.token))
		}
	}
	if len(tokens) == 0 {
		return nil
	}
	d := q.dialect()
	argument, err := d.texts(tokens)
	if err != nil {
		return err
	}
	became := map[string]string{}
	err = q.query(ctx, "SELECT token, active_token FROM sluice.retired_keys WHERE token IN ("+d.list("$1")+")", []any{argument},
		func(scan func(...any) error) error {
			var was, is string
			err := scan(&was, &is)
			became[was] = is
			return err
		})
	if err != nil {
		return fmt.Errorf("read which keys were regenerated: %w", err)
	}
	if len(became) > 0 {
		return &regenerated{became}
	}
	return nil
}

// rename makes the rows those of the keys that theirs have become.
func (e *regenerated) rename(b *Batch) {
	for _, r := range b.Rows {
		if token := e.became[r.Token]; token != "" {
			rename(r, token)
		}
	}
}

// rename makes an attempt one of another key. What it had leased of the old one's
// budgets is given back there.
func rename(r *bill.Attempt, token string) {
	was := r.Token
	r.Token = token
	for _, a := range r.Accounts[:len(r.Accounts):len(r.Accounts)] {
		model, of := strings.CutPrefix(a.ID, was+"/")
		switch {
		case a.Kind == bill.KindKey && a.ID == was:
			a.ID = token
		case a.Kind == bill.KindKeyModel && of:
			a.ID = token + "/" + model
		default:
			continue
		}
		a.Leased = false
		r.Accounts = append(r.Accounts, a)
	}
}
