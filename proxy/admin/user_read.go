package admin

import (
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

type userInfo struct {
	ID    string           `json:"user_id"`
	User  *userRow         `json:"user_info"`
	Keys  []keyListedPlain `json:"keys"`
	Teams []teamRow        `json:"teams"`
}

// keyListedPlain is a key in the answers about users and teams.
type keyListedPlain struct {
	Token string `json:"token"`
	keyRow[*isoZ]
}

// readUser reads the user that the query names, or the caller's own; nil if there
// is none.
func (a *API) readUser(c *Call) (string, *identity.User, *llm.Error) {
	id := c.Arg("user_id")
	if id == "" {
		id = c.Caller.User
	}
	if id == "" {
		return "", nil, badRequest("user_id must say which user: the key that called belongs to none.", "user_id")
	}
	// A + in a query stands for a space, and e-mail addresses serve as ids.
	u, e := a.findUser(c, a.c.Store, id)
	if e == nil && u == nil && strings.Contains(id, " ") {
		if u, e = a.findUser(c, a.c.Store, strings.ReplaceAll(id, " ", "+")); u != nil {
			id = u.ID
		}
	}
	if e != nil {
		return "", nil, e
	}
	t, e := a.userTarget(c, a.c.Store, id)
	if e != nil {
		return "", nil, e
	}
	if e := c.May(access.UserInfo, t); e != nil {
		return id, nil, c.unseenUser(e, userMissing(id))
	}
	return id, u, nil
}

func userMissing(id string) *llm.Error {
	return notFound(fmt.Sprintf("User %s not found", id), "user_id")
}

// userInfo answers a user with its keys and teams.
func (a *API) userInfo(c *Call) (any, *llm.Error) {
	id, u, e := a.readUser(c)
	if e != nil {
		return nil, e
	}
	if u == nil && id != c.Caller.User {
		return nil, userMissing(id)
	}
	out := userInfo{ID: id, Keys: []keyListedPlain{}, Teams: []teamRow{}}
	// A user may have keys and teams in other organizations than the caller's.
	seen, e := c.Reach(access.KeyInfo)
	if e != nil {
		return nil, e
	}
	of := append(keysWithin(seen), store.Eq("user_id", id))
	keys, e := listed[identity.Key](a, c, "page_size", of, store.Query{Order: "created_at", Desc: true})
	if e != nil {
		return nil, e
	}
	for _, k := range keys {
		out.Keys = append(out.Keys, keyListedPlain{k.Token, newKeyRow(k, nil, zulu)})
	}
	where := store.Among("team_id", identity.KindMember, "team_id", store.Eq("user_id", id))
	teams, err := store.Find[identity.Team](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{where}, Order: "created_at"})
	if err != nil {
		return nil, a.failed(err)
	}
	ids := make([]string, len(teams))
	for i, t := range teams {
		ids[i] = t.ID
	}
	who, err := rosterOf(c.Ctx, a.c.Store, ids...)
	if err != nil {
		return nil, a.failed(err)
	}
	for _, t := range teams {
		if ok, e := c.Allowed(access.TeamInfo, teamTarget(t)); e != nil {
			return nil, e
		} else if ok {
			out.Teams = append(out.Teams, who.row(t))
		}
	}
	if u != nil {
		out.User = &userRow{userFields: newUserFields(u, ids)}
	}
	return out, nil
}

// userInfoBrief answers a user alone. Whom the caller may not see is not found.
func (a *API) userInfoBrief(c *Call) (any, *llm.Error) {
	id, u, e := a.readUser(c)
	if e != nil && e.HTTPStatus() != 403 {
		return nil, e
	}
	if u == nil || e != nil {
		return nil, userMissing(id)
	}
	teams, err := teamsOf(c.Ctx, a.c.Store, u.ID)
	if err != nil {
		return nil, a.failed(err)
	}
	return newUserBrief(u, teams[u.ID]), nil
}

// userOrder are the columns that users can be sorted by.
var userOrder = []string{"user_id", "user_alias", "user_email", "user_role", "spend", "max_budget", "created_at", "updated_at"}

// order is how a list is sorted: the newest first unless the query says other.
func (c *Call) order(q *store.Query, columns []string) *llm.Error {
	q.Order, q.Desc = "created_at", true
	if by := c.Arg("sort_by"); by != "" {
		if !slices.Contains(columns, by) {
			return badRequest(fmt.Sprintf("sort_by must be one of %s. Received: %q", strings.Join(columns, ", "), clipText(by)), "sort_by")
		}
		q.Order, q.Desc = by, c.Arg("sort_order") == "desc"
	}
	return nil
}

