package admin

import (
	"sluice/proxy/access"
	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// everything is the object of a change that all of its kind are the object of.
const everything = "*"

// resetGlobalSpend sets what keys and teams have spent to nothing, and what
// counts against their budgets. The record says so before it is done, so that
// nothing is done that is not in it.
func (a *API) resetGlobalSpend(c *Call) (any, *llm.Error) {
	keys, err := store.Sum[identity.Key](c.Ctx, a.c.Store, "spend")
	if err != nil {
		return nil, a.failed(err)
	}
	teams, err := store.Sum[identity.Team](c.Ctx, a.c.Store, "spend")
	if err != nil {
		return nil, a.failed(err)
	}
	note := func(tx *store.Tx, kind identity.Kind, was money.Nano) error {
		return tx.Note(store.Updated, kind, everything, map[string]int64{"spend": int64(was)}, map[string]int64{"spend": 0})
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		if e := c.May(access.SpendReset, access.Target{}); e != nil {
			return e
		}
		if err := note(tx, identity.KindKey, keys); err != nil {
			return a.failed(err)
		}
		return a.failed(note(tx, identity.KindTeam, teams))
	})
	if e != nil {
		return nil, e
	}
	for _, kind := range []bill.Kind{bill.KindKey, bill.KindTeam} {
		if _, err := a.c.Store.ClearSpend(c.Ctx, kind, c.Actor().User); err != nil {
			return nil, a.failed(err)
		}
	}
	return map[string]string{"message": "The spend of all keys and teams is 0 now.", "status": "success"}, nil
}
