package admin

import (
	"fmt"
	"maps"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// organizationHandlers are the handlers of proxy/access/organizations.go.
func organizationHandlers() map[string]handler {
	return map[string]handler{
		"POST /organization/new":             (*API).newOrganization,
		"PATCH /organization/update":         (*API).updateOrganization,
		"DELETE /organization/delete":        (*API).deleteOrganizations,
		"GET /organization/list":             (*API).listOrganizations,
		"GET /organization/info":             (*API).organizationInfo,
		"POST /organization/info":            (*API).organizationInfos,
		"POST /organization/member_add":      (*API).addOrganizationMembers,
		"PATCH /organization/member_update":  (*API).updateOrganizationMember,
		"DELETE /organization/member_delete": (*API).deleteOrganizationMember,
	}
}

// organizationMetadata are fields of the API that are kept in metadata.
var organizationMetadata = []string{"model_rpm_limit", "model_tpm_limit"}

// setOrganization takes an organization's own fields from the body.
func (a *API) setOrganization(c *Call, o *identity.Organization) *llm.Error {
	if c.Body.Has("organization_alias") {
		var e *llm.Error
		if o.Alias, e = someID(c.Body, "organization_alias"); e != nil {
			return e
		}
	}
	if c.Body.Has("models") {
		o.Models = c.Body.Texts("models")
	}
	if n := c.Body.Money("spend"); n != nil {
		o.Spend = *n
	}
	for _, name := range organizationMetadata {
		if e := modelCounts(c.Body, name); e != nil {
			return e
		}
	}
	var e *llm.Error
	if o.Metadata, e = c.metadata(o.Metadata, organizationMetadata); e != nil {
		return e
	}
	o.Settings = maps.Clone(o.Settings)
	setPermission(&o.Settings, c.Body)
	return nil
}

func (a *API) newOrganization(c *Call) (any, *llm.Error) {
	o := &identity.Organization{ID: c.Body.Text("organization_id")}
	if o.ID == "" {
		o.ID = newID()
	} else if _, e := someID(c.Body, "organization_id"); e != nil {
		return nil, e
	}
	var answer organizationFields
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		if e := a.setOrganization(c, o); e != nil {
			return e
		}
		b, e := a.alwaysBudget(c, tx, o, o.ID, "")
		if e != nil {
			return e
		}
		o.BudgetID = b.ID
		taken := fmt.Sprintf("Organization %q exists already. Change it with PATCH /organization/update.", o.ID)
		if e := a.inserted(tx, o, taken, "organization_id"); e != nil {
			return e
		}
		answer = newOrganizationFields(o, b)
		return nil
	})
	return answer, e
}

func noOrganization(id, param string) *llm.Error {
	return notFound(fmt.Sprintf("Organization %q does not exist.", id), param)
}

// organizationFor reads an organization that the caller wants to do something
// to. One that it does not even see looks like one that is missing.
func (a *API) organizationFor(c *Call, r store.Reader, action access.Action, id, param string) (*identity.Organization, *llm.Error) {
	o, err := store.Get[identity.Organization](c.Ctx, r, id)
	if missing(err) {
		return nil, noOrganization(id, param)
	}
	if err != nil {
		return nil, a.failed(err)
	}
	t := access.Target{OrganizationID: id}
	seen, e := c.Allowed(access.OrganizationInfo, t)
	if e != nil {
		return nil, e
	}
	if !seen {
		return nil, noOrganization(id, param)
	}
	return o, c.May(action, t)
}

// organizationAnswer is an organization as the caller sees it.
func (a *API) organizationAnswer(c *Call, r store.Reader, found ...*identity.Organization) ([]organizationRow, *llm.Error) {
	only, err := c.seenOf()
	if err != nil {
		return nil, a.failed(err)
	}
	rows, err := organizationRows(c, r, found, only)
	return rows, a.failed(err)
}

