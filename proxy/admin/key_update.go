package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// mostKeys is how many keys one call may change or delete: all changes of the
// cluster wait for one another.
const mostKeys = 500

// digestOfKey is the digest that a key is known by: callers name it by itself or
// by its digest.
func digestOfKey(key string) string {
	if strings.HasPrefix(key, "sk-") {
		return keyDigest(key)
	}
	return key
}

// unknownKey is the answer about a key that there is not.
func unknownKey() *llm.Error { return notFound("Key not found in database", "key") }

// keyNamed reads the key that a caller names by itself or by its digest.
func (a *API) keyNamed(c *Call, r store.Reader, key string) (*identity.Key, *llm.Error) {
	k, err := store.Get[identity.Key](c.Ctx, r, digestOfKey(key))
	if missing(err) {
		return nil, unknownKey()
	}
	return k, a.failed(err)
}

// keyUpdated is the answer to an update: the key as it was named, and its row.
type keyUpdated struct {
	Key   string `json:"key"`
	Token string `json:"token"`
	keyRow[*isoOffset]
}

// updateKey serves POST /key/update.
func (a *API) updateKey(c *Call) (any, *llm.Error) {
	k, e := a.changeKey(c, c.Body.Text("key"))
	if e != nil {
		return nil, e
	}
	return keyUpdated{c.Body.Text("key"), k.Token, newKeyRow(k, nil, offset)}, nil
}

// changeKey lays the body of the call over a key.
func (a *API) changeKey(c *Call, name string) (*identity.Key, *llm.Error) {
	var k *identity.Key
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		was, e := a.keyNamed(c, tx, name)
		if e != nil {
			return e
		}
		if k, _, e = a.revised(c, tx, was); e != nil {
			return e
		}
		put(&k.Settings, "settings_updated_at", quoted(tx.Now()))
		return a.failed(tx.UpdateAs(keyAction(was, k), k))
	})
	return k, e
}

// keyAction is what an update amounts to.
func keyAction(was, is *identity.Key) store.Action {
	switch {
	case is.Blocked && !was.Blocked:
		return store.Blocked
	case was.Blocked && !is.Blocked:
		return store.Unblocked
	}
	return store.Updated
}

// revised is a key as the body of the call wants it, where the caller may have
// it so. Nothing of the key is written yet.
func (a *API) revised(c *Call, tx *store.Tx, was *identity.Key) (*identity.Key, *identity.Budget, *llm.Error) {
	admin, e := c.Admin()
	if e != nil {
		return nil, nil, e
	}
	for name, bound := range a.c.UpperBounds {
		if c.Body.Null(name) { // no limit would be more than the bound
			c.Body[name] = bound
		}
	}
	if e := a.withinBounds(c.Body); e != nil {
		return nil, nil, e
	}
	k := copyKey(was)
	if e := a.lay(c, k, c.Body, !admin); e != nil {
		return nil, nil, e
	}
	if c.Body.Has("duration") {
		if e := a.boundEnd(c, k, false); e != nil {
			return nil, nil, e
		}
	}
	o, e := a.owners(c, tx, k, was)
	if e != nil {
		return nil, nil, e
	}
	if e := a.mayChange(c, tx, was, k, o); e != nil {
		return nil, nil, e
	}
	if e := a.checkReferences(c, tx, k, was); e != nil {
		return nil, nil, e
	}
	if k.Alias != was.Alias {
		if e := a.freeAlias(c, tx, k); e != nil {
			return nil, nil, e
		}
	}
	budget, e := a.softBudget(c, tx, k, o.budget)
	return k, budget, e
}

// bulkUpdated is the answer to /key/bulk_update.
type bulkUpdated struct {
	Requested int         `json:"total_requested"`
	Updated   []bulkKey   `json:"successful_updates"`
	Failed    []bulkWrong `json:"failed_updates"`
}

type bulkKey struct {
	Key  string             `json:"key"`
	Info keyRow[*isoOffset] `json:"key_info"`
}

type bulkWrong struct {
	Key    string              `json:"key"`
	Info   *keyRow[*isoOffset] `json:"key_info"`
	Reason string              `json:"failed_reason"`
}

// bulkUpdateKeys serves POST /key/bulk_update: each key in a transaction of its
// own, and what became of it in the answer.
func (a *API) bulkUpdateKeys(c *Call) (any, *llm.Error) {
	if e := c.May(access.KeyBulkUpdate, access.Target{}); e != nil {
		return nil, e
	}
	var items []json.RawMessage
	_ = json.Unmarshal(c.Body["keys"], &items) // its type was checked
	if len(items) == 0 || len(items) > mostKeys {
		return nil, badRequest(fmt.Sprintf("keys must name 1 to %d keys; %d were sent.", mostKeys, len(items)), "keys")
	}
	one := make([]Call, len(items))
	wrong := make([]*llm.Error, len(items))
	taken := updateFields()
	for i, raw := range items {
		one[i] = *c
		b, e := decode(raw)
		if e != nil {
			return nil, e
		}
		unknown, e := b.check(taken, "body", "keys", i)
		if e != nil && e.Status == 422 {
			return nil, e // the request itself is not of the right shape
		}
		for _, name := range unknown {
			if name = "keys." + name; !slices.Contains(c.ignored, name) {
				c.ignored = append(c.ignored, name)
			}
		}
		one[i].Body, wrong[i] = b, e
	}
	if a.c.Strict && len(c.ignored) > 0 {
		return nil, badRequest("The request has fields that are not known: "+strings.Join(c.ignored, ", ")+
			". Leave them out, or start without --strict.", c.ignored[0])
	}
	answer := bulkUpdated{Requested: len(items), Updated: []bulkKey{}, Failed: []bulkWrong{}}
	for i := range one {
		name := one[i].Body.Text("key")
		var k *identity.Key
		e := wrong[i]
		if e == nil {
			k, e = a.changeKey(&one[i], name)
		}
		switch {
		case e == nil:
			answer.Updated = append(answer.Updated, bulkKey{name, newKeyRow(k, nil, offset)})
		case e.HTTPStatus() >= 500 && len(answer.Updated) == 0:
			return nil, e // nothing was done
		default:
			answer.Failed = append(answer.Failed, bulkWrong{Key: name, Reason: e.Message})
		}
	}
	return answer, nil
}
