package admin

import (
	"cmp"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// spendHandlers are the handlers of proxy/access/spend.go.
func spendHandlers() map[string]handler {
	out := map[string]handler{
		"GET /spend/keys":   (*API).spendKeys,
		"GET /spend/users":  (*API).spendUsers,
		"GET /global/spend": (*API).globalSpend,

		"GET /spend/logs":            (*API).spendLogs,
		"GET /spend/logs/v2":         (*API).spendPages,
		"GET /spend/logs/ui":         (*API).spendPages,
		"GET /spend/logs/session/ui": (*API).sessionPages,
	}
	for path, by := range map[string]spentBy{
		"/user":         {store.EntityUser, "user_id", ""},
		"/team":         {store.EntityTeam, "team_ids", "exclude_team_ids"},
		"/tag":          {store.EntityTag, "tags", ""},
		"/organization": {store.EntityOrganization, "organization_ids", "exclude_organization_ids"},
		"/customer":     {store.EntityCustomer, "end_user_ids", "exclude_end_user_ids"},
		"/end_user":     {store.EntityCustomer, "end_user_ids", "exclude_end_user_ids"},
	} {
		out["GET "+path+"/daily/activity"] = by.activity
		out["GET "+path+"/daily/activity/aggregated"] = by.aggregated
		out["GET "+path+"/daily/activity/export"] = by.export
	}
	return out
}

// spentKey is a key in the list of those that spent most.
type spentKey struct {
	Token string `json:"token"`
	keyRow[*isoZ]
}

// spendKeys lists the keys that the caller sees, what spent most first.
func (a *API) spendKeys(c *Call) (any, *llm.Error) {
	reach, e := c.Reach(access.SpendRead)
	if e != nil {
		return nil, e
	}
	q := store.Query{Where: keysWithin(reach), Order: "spend", Desc: true, Limit: longestList}
	found, err := store.Find[identity.Key](c.Ctx, a.c.Store, q)
	if err != nil {
		return nil, a.failed(err)
	}
	slices.SortFunc(found, func(a, b *identity.Key) int { return moreSpent(a.Spend, b.Spend, &a.Stamp, &b.Stamp) })
	budgets, err := budgetsOf(c, a.c.Store, keyBudgetIDs(found))
	if err != nil {
		return nil, a.failed(err)
	}
	out := make([]spentKey, len(found))
	for i, k := range found {
		out[i] = spentKey{k.Token, newKeyRow(k, budgets[k.BudgetID], zulu)}
	}
	return out, nil
}

// moreSpent orders by what was spent, the most first; of equals the older one.
func moreSpent(a, b money.Nano, of, other *identity.Stamp) int {
	return cmp.Or(cmp.Compare(b, a), of.CreatedAt.Compare(other.CreatedAt), cmp.Compare(of.ChangeNumber, other.ChangeNumber))
}

// spentUser is a user in the list of those that spent most. The recorded list
// has all of a user but its permissions on objects.
type spentUser struct {
	userFields
	ObjectPermission *struct{} `json:"object_permission,omitempty"`
	KeyAliases       []string  `json:"key_aliases"`
}

// spendUsers lists the users that the caller sees, what spent most first.
func (a *API) spendUsers(c *Call) (any, *llm.Error) {
	reach, e := c.Reach(access.SpendRead)
	if e != nil {
		return nil, e
	}
	q := store.Query{Order: "spend", Desc: true, Limit: longestList}
	if !reach.All {
		seen := []store.Cond{inOrganizations(reach.Organizations)}
		if reach.UserID != "" {
			seen = append(seen, store.Eq("user_id", reach.UserID))
		}
		q.Where = append(q.Where, store.Any(seen...))
	}
	if id := c.Arg("user_id"); id != "" {
		q.Where = append(q.Where, store.Eq("user_id", id))
	}
	users, err := store.Find[identity.User](c.Ctx, a.c.Store, q)
	if err != nil {
		return nil, a.failed(err)
	}
	slices.SortFunc(users, func(a, b *identity.User) int { return moreSpent(a.Spend, b.Spend, &a.Stamp, &b.Stamp) })
	ids := idsOf(users)
	teams, err := teamsOf(c.Ctx, a.c.Store, ids...)
	if err != nil {
		return nil, a.failed(err)
	}
	aliases := map[string][]string{}
	keys, err := store.Find[identity.Key](c.Ctx, a.c.Store, store.Query{
		Where: []store.Cond{store.In("user_id", ids), store.NotNull("key_alias")}, Limit: longestList,
	})
	if err != nil {
		return nil, a.failed(err)
	}
	for _, k := range keys {
		aliases[k.UserID] = append(aliases[k.UserID], k.Alias)
	}
	out := make([]spentUser, len(users))
	for i, u := range users {
		out[i] = spentUser{userFields: newUserFields(u, teams[u.ID]), KeyAliases: list(aliases[u.ID])}
	}
	return out, nil
}

// globalSpend adds up what all keys have spent. There is no bound on the whole
// gateway's spending, which LiteLLM says as 0.
func (a *API) globalSpend(c *Call) (any, *llm.Error) {
	sum, err := store.Sum[identity.Key](c.Ctx, a.c.Store, "spend")
	if err != nil {
		return nil, a.failed(err)
	}
	return struct {
		Spend     money.Nano `json:"spend"`
		MaxBudget money.Nano `json:"max_budget"`
	}{Spend: sum}, nil
}
