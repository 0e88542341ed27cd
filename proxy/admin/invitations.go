package admin

import (
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// invitationHandlers are the handlers of proxy/access/invitations.go.
func invitationHandlers() map[string]handler {
	return map[string]handler{
		"POST /invitation/new":    (*API).newInvitation,
		"GET /invitation/info":    (*API).invitationInfo,
		"POST /invitation/update": (*API).updateInvitation,
		"POST /invitation/delete": (*API).deleteInvitation,
	}
}

// invitationTime is how long an invitation is good for.
const invitationTime = 7 * 24 * time.Hour

// invitationRow is an invitation as its routes answer it.
type invitationRow struct {
	ID         string `json:"id"`
	UserID     string `json:"user_id"`
	Accepted   bool   `json:"is_accepted"`
	AcceptedAt *isoZ  `json:"accepted_at"`
	ExpiresAt  isoZ   `json:"expires_at"`
	CreatedAt  isoZ   `json:"created_at"`
	CreatedBy  string `json:"created_by"`
	UpdatedAt  isoZ   `json:"updated_at"`
	UpdatedBy  string `json:"updated_by"`
}

func invitationOf(i *identity.Invitation) invitationRow {
	return invitationRow{
		ID: i.ID, UserID: i.UserID, Accepted: i.Accepted, AcceptedAt: zulu(i.AcceptedAt), ExpiresAt: isoZ(i.ExpiresAt),
		CreatedAt: isoZ(i.CreatedAt), CreatedBy: i.CreatedBy, UpdatedAt: isoZ(i.UpdatedAt), UpdatedBy: i.UpdatedBy,
	}
}

// mayInvite says whether the caller may have to do with a user's invitations:
// who holds one may set the user's password, and so become the user. An
// organization's admin therefore invites only users that it made itself, that
// belong to its own organizations alone and that are no admins. A user that it
// may not invite looks like one that is missing.
func (a *API) mayInvite(c *Call, r store.Reader, user string, absent *llm.Error) *llm.Error {
	u, e := a.findUser(c, r, user)
	if e != nil {
		return e
	}
	if u == nil {
		return absent
	}
	if admin, e := c.Admin(); e != nil || admin {
		return e
	}
	t, e := a.userTarget(c, r, user)
	if e != nil {
		return e
	}
	ok, e := c.Allowed(access.InvitationWrite, t)
	if e != nil {
		return e
	}
	who, e := c.Standing()
	if e != nil {
		return e
	}
	role, _ := identity.RoleNamed(u.Role)
	ok = ok && role != identity.RoleProxyAdmin && role != identity.RoleProxyAdminViewer && u.CreatedBy == who.UserID
	for _, id := range t.Organizations {
		ok = ok && who.Organizations[id] == identity.OrgAdmin
	}
	if !ok {
		return absent
	}
	return nil
}

func noInvitation() *llm.Error { return notFound("There is no such invitation.", "invitation_id") }

func (a *API) newInvitation(c *Call) (any, *llm.Error) {
	i := &identity.Invitation{ID: newID(), UserID: c.Body.Text("user_id")}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		if e := a.mayInvite(c, tx, i.UserID, notFound("There is no such user.", "user_id")); e != nil {
			return e
		}
		i.ExpiresAt = tx.Now().Add(invitationTime)
		return a.failed(tx.Insert(i))
	})
	if e != nil {
		return nil, e
	}
	return invitationOf(i), nil
}

// invitation reads an invitation that the caller may have to do with.
func (a *API) invitation(c *Call, r store.Reader, id string) (*identity.Invitation, *llm.Error) {
	i, err := store.Get[identity.Invitation](c.Ctx, r, id)
	if missing(err) {
		return nil, noInvitation()
	}
	if err != nil {
		return nil, a.failed(err)
	}
	return i, a.mayInvite(c, r, i.UserID, noInvitation())
}

// changeInvitation runs what is done to the invitation that the body names and
// answers it.
func (a *API) changeInvitation(c *Call, do func(tx *store.Tx, i *identity.Invitation) error) (any, *llm.Error) {
	var row invitationRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		i, e := a.invitation(c, tx, c.Body.Text("invitation_id"))
		if e != nil {
			return e
		}
		err := do(tx, i)
		row = invitationOf(i)
		return a.failed(err)
	})
	return row, e
}

func (a *API) invitationInfo(c *Call) (any, *llm.Error) {
	i, e := a.invitation(c, a.c.Store, c.Arg("invitation_id"))
	if e != nil {
		return nil, e
	}
	return invitationOf(i), nil
}

func (a *API) updateInvitation(c *Call) (any, *llm.Error) {
	return a.changeInvitation(c, func(tx *store.Tx, i *identity.Invitation) error {
		accepted := c.Body.Bool("is_accepted")
		if accepted == i.Accepted {
			return nil
		}
		i.Accepted, i.AcceptedAt = accepted, nil
		if now := tx.Now(); accepted {
			i.AcceptedAt = &now
		}
		return tx.Update(i)
	})
}

func (a *API) deleteInvitation(c *Call) (any, *llm.Error) {
	return a.changeInvitation(c, func(tx *store.Tx, i *identity.Invitation) error { return tx.Delete(i) })
}
