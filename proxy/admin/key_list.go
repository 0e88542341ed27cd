package admin

import (
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// keyOrders are the columns that a list of keys may be sorted by.
var keyOrders = []string{
	"token", "key_name", "key_alias", "spend", "max_budget", "user_id", "team_id", "organization_id", "project_id", "expires",
	"created_at", "created_by", "updated_at", "budget_reset_at", "budget_duration", "rpm_limit", "tpm_limit", "last_active", "blocked",
}

// keyListing is the answer to /key/list.
type keyListing struct {
	Keys  any `json:"keys"`
	Total int `json:"total_count"`
	Page  int `json:"current_page"`
	Pages int `json:"total_pages"`
}

// listKeys serves GET /key/list. What the caller may not see is neither listed
// nor counted.
func (a *API) listKeys(c *Call) (any, *llm.Error) {
	q, e := a.keyQuery(c)
	if e != nil {
		return nil, e
	}
	found, total, e := counted[identity.Key](a, c, q)
	if e != nil {
		return nil, e
	}
	answer := keyListing{Total: total, Page: c.ArgInt("page", 1), Pages: pages(total, q.Limit)}
	if !c.ArgBool("return_full_object") {
		tokens := make([]string, len(found))
		for i, k := range found {
			tokens[i] = k.Token
		}
		answer.Keys = tokens
		return answer, nil
	}
	answer.Keys, e = a.wholeKeys(c, found)
	return answer, e
}

// wholeKeys are keys as a list shows them whole.
func (a *API) wholeKeys(c *Call, found []*identity.Key) ([]keyListed[*isoZ], *llm.Error) {
	budgets, err := budgetsOf(c, a.c.Store, keyBudgetIDs(found))
	if err != nil {
		return nil, a.failed(err)
	}
	users := map[string]*listedUser{}
	if slices.Contains(c.Args("expand"), "user") {
		var ids []string
		for _, k := range found {
			ids = append(ids, k.UserID, k.CreatedBy)
		}
		rows, err := store.Find[identity.User](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.In("user_id", ids)}})
		if err != nil {
			return nil, a.failed(err)
		}
		for _, u := range rows {
			users[u.ID] = &listedUser{ID: u.ID, Email: null(u.Email), Alias: null(u.Alias)}
		}
	}
	out := make([]keyListed[*isoZ], len(found))
	for i, k := range found {
		out[i] = keyListed[*isoZ]{newKeyToken(k, budgets[k.BudgetID], zulu), users[k.UserID], users[k.CreatedBy]}
	}
	return out, nil
}

// keyQuery is what the list's parameters ask for, of what the caller may see.
func (a *API) keyQuery(c *Call) (store.Query, *llm.Error) {
	q := store.Query{Order: "created_at", Desc: true, Limit: c.ArgInt("size", 10)}
	q.Offset = (c.ArgInt("page", 1) - 1) * q.Limit
	if by := c.Arg("sort_by"); by != "" {
		if !slices.Contains(keyOrders, by) {
			return q, badRequest("sort_by must be one of "+strings.Join(keyOrders, ", ")+". Received: "+clipText(by), "sort_by")
		}
		q.Order = by
	}
	if order := c.Arg("sort_order"); order != "" {
		q.Desc = order == "desc"
	}
	seen, e := a.keysSeen(c)
	if e != nil {
		return q, e
	}
	asked, e := a.keysAsked(c)
	if e != nil {
		return q, e
	}
	q.Where = append(append(seen, asked...), keyStates(c)...)
	return q, nil
}

// keysSeen is the condition of the keys that the caller may see.
func (a *API) keysSeen(c *Call) ([]store.Cond, *llm.Error) {
	r, e := c.Reach(access.KeyList)
	if e != nil {
		return nil, e
	}
	return keysWithin(r), nil
}

// keysWithin is the condition of the keys of a reach.
func keysWithin(r access.Reach) []store.Cond {
	if r.All {
		return nil
	}
	var any []store.Cond
	if r.UserID != "" {
		any = append(any, store.Eq("user_id", r.UserID))
	}
	if len(r.Teams) > 0 {
		any = append(any, store.In("team_id", r.Teams))
	}
	if len(r.TeamsNobody) > 0 {
		any = append(any, store.All(store.In("team_id", r.TeamsNobody), store.Null("user_id")))
	}
	if len(r.Organizations) > 0 {
		any = append(any, store.In("organization_id", r.Organizations),
			store.Among("team_id", identity.KindTeam, "team_id", store.In("organization_id", r.Organizations)))
	}
	return []store.Cond{store.Any(any...)}
}

