package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
	"sluice/proxy/window"
)

// Lengths of a key that a caller chooses, in characters.
const (
	shortestKey = 24
	longestKey  = 512
)

// generateKey serves POST /key/generate.
func (a *API) generateKey(c *Call) (any, *llm.Error) { return a.makeKey(c, false) }

// generateServiceKey serves POST /key/service-account/generate.
func (a *API) generateServiceKey(c *Call) (any, *llm.Error) {
	if c.Body.Text("team_id") == "" {
		return nil, detail(400, "team_id is required for service account keys. Please specify `team_id` in the request body.")
	}
	return a.makeKey(c, true)
}

// makeKey makes a key as the body describes it.
func (a *API) makeKey(c *Call, service bool) (any, *llm.Error) {
	chosen, e := a.chosenKey(c, "key")
	if e != nil {
		return nil, e
	}
	if c.Body.Given("soft_budget") && c.Body.Text("budget_id") != "" {
		return nil, badRequest("Send either budget_id or soft_budget, not both: the budget that is named has a soft_budget of its own.", "soft_budget")
	}
	var answer keyMade
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		asked, k, e := a.draftKey(c, service)
		if e != nil {
			return e
		}
		o, e := a.owners(c, tx, k, &identity.Key{})
		if e != nil {
			return e
		}
		asked.TeamID = k.TeamID
		if e := a.mayMake(c, tx, asked, k, o); e != nil {
			return e
		}
		if e := a.mayHold(c, k, o.user, o.memberships); e != nil {
			return e
		}
		if e := a.endWithin(c, k); e != nil {
			return e
		}
		if e := a.checkReferences(c, tx, k, &identity.Key{}); e != nil {
			return e
		}
		plain := chosen
		if plain == "" {
			plain = a.randomKey()
		}
		nameKey(k, plain)
		budget, e := a.softBudget(c, tx, k, o.budget)
		if e != nil {
			return e
		}
		if e := a.insertKey(c, tx, k); e != nil {
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

// draftKey describes the key twice: asked is what the body says, which the
// caller's permission is about; k has the configuration's defaults too.
func (a *API) draftKey(c *Call, service bool) (asked, k *identity.Key, e *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return nil, nil, e
	}
	asked = &identity.Key{Type: "default"}
	if e := a.lay(c, asked, c.Body, false); e != nil {
		return nil, nil, e
	}
	filled := maps.Clone(c.Body)
	for name, v := range a.c.Defaults.Key {
		if !filled.Given(name) {
			filled[name] = v
		}
	}
	if e := a.fillBounds(filled); e != nil {
		return nil, nil, e
	}
	k = &identity.Key{Type: "default"}
	if e := a.lay(c, k, filled, false); e != nil {
		return nil, nil, e
	}
	admin, e := c.Admin()
	if e != nil {
		return nil, nil, e
	}
	switch {
	case service:
		asked.UserID, k.UserID = "", ""
		if id := "service_account_id"; k.Metadata[id] == nil {
			name := k.Alias
			if name == "" {
				name = newID()
			}
			put(&k.Metadata, id, quoted(name))
		} else {
			delete(asked.Metadata, id) // who may make such a key may name it
		}
	case k.UserID == "" && !admin:
		asked.UserID, k.UserID = who.UserID, who.UserID
	}
	if e := a.boundEnd(c, k, !c.Body.Given("duration")); e != nil {
		return nil, nil, e
	}
	return asked, k, nil
}

// fillBounds applies upperbound_key_generate_params: more is refused, what is
// not given becomes the bound.
func (a *API) fillBounds(b Body) *llm.Error {
	for name, bound := range a.c.UpperBounds {
		if !b.Given(name) {
			b[name] = bound
		}
	}
	return a.withinBounds(b)
}

// withinBounds refuses what is above upperbound_key_generate_params.
func (a *API) withinBounds(b Body) *llm.Error {
	for _, name := range slices.Sorted(maps.Keys(a.c.UpperBounds)) {
		bound := a.c.UpperBounds[name]
		if b.Given(name) && above(name, b[name], bound) {
			return badRequest(fmt.Sprintf("%s is above what is allowed here: at most %s (upperbound_key_generate_params).", name, bound), name)
		}
	}
	return nil
}

// above compares a field with its bound: numbers, or durations by their length.
func above(name string, given, bound json.RawMessage) bool {
	if name != "duration" && name != "budget_duration" {
		x, y := settingOf[*float64](identity.Fields{"n": given}, "n"), settingOf[*float64](identity.Fields{"n": bound}, "n")
		return x != nil && y != nil && *x > *y
	}
	if text(given) == "-1" {
		return true
	}
	x, err := window.Parse(text(given))
	if err != nil {
		return false // refused where it is read
	}
	y, err := window.Parse(text(bound))
	from := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return err == nil && x.After(from).After(y.After(from))
}

// boundEnd applies auth_key_max_expiration_days. With fill, a key that no end
// was asked for gets the latest one.
func (a *API) boundEnd(c *Call, k *identity.Key, fill bool) *llm.Error {
	if a.c.MaxKeyDays <= 0 {
		return nil
	}
	latest := c.Now.AddDate(0, 0, a.c.MaxKeyDays).Truncate(time.Microsecond)
	switch {
	case k.Expires == nil && fill:
		k.Expires = &latest
	case k.Expires == nil || k.Expires.After(latest):
		return badRequest(fmt.Sprintf("duration must be at most %dd: keys may not live longer here (auth_key_max_expiration_days).",
			a.c.MaxKeyDays), "duration")
	}
	return nil
}

// chosenKey is the secret that the body chooses for a key; "" where it does not.
// Proxy admins alone choose: whoever knows a secret before it is made is whom it
// is made for.
func (a *API) chosenKey(c *Call, field string) (string, *llm.Error) {
	chosen := c.Body.Text(field)
	if chosen == "" {
		return "", nil
	}
	if e := c.mayAdmin(field, access.Target{}); e != nil {
		return "", e
	}
	least := shortestKey
	if a.c.ShortKeys {
		least = 4
	}
	switch {
	case !strings.HasPrefix(chosen, "sk-"):
		return "", badRequest(field+" must start with sk-.", field)
	case len(chosen) < least || len(chosen) > longestKey:
		return "", badRequest(fmt.Sprintf("%s must have %d to %d characters; %d were sent. Leave it out for a random key.",
			field, least, longestKey, len(chosen)), field)
	case strings.ContainsFunc(chosen, func(r rune) bool { return r <= 0x20 || r >= 0x7f }):
		return "", badRequest(field+" must consist of ASCII letters, digits and signs without spaces.", field)
	}
	return chosen, nil
}

// randomKey makes a secret.
func (a *API) randomKey() string {
	n := a.c.KeyLength
	if n <= 0 {
		n = 32
	}
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return "sk-" + base64.RawURLEncoding.EncodeToString(b)
}

// nameKey gives a key its digest and a short name: the last characters of the
// secret, where enough remain that nobody is told.
func nameKey(k *identity.Key, plain string) {
	k.Token, k.Name = keyDigest(plain), "sk-..."
	if len(plain) >= shortestKey {
		k.Name += plain[len(plain)-4:]
	}
}

func keyDigest(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// newKey makes a key at random inside a transaction and returns its secret,
// which is kept nowhere.
func (a *API) newKey(tx *store.Tx, c *Call, k *identity.Key) (plain string, e *llm.Error) {
	plain = a.randomKey()
	nameKey(k, plain)
	return plain, a.insertKey(c, tx, k)
}

// insertKey writes a new key whose secret and alias are not in use.
func (a *API) insertKey(c *Call, tx *store.Tx, k *identity.Key) *llm.Error {
	if e := a.freeToken(c, tx, k.Token); e != nil {
		return e
	}
	if e := a.freeAlias(c, tx, k); e != nil {
		return e
	}
	return a.failed(tx.Insert(k))
}

// freeToken refuses a secret that is or was one of another key: LiteLLM writes
// over it.
func (a *API) freeToken(c *Call, tx *store.Tx, token string) *llm.Error {
	_, err := store.Get[identity.Key](c.Ctx, tx, token)
	if missing(err) {
		var r *identity.RetiredKey
		r, err = store.Get[identity.RetiredKey](c.Ctx, tx, token)
		if err == nil && !r.RevokeAt.After(tx.Now()) { // it opens nothing any more
			return a.failed(tx.Delete(r))
		}
	}
	switch {
	case missing(err):
		return nil
	case err != nil:
		return a.failed(err)
	}
	return conflict("This key exists already. Choose another one, or leave key out for a random one.", "key")
}

// freeAlias refuses an alias that another key has.
func (a *API) freeAlias(c *Call, tx *store.Tx, k *identity.Key) *llm.Error {
	if k.Alias == "" {
		return nil
	}
	n, err := store.Count[identity.Key](c.Ctx, tx, store.Eq("key_alias", k.Alias), store.Ne("token", k.Token))
	if err != nil {
		return a.failed(err)
	}
	if n > 0 {
		return badRequest(fmt.Sprintf("A key with the alias %q exists already. An alias names one key.", clipText(k.Alias)), "key_alias")
	}
	return nil
}

// softBudget keeps soft_budget of the body in a budget of the key's own, and
// returns the budget that the key has then. One that others use too is copied.
func (a *API) softBudget(c *Call, tx *store.Tx, k *identity.Key, has *identity.Budget) (*identity.Budget, *llm.Error) {
	soft := c.Body.Money("soft_budget")
	if !c.Body.Has("soft_budget") || soft == nil && (has == nil || has.SoftBudget == nil) {
		return has, nil
	}
	most := k.MaxBudget
	if most == nil && has != nil {
		most = has.MaxBudget
	}
	if e := neverWarns(soft, most); e != nil {
		return nil, e
	}
	owner := quoted(k.Kind().String() + "/" + k.Token)
	if has != nil && string(has.Settings[madeFor]) == string(owner) {
		users, err := usersOf(c, tx, has.ID)
		if err != nil {
			return nil, a.failed(err)
		}
		if users.total() <= 1 {
			has.SoftBudget = soft
			return has, a.failed(tx.Update(has))
		}
	}
	b := &identity.Budget{}
	if has != nil {
		*b = *has
		b.Settings = maps.Clone(has.Settings)
	}
	b.ID, b.SoftBudget = newID(), soft
	put(&b.Settings, madeFor, owner)
	k.BudgetID = b.ID
	return b, a.failed(tx.Insert(b))
}
