package store

import (
	"context"
	"fmt"
	"strings"

	"sluice/proxy/bill"
)

// Books is the store as the ledger writes it: what was called with a key that has
// got another secret since belongs to the key that it became.
type Books struct{ *Store }

// Ship is Store.Ship. The rows of the batch get the present digests of their
// keys, which are kept beside the old ones when a key is regenerated. One that is
// regenerated while this runs is missed: its rows stay those of the old digest.
func (s Books) Ship(ctx context.Context, b *Batch) (Shipped, error) {
	tokens := map[string]bool{}
	for _, r := range b.Rows {
		if r.Token != "" {
			tokens[r.Token] = true
		}
	}
	became, err := s.became(ctx, tokens)
	if err != nil {
		return Shipped{}, err
	}
	if len(became) > 0 {
		for _, r := range b.Rows {
			if token := became[r.Token]; token != "" {
				rename(r, token)
			}
		}
	}
	return s.Store.Ship(ctx, b)
}

// became reads which of these digests are those of other keys by now.
func (s Books) became(ctx context.Context, tokens map[string]bool) (map[string]string, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	list := make([]string, 0, len(tokens))
	for t := range tokens {
		list = append(list, t)
	}
	d := s.db.dialect()
	argument, err := d.texts(list)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	err = s.db.query(ctx, "SELECT token, active_token FROM sluice.retired_keys WHERE token IN ("+d.list("$1")+")", []any{argument},
		func(scan func(...any) error) error {
			var was, is string
			err := scan(&was, &is)
			out[was] = is
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read which keys were regenerated: %w", err)
	}
	return out, nil
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