// keysAsked are the conditions of the parameters. A caller who is no admin and
// names nobody's keys asks for its own.
func (a *API) keysAsked(c *Call) ([]store.Cond, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return nil, e
	}
	r, e := c.Reach(access.KeyList)
	if e != nil {
		return nil, e
	}
	var out []store.Cond
	for _, name := range []string{"team_id", "organization_id", "project_id", "agent_id"} {
		if v := c.Arg(name); v != "" {
			out = append(out, store.Eq(name, v))
		}
	}
	if v := c.Arg("access_group_id"); v != "" {
		out = append(out, store.HasIn("settings", "access_group_ids", v))
	}
	if v := c.Arg("key_hash"); v != "" {
		out = append(out, store.Eq("token", digestOfKey(v)))
	}
	if v := c.Arg("search"); v != "" {
		out = append(out, store.Any(store.Eq("token", digestOfKey(v)), store.Contains("key_alias", v)))
	}
	if v := c.Arg("key_alias"); v != "" && c.ArgBool("substring_matching") {
		out = append(out, store.Contains("key_alias", v))
	} else if v != "" {
		out = append(out, store.Eq("key_alias", v))
	}
	user := c.Arg("user_id")
	if user == "" && !r.All && len(out) == 0 {
		user = who.UserID
	}
	if user == "" {
		return out, nil
	}
	return append(out, keysOf(c, user, r.All)), nil
}

// keysOf is the condition of a user's keys, and of those that the parameters
// count among them.
func keysOf(c *Call, user string, all bool) store.Cond {
	of := []store.Cond{store.Eq("user_id", user)}
	if all && c.ArgBool("substring_matching") {
		of[0] = store.Contains("user_id", user)
	}
	if c.ArgBool("include_created_by_keys") {
		of = append(of, store.Eq("created_by", user))
	}
	if c.ArgBool("include_team_keys") {
		of = append(of, store.Among("team_id", identity.KindMember, "team_id",
			store.Eq("user_id", user), store.Eq("role", identity.TeamAdmin)))
	}
	return store.Any(of...)
}

// keyStates are the conditions of status and expires.
func keyStates(c *Call) []store.Cond {
	now := c.Now
	expired := store.All(store.NotNull("expires"), store.Not(store.After("expires", now)))
	current := store.Any(store.Null("expires"), store.After("expires", now))
	var out []store.Cond
	switch c.Arg("status") {
	case "active":
		out = append(out, store.Eq("blocked", false), current)
	case "expired":
		out = append(out, store.Eq("blocked", false), expired)
	case "revoked":
		out = append(out, store.Eq("blocked", true))
	}
	switch c.Arg("expires") {
	case "active":
		out = append(out, current)
	case "expired":
		out = append(out, expired)
	}
	return out
}

// keyAliases serves GET /key/aliases: the aliases of all keys that the caller
// may see, by name.
func (a *API) keyAliases(c *Call) (any, *llm.Error) {
	where, e := a.keysSeen(c)
	if e != nil {
		return nil, e
	}
	where = append(where, store.NotNull("key_alias"))
	if v := c.Arg("team_id"); v != "" {
		where = append(where, store.Eq("team_id", v))
	}
	if v := c.Arg("search"); v != "" {
		where = append(where, store.Contains("key_alias", v))
	}
	size, page := c.ArgInt("size", 50), c.ArgInt("page", 1)
	found, total, e := counted[identity.Key](a, c, store.Query{Where: where, Order: "key_alias", Limit: size, Offset: (page - 1) * size})
	if e != nil {
		return nil, e
	}
	aliases := make([]string, len(found))
	for i, k := range found {
		aliases[i] = k.Alias
	}
	return struct {
		Aliases []string `json:"aliases"`
		Total   int      `json:"total_count"`
		Page    int      `json:"current_page"`
		Pages   int      `json:"total_pages"`
		Size    int      `json:"size"`
	}{aliases, total, page, pages(total, size), size}, nil
}
