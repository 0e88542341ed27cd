package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// customerHandlers are the handlers of proxy/access/customers.go.
func customerHandlers() map[string]handler {
	out := map[string]handler{}
	for _, prefix := range []string{"/customer", "/end_user"} {
		out["POST "+prefix+"/new"] = (*API).newCustomer
		out["POST "+prefix+"/update"] = (*API).updateCustomer
		out["POST "+prefix+"/delete"] = (*API).deleteCustomers
		out["POST "+prefix+"/block"] = (*API).blockCustomers
		out["POST "+prefix+"/unblock"] = (*API).unblockCustomers
		out["GET "+prefix+"/info"] = (*API).customerInfo
		out["GET "+prefix+"/list"] = (*API).listCustomers
	}
	return out
}

// customerRow is a customer as its routes answer it.
type customerRow struct {
	UserID             string           `json:"user_id"`
	Blocked            bool             `json:"blocked"`
	Alias              *string          `json:"alias"`
	Spend              money.Nano       `json:"spend"`
	AllowedModelRegion *string          `json:"allowed_model_region"`
	DefaultModel       *string          `json:"default_model"`
	Models             []string         `json:"models"`
	BudgetID           *string          `json:"budget_id"`
	Budget             *budgetTableFull `json:"litellm_budget_table"`
	ObjectPermissionID json.RawMessage  `json:"object_permission_id"`
	ObjectPermission   json.RawMessage  `json:"object_permission"`
}

func customerOf(u *identity.EndUser, b *identity.Budget) customerRow {
	return customerRow{
		UserID: u.ID, Blocked: u.Blocked, Alias: null(u.Alias), Spend: u.Spend, AllowedModelRegion: null(u.AllowedModelRegion),
		DefaultModel: null(u.DefaultModel), Models: list(texts(u.Settings["models"])), BudgetID: null(u.BudgetID), Budget: fullTableOf(b),
		ObjectPermissionID: u.Settings["object_permission_id"], ObjectPermission: u.Settings["object_permission"],
	}
}

// setCustomer takes a customer's own fields from the body.
func setCustomer(c *Call, u *identity.EndUser) {
	for name, to := range map[string]*string{
		"alias": &u.Alias, "allowed_model_region": &u.AllowedModelRegion, "default_model": &u.DefaultModel,
	} {
		if c.Body.Has(name) {
			*to = c.Body.Text(name)
		}
	}
	if c.Body.Given("blocked") {
		u.Blocked = c.Body.Bool("blocked")
	}
	if n := c.Body.Money("spend"); n != nil {
		u.Spend = *n
	}
	u.Settings = keep(u.Settings, c.Body, "models")
	setPermission(&u.Settings, c.Body)
}

func noCustomer(id, param string) *llm.Error {
	return notFound(fmt.Sprintf("Customer %q does not exist.", id), param)
}

// someID refuses an id that nobody could name in a path, a log or a request.
func someID(b Body, name string) (string, *llm.Error) {
	id := b.Text(name)
	if strings.TrimSpace(id) == "" {
		return "", badRequest(name+" must not be empty.", name)
	}
	if len(id) > 512 {
		return "", badRequest(name+" must have at most 512 bytes.", name)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f {
			return "", badRequest(name+" must not have control characters in it.", name)
		}
	}
	return id, nil
}

func (a *API) newCustomer(c *Call) (any, *llm.Error) {
	id, e := someID(c.Body, "user_id")
	if e != nil {
		return nil, e
	}
	var row customerRow
	e = a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		u := &identity.EndUser{ID: id}
		setCustomer(c, u)
		b, e := a.inlineBudget(c, tx, u, id, "")
		if e != nil {
			return e
		}
		if b != nil {
			u.BudgetID = b.ID
		}
		row = customerOf(u, b)
		return a.inserted(tx, u, fmt.Sprintf("Customer %q exists already. Change it with /customer/update.", id), "user_id")
	})
	return row, e
}

func (a *API) updateCustomer(c *Call) (any, *llm.Error) {
	var row customerRow
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		u, e := a.customer(c, tx, c.Body.Text("user_id"), "user_id")
		if e != nil {
			return e
		}
		setCustomer(c, u)
		old := u.BudgetID
		b, e := a.inlineBudget(c, tx, u, u.ID, old)
		if e != nil {
			return e
		}
		u.BudgetID = ""
		if b != nil {
			u.BudgetID = b.ID
		}
		if err := tx.Update(u); err != nil {
			return a.failed(err)
		}
		row = customerOf(u, b)
		if old == u.BudgetID {
			return nil
		}
		return a.dropBudget(c, tx, u, u.ID, old)
	})
	return row, e
}

