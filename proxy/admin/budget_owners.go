package admin

import (
	"context"
	"fmt"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// madeFor is the setting that names the object for which a budget was made, as
// kind/id: limits that the object was given inline. Such a budget goes with it.
const madeFor = "made_for"

// inlineBudget gives an object the limits of the body: the budget that the body
// names, or one of the object's own. current is the budget that it has, "" for
// none; what is returned is the one that it has from now on, nil for none.
//
// A budget that others use too is not changed through one of them: the object
// gets a copy with the change.
func (a *API) inlineBudget(c *Call, tx *store.Tx, owner identity.Object, id, current string) (*identity.Budget, *llm.Error) {
	sent, given := hasLimits(c.Body)
	if c.Body.Has("budget_id") && given && c.Body.Given("budget_id") {
		return nil, badRequest("Send either budget_id or limits such as max_budget, not both.", "budget_id")
	}
	before, e := a.budget(c, tx, current)
	if e != nil {
		return nil, e
	}
	if c.Body.Has("budget_id") {
		named := c.Body.Text("budget_id")
		if named == "" && given {
			return a.ownBudget(c, tx, &identity.Budget{}, owner, id)
		}
		if named == "" || named == current {
			return onlyIf(named != "", before), nil
		}
		b, err := store.Get[identity.Budget](c.Ctx, tx, named)
		if missing(err) {
			return nil, notFound(fmt.Sprintf("Budget %q does not exist. Make it with /budget/new first.", named), "budget_id")
		}
		return b, a.failed(err)
	}
	switch {
	case !sent, before == nil && !given:
		return before, nil
	case before == nil:
		return a.ownBudget(c, tx, &identity.Budget{}, owner, id)
	case text(before.Settings[madeFor]) != owner.Kind().String()+"/"+id:
		return a.ownBudget(c, tx, before, owner, id)
	}
	users, err := usersOf(c, tx, before.ID)
	if err != nil {
		return nil, a.failed(err)
	}
	if users.total() > 1 {
		return a.ownBudget(c, tx, before, owner, id)
	}
	if e := a.setLimits(c, before); e != nil {
		return nil, e
	}
	return before, a.failed(tx.Update(before))
}

// alwaysBudget is inlineBudget for objects that always have a budget: one
// without limits where none are given.
func (a *API) alwaysBudget(c *Call, tx *store.Tx, owner identity.Object, id, current string) (*identity.Budget, *llm.Error) {
	b, e := a.inlineBudget(c, tx, owner, id, current)
	if e != nil || b != nil {
		return b, e
	}
	return a.ownBudget(c, tx, &identity.Budget{}, owner, id)
}

func onlyIf(yes bool, b *identity.Budget) *identity.Budget {
	if yes {
		return b
	}
	return nil
}

// ownBudget makes a budget for an object: the limits of another one, changed as
// the body says.
func (a *API) ownBudget(c *Call, tx *store.Tx, from *identity.Budget, owner identity.Object, id string) (*identity.Budget, *llm.Error) {
	b := *from
	b.ID = newID()
	b.Settings = identity.Fields{}
	for name, v := range from.Settings {
		b.Settings[name] = v
	}
	b.Settings[madeFor] = quoted(owner.Kind().String() + "/" + id)
	if e := a.setLimits(c, &b); e != nil {
		return nil, e
	}
	return &b, a.failed(tx.Insert(&b))
}

// budget reads a budget that something refers to; nil for none, and for one
// that is not there any more.
func (a *API) budget(c *Call, r store.Reader, id string) (*identity.Budget, *llm.Error) {
	if id == "" {
		return nil, nil
	}
	b, err := store.Get[identity.Budget](c.Ctx, r, id)
	if missing(err) {
		return nil, nil
	}
	return b, a.failed(err)
}

// budgetsOf reads the budgets of some ids, by id.
func budgetsOf(c *Call, r store.Reader, ids []string) (map[string]*identity.Budget, error) {
	out := map[string]*identity.Budget{}
	if len(ids) == 0 {
		return out, nil
	}
	found, err := store.Find[identity.Budget](c.Ctx, r, store.Query{Where: []store.Cond{store.In("budget_id", ids)}})
	for _, b := range found {
		out[b.ID] = b
	}
	return out, err
}

// dropBudget deletes the budget that was made for an object which is deleted
// in this transaction, unless something else uses it by now.
func (a *API) dropBudget(c *Call, tx *store.Tx, owner identity.Object, id, budget string) *llm.Error {
	b, e := a.budget(c, tx, budget)
	if e != nil || b == nil || text(b.Settings[madeFor]) != owner.Kind().String()+"/"+id {
		return e
	}
	users, err := usersOf(c, tx, budget)
	if err != nil || users.total() > 0 {
		return a.failed(err)
	}
	return a.failed(tx.Delete(b))
}

// usage counts the objects that use a budget, by what they are called.
type usage struct {
	names  []string
	counts []int
}

func (u *usage) total() (n int) {
	for _, count := range u.counts {
		n += count
	}
	return n
}

func (u *usage) String() string {
	var parts []string
	for i, n := range u.counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.names[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// budgetUsers count the objects of each kind that may use a budget.
var budgetUsers = []struct {
	name  string
	count func(ctx context.Context, r store.Reader, where ...store.Cond) (int, error)
}{
	{"keys", store.Count[identity.Key]},
	{"users", store.Count[identity.User]},
	{"teams", store.Count[identity.Team]},
	{"team members", store.Count[identity.Member]},
	{"organizations", store.Count[identity.Organization]},
	{"organization members", store.Count[identity.OrganizationMember]},
	{"projects", store.Count[identity.Project]},
	{"customers", store.Count[identity.EndUser]},
	{"tags", store.Count[identity.Tag]},
}

// usersOf counts what uses a budget.
func usersOf(c *Call, tx *store.Tx, id string) (*usage, error) {
	u := &usage{}
	for _, kind := range budgetUsers {
		n, err := kind.count(c.Ctx, tx, store.Eq("budget_id", id))
		if err != nil {
			return u, err
		}
		u.names, u.counts = append(u.names, kind.name), append(u.counts, n)
	}
	return u, nil
}