// usersSeen are the users that the caller may see, as a condition.
func (c *Call) usersSeen() (store.Cond, *llm.Error) {
	reach, e := c.Reach(access.UserList)
	if e != nil || reach.All {
		return store.All(), e
	}
	if len(reach.Organizations) == 0 {
		return store.Any(), c.May(access.UserList, access.Target{})
	}
	return inOrganizations(reach.Organizations), nil
}

// inOrganizations holds for members of organizations.
func inOrganizations(ids []string) store.Cond {
	return store.Among("user_id", identity.KindOrganizationMember, "user_id", store.In("organization_id", ids))
}

type userPage struct {
	Users []userListed `json:"users"`
	Total int          `json:"total"`
	Page  int          `json:"page"`
	Size  int          `json:"page_size"`
	Pages int          `json:"total_pages"`
}

// listUsers answers a page of the users that the caller may see.
func (a *API) listUsers(c *Call) (any, *llm.Error) {
	seen, e := c.usersSeen()
	if e != nil {
		return nil, e
	}
	out := userPage{Users: []userListed{}, Page: c.ArgInt("page", 1), Size: c.ArgInt("page_size", 25)}
	q := store.Query{Where: append(c.userFilters(), seen), Limit: out.Size, Offset: (out.Page - 1) * out.Size}
	if e := c.order(&q, userOrder); e != nil {
		return nil, e
	}
	users, total, e := counted[identity.User](a, c, q)
	if e != nil {
		return nil, e
	}
	out.Total, out.Pages = total, pages(total, out.Size)
	ids := idsOf(users)
	teams, err := teamsOf(c.Ctx, a.c.Store, ids...)
	if err != nil {
		return nil, a.failed(err)
	}
	keys, err := store.CountBy[identity.Key](c.Ctx, a.c.Store, "user_id", store.In("user_id", ids))
	if err != nil {
		return nil, a.failed(err)
	}
	for _, u := range users {
		row := userRow{userFields: newUserFields(u, teams[u.ID])}
		out.Users = append(out.Users, userListed{userRow: row, KeyCount: keys[u.ID]})
	}
	return out, nil
}

// userFilters are the conditions that the query of a list names.
func (c *Call) userFilters() []store.Cond {
	var where []store.Cond
	if role := c.Arg("role"); role != "" {
		where = append(where, store.Eq("user_role", role))
	}
	if ids := c.Args("user_ids"); len(ids) > 0 {
		where = append(where, store.In("user_id", ids))
	}
	if ids := c.Args("sso_user_ids"); len(ids) > 0 {
		where = append(where, store.In("sso_user_id", ids))
	}
	if email := c.Arg("user_email"); email != "" {
		where = append(where, store.Contains("user_email", email))
	}
	if part := c.Arg("search"); part != "" {
		where = append(where, store.Any(store.Contains("user_id", part), store.Contains("user_email", part)))
	}
	if team := c.Arg("team"); team != "" {
		where = append(where, store.Among("user_id", identity.KindMember, "user_id", store.Eq("team_id", team)))
	}
	if ids := c.Args("organization_ids"); len(ids) > 0 {
		where = append(where, inOrganizations(ids))
	}
	return where
}

// userFound is a user in /user/filter/ui.
type userFound struct {
	ID    string  `json:"user_id"`
	Email *string `json:"user_email"`
	Alias *string `json:"user_alias"`
	Role  *string `json:"user_role"`
}

// filterUsers answers the first users whose id or e-mail address contains a text.
func (a *API) filterUsers(c *Call) (any, *llm.Error) {
	seen, e := c.usersSeen()
	if e != nil {
		return nil, e
	}
	where := []store.Cond{seen}
	for _, name := range []string{"user_id", "user_email"} {
		if part := c.Arg(name); part != "" {
			where = append(where, store.Contains(name, part))
		}
	}
	users, err := store.Find[identity.User](c.Ctx, a.c.Store, store.Query{Where: where, Order: "created_at", Desc: true, Limit: 50})
	if err != nil {
		return nil, a.failed(err)
	}
	out := []userFound{}
	for _, u := range users {
		out = append(out, userFound{u.ID, null(u.Email), null(u.Alias), null(u.Role)})
	}
	return out, nil
}
