package admin

import (
	"fmt"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// deleteKeys serves POST /key/delete: all keys that it names, or none.
func (a *API) deleteKeys(c *Call) (any, *llm.Error) {
	keys, aliases := c.Body.Texts("keys"), c.Body.Texts("key_aliases")
	if n := len(keys) + len(aliases); n == 0 || n > mostKeys {
		return nil, badRequest(fmt.Sprintf("Name 1 to %d keys to delete, in keys or key_aliases; %d were sent.", mostKeys, n), "keys")
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		found, e := a.keysNamed(c, tx, keys, aliases)
		if e != nil {
			return e
		}
		targets, e := a.keyTargets(c, tx, found...)
		if e != nil {
			return e
		}
		for _, k := range found {
			if e := c.May(access.KeyDelete, targets[k.Token]); e != nil {
				return e
			}
		}
		for _, k := range found {
			if e := a.dropKey(c, tx, k); e != nil {
				return e
			}
		}
		return nil
	})
	if e != nil {
		return nil, e
	}
	return struct {
		Deleted []string `json:"deleted_keys"`
	}{append(keys, aliases...)}, nil
}

// keysNamed reads the keys of some names and aliases, each once. One that is
// not there is an error.
func (a *API) keysNamed(c *Call, tx *store.Tx, names, aliases []string) ([]*identity.Key, *llm.Error) {
	var out []*identity.Key
	seen := map[string]bool{}
	add := func(k *identity.Key) {
		if !seen[k.Token] {
			seen[k.Token] = true
			out = append(out, k)
		}
	}
	for _, name := range names {
		k, e := a.keyNamed(c, tx, name)
		if e != nil {
			return nil, e
		}
		add(k)
	}
	for _, alias := range aliases {
		found, err := store.Find[identity.Key](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("key_alias", alias)}})
		if err != nil {
			return nil, a.failed(err)
		}
		if alias == "" || len(found) == 0 {
			return nil, notFound(fmt.Sprintf("No key has the alias %q. Nothing was deleted.", clipText(alias)), "key_aliases")
		}
		for _, k := range found {
			add(k)
		}
	}
	return out, nil
}

// dropKey deletes a key and what is nothing without it: its old digests, the
// claims that stand for it and the budget that was made for it.
func (a *API) dropKey(c *Call, tx *store.Tx, k *identity.Key) *llm.Error {
	retired, err := store.Find[identity.RetiredKey](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("active_token", k.Token)}})
	if err != nil {
		return a.failed(err)
	}
	for _, r := range retired {
		if err := tx.Delete(r); err != nil {
			return a.failed(err)
		}
	}
	mappings, err := store.Find[identity.JWTMapping](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("token", k.Token)}})
	if err != nil {
		return a.failed(err)
	}
	for _, m := range mappings {
		if err := tx.Delete(m); err != nil {
			return a.failed(err)
		}
	}
	if err := tx.Delete(k); err != nil {
		return a.failed(err)
	}
	return a.dropBudget(c, tx, k, k.Token, k.BudgetID)
}

// blockKey serves POST /key/block.
func (a *API) blockKey(c *Call) (any, *llm.Error) {
	k, e := a.turnKey(c, true, store.Blocked)
	if e != nil {
		return nil, e
	}
	return newKeyToken(k, nil, zulu), nil
}

// keyUnblocked is the answer to /key/unblock.
type keyUnblocked struct {
	Token string `json:"token"`
	keyRow[*isoZ]
}

// unblockKey serves POST /key/unblock.
func (a *API) unblockKey(c *Call) (any, *llm.Error) {
	k, e := a.turnKey(c, false, store.Unblocked)
	if e != nil {
		return nil, e
	}
	return keyUnblocked{k.Token, newKeyRow(k, nil, zulu)}, nil
}

// turnKey blocks or unblocks a key.
func (a *API) turnKey(c *Call, blocked bool, action store.Action) (*identity.Key, *llm.Error) {
	var k *identity.Key
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		var e *llm.Error
		if k, e = a.keyToChange(c, tx, c.Body.Text("key"), access.KeyBlock); e != nil {
			return e
		}
		setBlocked(k, blocked)
		put(&k.Settings, "settings_updated_at", quoted(tx.Now()))
		return a.failed(tx.UpdateAs(action, k))
	})
	return k, e
}

// keyToChange reads a key in a transaction where the caller may do a thing to it.
func (a *API) keyToChange(c *Call, tx *store.Tx, name string, action access.Action) (*identity.Key, *llm.Error) {
	k, e := a.keyNamed(c, tx, name)
	if e != nil {
		return nil, e
	}
	t, e := a.keyTarget(c, tx, k)
	if e != nil {
		return nil, e
	}
	return k, c.May(action, t)
}

// spendReset is the answer to a reset of a key's spend.
type spendReset struct {
	Token     string      `json:"key_hash"`
	Spend     money.Nano  `json:"spend"`
	Before    money.Nano  `json:"previous_spend"`
	MaxBudget *money.Nano `json:"max_budget"`
	ResetAt   *isoZ       `json:"budget_reset_at"`
}

// resetKeySpend serves POST /key/{key_id}/reset_spend.
func (a *API) resetKeySpend(c *Call) (any, *llm.Error) {
	to := c.Body.Money("reset_to")
	if to == nil {
		return nil, validation(Violation{"float_type", []any{"body", "reset_to"}, "Input should be a valid number"})
	}
	var answer spendReset
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		k, e := a.keyToChange(c, tx, c.Params["key_id"], access.KeyResetSpend)
		if e != nil {
			return e
		}
		if *to > k.Spend {
			return badRequest(fmt.Sprintf("reset_to must be between 0 and what the key has spent, %s dollars. Received: %s", k.Spend, to), "reset_to")
		}
		answer = spendReset{k.Token, *to, k.Spend, k.MaxBudget, zulu(k.BudgetResetAt)}
		k.Spend = *to
		return a.failed(tx.Update(k))
	})
	if e != nil {
		return nil, e
	}
	return answer, nil
}

// keyStatus is what a key is for its holder now.
func keyStatus(k *identity.Key, now time.Time) string {
	switch {
	case k.Blocked:
		return "revoked"
	case k.Expires != nil && !k.Expires.After(now):
		return "expired"
	}
	return "active"
}