func (a *API) customer(c *Call, r store.Reader, id, param string) (*identity.EndUser, *llm.Error) {
	u, err := store.Get[identity.EndUser](c.Ctx, r, id)
	if missing(err) {
		return nil, noCustomer(id, param)
	}
	return u, a.failed(err)
}

// customers reads the customers that a body names. None may be missing: what
// is done to many is done to all of them or to none.
func (a *API) customers(c *Call, tx *store.Tx) ([]*identity.EndUser, *llm.Error) {
	ids, e := several(c.Body, "user_ids", "customers")
	if e != nil {
		return nil, e
	}
	found, err := store.Find[identity.EndUser](c.Ctx, tx, store.Query{Where: []store.Cond{store.In("user_id", ids)}})
	if err != nil {
		return nil, a.failed(err)
	}
	there := map[string]bool{}
	for _, u := range found {
		there[u.ID] = true
	}
	for _, id := range ids {
		if !there[id] {
			return nil, noCustomer(id, "user_ids")
		}
	}
	return found, nil
}

// deletedCustomers is what became of a deletion.
type deletedCustomers struct {
	Deleted int    `json:"deleted_customers"`
	Message string `json:"message"`
}

func (a *API) deleteCustomers(c *Call) (any, *llm.Error) {
	n := 0
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		found, e := a.customers(c, tx)
		if e != nil {
			return e
		}
		n = len(found)
		for _, u := range found {
			if err := tx.Delete(u); err != nil {
				return a.failed(err)
			}
			if e := a.dropBudget(c, tx, u, u.ID, u.BudgetID); e != nil {
				return e
			}
		}
		return nil
	})
	return deletedCustomers{n, "Deleted the customers " + strings.Join(c.Body.Texts("user_ids"), ", ") + "."}, e
}

// blockedCustomers are the customers that a call blocked.
type blockedCustomers struct {
	Blocked []customerRow `json:"blocked_users"`
}

// blockCustomers blocks customers. One that is not known yet is made, so that
// it can be kept out before its first request.
func (a *API) blockCustomers(c *Call) (any, *llm.Error) {
	ids, e := several(c.Body, "user_ids", "customers")
	if e != nil {
		return nil, e
	}
	out := blockedCustomers{}
	e = a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		out.Blocked = nil
		for i, id := range ids {
			if _, e := someID(Body{"user_ids": quoted(id)}, "user_ids"); e != nil {
				return e
			}
			if slices.Index(ids, id) < i {
				continue // named twice
			}
			u, err := store.Get[identity.EndUser](c.Ctx, tx, id)
			switch {
			case missing(err):
				u = &identity.EndUser{ID: id, Blocked: true}
				err = tx.InsertAs(store.Blocked, u)
			case err == nil && !u.Blocked:
				u.Blocked = true
				err = tx.UpdateAs(store.Blocked, u)
			}
			if err != nil {
				return a.failed(err)
			}
			out.Blocked = append(out.Blocked, customerOf(u, nil))
		}
		return nil
	})
	return out, e
}

// stillBlocked are the customers that remain blocked.
type stillBlocked struct {
	Blocked []string `json:"blocked_users"`
}

func (a *API) unblockCustomers(c *Call) (any, *llm.Error) {
	out := stillBlocked{Blocked: []string{}}
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		found, e := a.customers(c, tx)
		if e != nil {
			return e
		}
		for _, u := range found {
			if !u.Blocked {
				continue
			}
			u.Blocked = false
			if err := tx.UpdateAs(store.Unblocked, u); err != nil {
				return a.failed(err)
			}
		}
		rest, err := store.Find[identity.EndUser](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("blocked", true)}, Limit: longestList})
		out.Blocked = []string{}
		for _, u := range rest {
			out.Blocked = append(out.Blocked, u.ID)
		}
		return a.failed(err)
	})
	return out, e
}

func (a *API) customerInfo(c *Call) (any, *llm.Error) {
	u, e := a.customer(c, a.c.Store, c.Arg("end_user_id"), "end_user_id")
	if e != nil {
		return nil, e
	}
	b, e := a.budget(c, a.c.Store, u.BudgetID)
	return customerOf(u, b), e
}

func (a *API) listCustomers(c *Call) (any, *llm.Error) {
	found, e := listed[identity.EndUser](a, c, "page_size", nil, store.Query{})
	if e != nil {
		return nil, e
	}
	var ids []string
	for _, u := range found {
		if u.BudgetID != "" {
			ids = append(ids, u.BudgetID)
		}
	}
	budgets, err := budgetsOf(c, a.c.Store, ids)
	if err != nil {
		return nil, a.failed(err)
	}
	rows := make([]customerRow, len(found))
	for i, u := range found {
		rows[i] = customerOf(u, budgets[u.BudgetID])
	}
	return rows, nil
}
