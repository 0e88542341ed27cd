package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// Whoever makes or regenerates a key gets its secret, and the secret acts as the
// key's user. So a caller that is no proxy admin gets none of an admin, and none
// of another user that is good for more than calls of models: it could read and
// change in the user's name what is nothing to the caller.

// routesOfKey are the routes that a key is limited to; nothing: all.
func routesOfKey(k *identity.Key) []string {
	if len(k.AllowedRoutes) > 0 {
		return k.AllowedRoutes
	}
	return keyTypeRoutes[k.Type]
}

// mayHold says whether the caller may get the secret of a key, and limits the
// key to calls of models where it is another user's and not limited yet.
// memberships are those of the user.
func (a *API) mayHold(c *Call, k *identity.Key, u *identity.User, memberships []*identity.OrganizationMember) *llm.Error {
	who, e := c.Standing()
	if e != nil {
		return e
	}
	if who.Master || who.Role == identity.RoleProxyAdmin || u == nil || u.ID == who.UserID {
		return nil
	}
	if role, _ := identity.RoleNamed(u.Role); role == identity.RoleProxyAdmin || role == identity.RoleProxyAdminViewer {
		return forbidden(fmt.Sprintf("Only a proxy admin may make or regenerate a key of user %q, who has the role %s.", u.ID, u.Role), "user_id")
	}
	if k.TeamID == "" {
		for _, m := range memberships {
			if who.Organizations[m.OrganizationID] != identity.OrgAdmin {
				return forbidden(fmt.Sprintf("User %q belongs to other organizations too. Make the key in a team of yours.", u.ID), "user_id")
			}
		}
	}
	routes := routesOfKey(k)
	if len(routes) == 0 {
		k.Type, k.AllowedRoutes = "llm_api", keyTypeRoutes["llm_api"]
		return nil
	}
	if i := slices.IndexFunc(routes, func(r string) bool { return !callsModels(r) }); i >= 0 {
		return forbidden(fmt.Sprintf("A key that you make or regenerate for another user may call models alone, and not %s.", routes[i]), "allowed_routes")
	}
	return nil
}

// callsModels says whether an entry of allowed_routes stands for calls of models
// alone.
func callsModels(route string) bool {
	if route == string(access.GroupLLM) || route == "openai_routes" {
		return true
	}
	return !strings.Contains(route, "*") && slices.ContainsFunc(access.Routes(), func(r access.Route) bool {
		return r.Path == route && r.Group == access.GroupLLM
	})
}

// mayHoldAgain is mayHold of a key that gets a new secret.
func (a *API) mayHoldAgain(c *Call, tx *store.Tx, k *identity.Key) *llm.Error {
	u, e := a.findUser(c, tx, k.UserID)
	if e != nil || u == nil {
		return e
	}
	memberships, err := store.Find[identity.OrganizationMember](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("user_id", u.ID)}})
	if err != nil {
		return a.failed(err)
	}
	return a.mayHold(c, k, u, memberships)
}

// mayRoutes refuses to a caller whose key may call some routes alone the secret
// of a key that may call more.
func mayRoutes(who *access.Standing, k *identity.Key) *llm.Error {
	if who.Key == nil || who.Role == identity.RoleProxyAdmin {
		return nil
	}
	own := routesOfKey(who.Key)
	if (access.Granting{}).Excess(access.Grant{Routes: routesOfKey(k)}, access.Grant{Routes: own}) == "" {
		return nil
	}
	return forbidden(fmt.Sprintf("The calling key may call %s alone, so it may not have a key that may call more.", strings.Join(own, ", ")), "allowed_routes")
}

// endWithin keeps a new key from outliving the key that makes it: one that was
// given for a day is worth no more than a day. Where the body says nothing the
// new key ends with it.
func (a *API) endWithin(c *Call, k *identity.Key) *llm.Error {
	end, e := c.ownEnd()
	if e != nil || !outlives(k, end) {
		return e
	}
	if c.Body.Given("duration") {
		return tooLong(end)
	}
	k.Expires = end
	return nil
}

// ownEnd is when the calling key ends; nil for never, and for proxy admins.
func (c *Call) ownEnd() (*time.Time, *llm.Error) {
	who, e := c.Standing()
	if e != nil || who.Key == nil || who.Role == identity.RoleProxyAdmin {
		return nil, e
	}
	return who.Key.Expires, nil
}

func outlives(k *identity.Key, end *time.Time) bool {
	return end != nil && (k.Expires == nil || k.Expires.After(*end))
}

func tooLong(end *time.Time) *llm.Error {
	return forbidden(fmt.Sprintf("The calling key ends at %s, so it may not have a key that is good for longer.", end.UTC().Format(time.RFC3339)), "duration")
}
