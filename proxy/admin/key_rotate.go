package admin

import (
	"fmt"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
	"sluice/proxy/window"
)

// regenerateKey serves POST /key/regenerate and /key/{key_id}/regenerate: the
// key gets a new secret and, where the body says so, other fields. All else
// stays. With a grace period the old secret works on for that long.
func (a *API) regenerateKey(c *Call) (any, *llm.Error) {
	if c.Body.Given("new_master_key") {
		return nil, &llm.Error{
			Kind: llm.KindBadRequest, Status: 501, Type: "not_implemented_error", Param: "new_master_key",
			Message: "The master key is not changed over the API. Set LITELLM_MASTER_KEY to the new one and SLUICE_OLD_MASTER_KEY to the one before, and " +
				"restart: what is stored is sealed anew in the background. docs/secrets.md has the steps.",
		}
	}
	name := c.Params["key_id"]
	if name == "" {
		name = c.Body.Text("key")
	}
	if name == "" {
		name = c.Arg("key")
	}
	if name == "" {
		return nil, badRequest("key is missing: name the key to regenerate, by itself or by its SHA-256, in the path, the query or the body.", "key")
	}
	chosen, e := a.chosenKey(c, "new_key")
	if e != nil {
		return nil, e
	}
	grace, e := gracePeriod(c)
	if e != nil {
		return nil, e
	}
	plain := chosen
	if plain == "" {
		plain = a.randomKey()
	}
	var answer keyMade
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		k, budget, e := a.rotateKey(c, tx, name, plain, grace)
		if e != nil {
			return e
		}
		answer = newKeyMade(k, budget, plain)
		return nil
	})
	if e != nil {
		return nil, e
	}
	return answer, nil
}

// gracePeriod is for how long an old secret works on; nil for no time.
func gracePeriod(c *Call) (*window.Span, *llm.Error) {
	text := c.Body.Text("grace_period")
	if text == "" {
		return nil, nil
	}
	s, err := window.Parse(text)
	if err != nil {
		return nil, badRequest(fmt.Sprintf("grace_period %s. Received: %q", err, clipText(text)), "grace_period")
	}
	return &s, nil
}

// rotateKey moves a key to a new digest. Whatever refers to the old one follows.
func (a *API) rotateKey(c *Call, tx *store.Tx, name, plain string, grace *window.Span) (*identity.Key, *identity.Budget, *llm.Error) {
	was, e := a.keyNamed(c, tx, name)
	if e != nil {
		return nil, nil, e
	}
	target, e := a.keyTarget(c, tx, was)
	if e != nil {
		return nil, nil, e
	}
	if e := c.May(access.KeyDelete, target); e != nil {
		return nil, nil, e
	}
	who, e := c.Standing()
	if e != nil {
		return nil, nil, e
	}
	if e := mayRoutes(who, was); e != nil {
		return nil, nil, e
	}
	k, budget, e := a.rewritten(c, tx, was)
	if e != nil {
		return nil, nil, e
	}
	if e := a.mayHoldAgain(c, tx, k); e != nil {
		return nil, nil, e
	}
	if end, e := c.ownEnd(); e != nil || outlives(k, end) && !target.Self {
		return nil, nil, either(e, tooLong(end))
	}
	old := k.Token
	nameKey(k, plain)
	if e := a.freeToken(c, tx, k.Token); e != nil {
		return nil, nil, e
	}
	put(&k.Settings, "rotation_count", quoted(settingOf[int64](k.Settings, "rotation_count")+1))
	put(&k.Settings, "last_rotation_at", quoted(tx.Now()))
	delete(k.Settings, "key_rotation_at")
	if e := a.layRotation(c, k); e != nil {
		return nil, nil, e
	}
	if err := tx.Rekey(store.Rotated, was, k); err != nil {
		return nil, nil, a.failed(err)
	}
	if err := a.followKey(c, tx, old, k.Token); err != nil {
		return nil, nil, a.failed(err)
	}
	if budget, e = a.followBudget(tx, old, k, budget); e != nil {
		return nil, nil, e
	}
	// Without a grace period too: calls that run now were made with the old secret,
	// and are those of the key. Its end is long ago, whatever other hosts' clocks say.
	end := tx.Now().Add(-retiredKept)
	if grace != nil {
		end = grace.After(tx.Now())
	}
	if err := tx.Insert(&identity.RetiredKey{Token: old, Active: k.Token, RevokeAt: end}); err != nil {
		return nil, nil, a.failed(err)
	}
	return k, budget, nil
}

// rewritten is the key with the other fields of the body, where there are any.
func (a *API) rewritten(c *Call, tx *store.Tx, was *identity.Key) (*identity.Key, *identity.Budget, *llm.Error) {
	for name := range c.Body {
		switch name {
		case "key", "new_key", "new_master_key", "grace_period":
		default:
			return a.revised(c, tx, was)
		}
	}
	budget, e := a.budget(c, tx, was.BudgetID)
	return copyKey(was), budget, e
}

// retiredKept is how long it is known what a digest became that opens nothing any
// more: as long as calls made with it may wait in journals.
const retiredKept = 48 * time.Hour

// followKey makes what refers to a key's old digest refer to the new one. Old
// secrets whose time was up long ago are forgotten.
func (a *API) followKey(c *Call, tx *store.Tx, old, token string) error {
	retired, err := store.Find[identity.RetiredKey](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("active_token", old)}})
	if err != nil {
		return err
	}
	for _, r := range retired {
		if age := tx.Now().Add(-retiredKept); !r.RevokeAt.After(age) && !r.CreatedAt.After(age) {
			err = tx.Delete(r)
		} else {
			r.Active = token
			err = tx.Update(r)
		}
		if err != nil {
			return err
		}
	}
	mappings, err := store.Find[identity.JWTMapping](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("token", old)}})
	if err != nil {
		return err
	}
	for _, m := range mappings {
		m.Token = token
		if err := tx.Update(m); err != nil {
			return err
		}
	}
	return nil
}

// followBudget keeps the budget that was made for a key its own.
func (a *API) followBudget(tx *store.Tx, old string, k *identity.Key, b *identity.Budget) (*identity.Budget, *llm.Error) {
	if b == nil || text(b.Settings[madeFor]) != k.Kind().String()+"/"+old {
		return b, nil
	}
	put(&b.Settings, madeFor, quoted(k.Kind().String()+"/"+k.Token))
	return b, a.failed(tx.Update(b))
}
