package admin

import (
	"encoding/json"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// Standing is what the caller is now, by the database and not by a cache. It is
// read once for a call, and again in each of its transactions.
func (c *Call) Standing() (*access.Standing, *llm.Error) {
	if c.standing == nil {
		s, err := standing(c, c.api.c.Store)
		if err != nil {
			return nil, c.api.failed(err)
		}
		c.standing = s
	}
	return c.standing, nil
}

// recheck reads the standing in a transaction, where it cannot change any more
// until the commit: whoever lost its rights while the call waited for the lock
// is refused. A May after it judges by what was read.
func (c *Call) recheck(tx *store.Tx) *llm.Error {
	s, err := standing(c, tx)
	if err != nil {
		return c.api.failed(err)
	}
	c.standing = s
	return c.mayCall()
}

// May says whether the caller may do a thing to an object; nil means yes.
func (c *Call) May(a access.Action, t access.Target) *llm.Error {
	who, e := c.Standing()
	if e != nil {
		return e
	}
	t.Route = c.Route.Path
	return refusal(access.Decide(a, who, t))
}

// Allowed is May for a caller that goes another way where it may not.
func (c *Call) Allowed(a access.Action, t access.Target) (bool, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return false, e
	}
	t.Route = c.Route.Path
	return access.Decide(a, who, t).Allowed, nil
}

// Reach is which objects of a list the caller may see.
func (c *Call) Reach(a access.Action) (access.Reach, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return access.Reach{}, e
	}
	return access.Reached(a, who, c.Route.Path), nil
}

// Admin is true for a proxy admin and the master key.
func (c *Call) Admin() (bool, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return false, e
	}
	return who.Master || who.Role == identity.RoleProxyAdmin, nil
}

// refusal is the answer to a verdict; nil where it allows.
func refusal(v access.Verdict) *llm.Error {
	if v.Allowed {
		return nil
	}
	if v.Form == access.FormDetailError {
		return detailError(v.Status, v.Message)
	}
	return &llm.Error{Kind: kindOf(v.Status), Status: v.Status, Type: v.Type, Param: v.Param, Message: v.Message}
}

// standing reads who the caller is. A key that is gone or blocked since it was
// looked up for this call is refused here.
func standing(c *Call, r store.Reader) (*access.Standing, error) {
	who := c.Caller
	if who.Master {
		return &access.Standing{Master: true, Role: identity.RoleProxyAdmin, UserID: who.User}, nil
	}
	s := &access.Standing{
		Teams: map[string]string{}, Organizations: map[string]string{}, Permissions: map[string][]string{},
	}
	if who.Key == nil {
		return s, nil
	}
	key, err := store.Get[identity.Key](c.Ctx, r, who.Key.Token)
	if missing(err) {
		return nil, gone(who)
	}
	if err != nil {
		return nil, err
	}
	if err := usable(c, r, key); err != nil {
		return nil, err
	}
	s.Key = key
	if key.UserID == "" {
		return s, nil
	}
	user, err := store.Get[identity.User](c.Ctx, r, key.UserID)
	if missing(err) {
		return s, nil // nobody: a key of a user who is not there stands alone
	}
	if err != nil {
		return nil, err
	}
	if user.Blocked {
		return nil, blockedOwner(user)
	}
	s.UserID = user.ID
	s.Role, _ = identity.RoleNamed(user.Role)
	return s, places(c, r, s)
}

// usable refuses a key that was blocked or has ended since it was looked up, or
// whose team or project was blocked.
func usable(c *Call, r store.Reader, key *identity.Key) error {
	if key.Blocked {
		return refusedKey("auth_error", "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.")
	}
	if key.Expires != nil && !key.Expires.After(c.Now) {
		return refusedKey("expired_key", "Authentication Error - Expired Key. Key Expiry time "+key.Expires.UTC().Format(time.RFC3339))
	}
	if key.TeamID != "" {
		team, err := store.Get[identity.Team](c.Ctx, r, key.TeamID)
		if err == nil && team.Blocked {
			return blockedOwner(team)
		}
		if err != nil && !missing(err) {
			return err
		}
	}
	if key.ProjectID != "" {
		project, err := store.Get[identity.Project](c.Ctx, r, key.ProjectID)
		if err == nil && project.Blocked {
			return blockedOwner(project)
		}
		if err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

func blockedOwner(o identity.Object) *llm.Error {
	return refusedKey("auth_error", "Authentication Error, the "+o.Kind().String()+" of this key is blocked.")
}

func refusedKey(typ, message string) *llm.Error {
	return &llm.Error{Kind: llm.KindAuth, Type: typ, Param: "None", Message: message}
}

// gone is the refusal of a key that was deleted a moment ago.
func gone(who *auth.Identity) *llm.Error {
	return &llm.Error{
		Kind: llm.KindAuth, Type: "token_not_found_in_db", Param: "key",
		Message: "Authentication Error, Invalid proxy server token passed. Key Hash (Token) = " + string(who.KeyHash[:]) + " is not known.",
	}
}

// places fills in the teams and organizations that the user has a role in.
func places(c *Call, r store.Reader, s *access.Standing) error {
	mine := store.Query{Where: []store.Cond{store.Eq("user_id", s.UserID)}}
	organizations, err := store.Find[identity.OrganizationMember](c.Ctx, r, mine)
	if err != nil {
		return err
	}
	for _, m := range organizations {
		s.Organizations[m.OrganizationID] = m.Role
	}
	members, err := store.Find[identity.Member](c.Ctx, r, mine)
	if err != nil || len(members) == 0 {
		return err
	}
	ids := make([]string, len(members))
	for i, m := range members {
		s.Teams[m.TeamID], ids[i] = m.Role, m.TeamID
	}
	teams, err := store.Find[identity.Team](c.Ctx, r, store.Query{Where: []store.Cond{store.In("team_id", ids)}})
	if err != nil {
		return err
	}
	for _, t := range teams {
		var routes []string
		if json.Unmarshal(t.Settings["team_member_permissions"], &routes) == nil {
			s.Permissions[t.ID] = routes
		}
	}
	return nil
}