// updateOrganization changes what the body names. An organization's own admins
// may change its alias alone.
func (a *API) updateOrganization(c *Call) (any, *llm.Error) {
	var answer organizationRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		o, e := a.organizationFor(c, tx, access.OrganizationUpdate, c.Body.Text("organization_id"), "organization_id")
		if e != nil {
			return e
		}
		if e := c.adminFields(); e != nil {
			return e
		}
		if e := a.setOrganization(c, o); e != nil {
			return e
		}
		old := o.BudgetID
		b, e := a.alwaysBudget(c, tx, o, o.ID, old)
		if e != nil {
			return e
		}
		o.BudgetID = b.ID
		if err := tx.Update(o); err != nil {
			return a.failed(err)
		}
		if old != o.BudgetID {
			if e := a.dropBudget(c, tx, o, o.ID, old); e != nil {
				return e
			}
		}
		rows, e := a.organizationAnswer(c, tx, o)
		if e == nil {
			answer = rows[0]
		}
		return e
	})
	return answer, e
}

// deleteOrganizations deletes organizations with everything in them: all of
// them or none.
func (a *API) deleteOrganizations(c *Call) (any, *llm.Error) {
	ids, e := several(c.Body, "organization_ids", "organizations")
	if e != nil {
		return nil, e
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var answer []organizationRow
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		found := make([]*identity.Organization, len(ids))
		for i, id := range ids {
			var e *llm.Error
			if found[i], e = a.organizationFor(c, tx, access.OrganizationNew, id, "organization_ids"); e != nil {
				return e
			}
		}
		var e *llm.Error
		if answer, e = a.organizationAnswer(c, tx, found...); e != nil {
			return e
		}
		for _, o := range found {
			if e := a.dropOrganization(c, tx, o); e != nil {
				return e
			}
		}
		return nil
	})
	return answer, e
}

// dropOrganization deletes an organization with its teams, keys and
// memberships. Users stay.
func (a *API) dropOrganization(c *Call, tx *store.Tx, o *identity.Organization) *llm.Error {
	of := store.Query{Where: []store.Cond{store.Eq("organization_id", o.ID)}}
	teams, err := store.Find[identity.Team](c.Ctx, tx, of)
	if err != nil {
		return a.failed(err)
	}
	for _, t := range teams {
		if e := a.dropTeam(c, tx, t); e != nil {
			return e
		}
	}
	if e := a.dropKeys(c, tx, of.Where...); e != nil {
		return e
	}
	members, err := store.Find[identity.OrganizationMember](c.Ctx, tx, of)
	if err != nil {
		return a.failed(err)
	}
	for _, m := range members {
		if e := a.dropOrganizationMember(c, tx, m); e != nil {
			return e
		}
	}
	users, err := store.Find[identity.User](c.Ctx, tx, of)
	if err != nil {
		return a.failed(err)
	}
	for _, u := range users {
		u.OrganizationID = ""
		if err := tx.Update(u); err != nil {
			return a.failed(err)
		}
	}
	if err := tx.Delete(o); err != nil {
		return a.failed(err)
	}
	return a.dropBudget(c, tx, o, o.ID, o.BudgetID)
}

func (a *API) organizationInfo(c *Call) (any, *llm.Error) {
	o, e := a.organizationFor(c, a.c.Store, access.OrganizationInfo, c.Arg("organization_id"), "organization_id")
	if e != nil {
		return nil, e
	}
	rows, e := a.organizationAnswer(c, a.c.Store, o)
	if e != nil {
		return nil, e
	}
	return rows[0], nil
}

func (a *API) organizationInfos(c *Call) (any, *llm.Error) {
	ids, e := several(c.Body, "organizations", "organizations")
	if e != nil {
		return nil, e
	}
	return a.organizations(c, store.In("organization_id", ids))
}

func (a *API) listOrganizations(c *Call) (any, *llm.Error) {
	var where []store.Cond
	if id := c.Arg("org_id"); id != "" {
		where = append(where, store.Eq("organization_id", id))
	}
	if alias := c.Arg("org_alias"); alias != "" {
		where = append(where, store.Contains("organization_alias", alias))
	}
	return a.organizations(c, where...)
}

// organizations are those that meet the conditions and that the caller sees.
func (a *API) organizations(c *Call, where ...store.Cond) (any, *llm.Error) {
	reach, e := c.Reach(access.OrganizationInfo)
	if e != nil {
		return nil, e
	}
	if !reach.All {
		where = append(where, store.In("organization_id", reach.Organizations))
	}
	found, e := listed[identity.Organization](a, c, "page_size", where, store.Query{})
	if e != nil {
		return nil, e
	}
	return a.organizationAnswer(c, a.c.Store, found...)
}
