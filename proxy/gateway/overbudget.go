package gateway

import (
	"errors"
	"strings"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// errElsewhere marks refusals by the budget of a provider or a deployment:
// another one may have some left.
var errElsewhere = errors.New("the budget of the deployment is used up")

// typeOverBudget is the type of errors of budgets that are used up.
const typeOverBudget = "budget_exceeded"

var headRetry, valueNo = []byte("x-should-retry"), []byte("false")

// overBudget is the refusal of a call that a budget has no room for, in
// LiteLLM's words, with exact amounts. needed is the most that the call could
// cost.
func (g *Gateway) overBudget(x *Exchange, r *budget.Refusal, needed money.Nano) *llm.Error {
	if r.Away {
		return &llm.Error{
			Kind: llm.KindUnavailable, Type: "budget_unavailable", RetryAfter: max(r.RetryAfter, time.Second),
			Message: "Nobody knows now whether " + ownerOf(r.Limit) +
				" has budget left: what this host may spend is used up, and the database does not answer in time. Try again shortly.",
		}
	}
	e := &llm.Error{Kind: llm.KindRateLimit, Type: typeOverBudget}
	spent, most := r.Spent.String(), r.Max.String()
	current := " Current cost: " + spent + ", Max budget: " + most
	c, id := &x.Caller, r.Limit.ID
	switch r.Limit.Kind {
	case bill.KindProvider, bill.KindDeployment:
		e.Type, e.Err = "None", errElsewhere
		e.Message = "No deployments available - crossed budget: Exceeded budget for " + ownerOf(r.Limit) + ": " + spent + " >= " + most
		return e
	case bill.KindUser:
		e.Message = "ExceededBudget: User=" + id + " over budget. Spend=" + spent + ", Budget=" + most
	case bill.KindCustomer:
		e.Message = "ExceededBudget: End User=" + clip(id) + " over budget. Spend=" + spent + ", Budget=" + most
	case bill.KindKeyModel:
		_, model, _ := strings.Cut(id, "/")
		e.Message = "LiteLLM Virtual Key: " + string(c.KeyHash[:]) + ", key_alias: " + orNone(c.Alias) + ", exceeded budget for model=" + clip(model) +
			"." + current
	case bill.KindKey:
		name := c.Alias
		if name == "" {
			name = string(c.KeyHash[:])
		}
		e.Message = "Budget has been exceeded! Key=" + name + current
	case bill.KindMember:
		e.Message = "Budget has been exceeded! User=" + c.User + " in Team=" + c.Team + current
	case bill.KindTeam:
		e.Message = "Budget has been exceeded! Team=" + id + current
	case bill.KindOrganization:
		e.Message = "Budget has been exceeded! Organization=" + id + current
	case bill.KindOrganizationMember:
		e.Message = "Budget has been exceeded! User=" + c.User + " in Organization=" + c.Organization + current
	case bill.KindProject:
		e.Message = "Budget has been exceeded! Project=" + id + current
	case bill.KindTag:
		e.Message = "Budget has been exceeded! Tag=" + clip(id) + current
	default:
		e.Message = "Budget has been exceeded!" + current
	}
	if r.Spent < r.Max && needed > 0 {
		e.Message += ". The call could cost up to " + needed.String() + ", of which not enough is left; one with a smaller max_tokens may pass"
	}
	if e.Status = g.terms.BudgetStatus; e.Status == 0 {
		e.Status = 429
	}
	if e.Status == 400 {
		e.Kind = llm.KindBadRequest
	}
	x.Header, x.scratch = x.Header[:0], x.scratch[:0]
	x.add(headRetry, valueNo) // SDKs would ask again at once, in vain
	return e
}

// ownerOf names whose budget it is.
func ownerOf(l *budget.Limit) string {
	switch l.Kind {
	case bill.KindProxy:
		return "this gateway"
	case bill.KindKey, bill.KindKeyModel:
		return "the key"
	}
	return strings.ReplaceAll(l.Kind.String(), "_", " ") + " " + clip(l.ID)
}

// clip bounds what an error repeats of a client's words.
func clip(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}
