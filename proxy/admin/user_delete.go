package admin

import (
	"fmt"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// deleteUsers deletes users with their keys, memberships and invitations: all of
// the users, or none. It answers how many there were.
func (a *API) deleteUsers(c *Call) (any, *llm.Error) {
	ids, e := several(c.Body, "user_ids", "users")
	if e != nil {
		return nil, e
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		users := make([]*identity.User, len(ids))
		for i, id := range ids {
			u, e := a.findUser(c, tx, id)
			if e != nil {
				return e
			}
			if e := a.mayDeleteUser(c, tx, id, u); e != nil {
				return e
			}
			users[i] = u
		}
		if e := a.lastAdmin(c, tx, users...); e != nil {
			return e
		}
		for _, u := range users {
			if e := a.dropUser(c, tx, u); e != nil {
				return e
			}
		}
		return nil
	})
	return answerOr(len(ids), e)
}

// mayDeleteUser says whether the caller may delete a user, nil for one that
// there is not. An organization's admin deletes users that belong to its own
// organizations alone, and no admins.
func (a *API) mayDeleteUser(c *Call, tx *store.Tx, id string, u *identity.User) *llm.Error {
	admin, e := c.Admin()
	if e != nil {
		return e
	}
	unknown := detailError(404, "User not found, passed user_id="+id)
	if u == nil {
		return c.unseenUser(c.May(access.UserDelete, access.Target{UserID: id}), unknown)
	}
	t, e := a.userTarget(c, tx, u.ID)
	if e != nil || admin {
		return e
	}
	who, e := c.Standing()
	if e != nil {
		return e
	}
	if e := c.May(access.UserDelete, t); e != nil {
		return c.unseenUser(e, unknown)
	}
	for _, o := range t.Organizations {
		if who.Organizations[o] != identity.OrgAdmin {
			return forbidden(fmt.Sprintf("User %s belongs to other organizations too. Take it out of yours with /organization/member_delete.", u.ID), "user_ids")
		}
		role, err := store.Get[identity.OrganizationMember](c.Ctx, tx, o, u.ID)
		if err != nil {
			return a.failed(err)
		}
		if role.Role == identity.OrgAdmin {
			return forbidden("Only a proxy admin may delete the admin of an organization.", "user_ids")
		}
	}
	if role, _ := identity.RoleNamed(u.Role); role == identity.RoleProxyAdmin || role == identity.RoleProxyAdminViewer {
		return forbidden(fmt.Sprintf("Only a proxy admin may delete a user of the role %s.", u.Role), "user_ids")
	}
	return nil
}

func either(first, second *llm.Error) *llm.Error {
	if first != nil {
		return first
	}
	return second
}

// dropUser deletes a user and all that is its own.
func (a *API) dropUser(c *Call, tx *store.Tx, u *identity.User) *llm.Error {
	mine := []store.Cond{store.Eq("user_id", u.ID)}
	if e := a.dropKeys(c, tx, mine...); e != nil {
		return e
	}
	members, err := store.Find[identity.Member](c.Ctx, tx, store.Query{Where: mine})
	if err != nil {
		return a.failed(err)
	}
	for _, m := range members {
		if e := a.dropMember(c, tx, m); e != nil {
			return e
		}
	}
	places, err := store.Find[identity.OrganizationMember](c.Ctx, tx, store.Query{Where: mine})
	if err != nil {
		return a.failed(err)
	}
	for _, m := range places {
		if err := tx.Delete(m); err != nil {
			return a.failed(err)
		}
		if e := a.dropBudget(c, tx, m, m.OrganizationID+"/"+m.UserID, m.BudgetID); e != nil {
			return e
		}
	}
	invitations, err := store.Find[identity.Invitation](c.Ctx, tx, store.Query{Where: mine})
	if err != nil {
		return a.failed(err)
	}
	for _, i := range invitations {
		if err := tx.Delete(i); err != nil {
			return a.failed(err)
		}
	}
	return a.failed(tx.Delete(u))
}
