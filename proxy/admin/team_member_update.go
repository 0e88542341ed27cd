package admin

import (
	"encoding/json"
	"fmt"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// memberUpdated is a member's limits as they are after a change.
type memberUpdated struct {
	UserID             string          `json:"user_id"`
	Email              *string         `json:"user_email"`
	TeamID             string          `json:"team_id"`
	MaxBudget          *money.Nano     `json:"max_budget_in_team"`
	TPMLimit           *int64          `json:"tpm_limit"`
	RPMLimit           *int64          `json:"rpm_limit"`
	BudgetDuration     *string         `json:"budget_duration"`
	AllowedModels      *[]string       `json:"allowed_models"`
	TempBudgetIncrease json.RawMessage `json:"temp_budget_increase"`
	TempBudgetExpiry   json.RawMessage `json:"temp_budget_expiry"`
}

// memberFor reads the team and the member that a call is about, for a caller who
// may change them.
func (a *API) memberFor(c *Call, tx *store.Tx, team, user, email string) (*identity.Team, *identity.Member, *llm.Error) {
	if user == "" && email == "" {
		return nil, nil, badRequest("user_id or user_email must say which member.", "user_id")
	}
	t, e := a.teamFor(c, tx, team, access.TeamMembers, unknownTeam(team))
	if e != nil {
		return nil, nil, e
	}
	passed, param := "user_id="+user, "user_id"
	if user == "" {
		passed, param = "user_email="+email, "user_email"
		u, e := a.userWithEmail(c, tx, email)
		if e != nil {
			return nil, nil, e
		}
		if u != nil {
			user = u.ID
		}
	}
	m, err := store.Get[identity.Member](c.Ctx, tx, t.ID, user)
	if missing(err) {
		return nil, nil, notFound(fmt.Sprintf("User not found in team %s, passed %s", t.ID, passed), param)
	}
	return t, m, a.failed(err)
}

// updateMember changes a member's role and limits. LiteLLM keeps limits for
// users who are not in the team; here there is nobody to keep them for.
func (a *API) updateMember(c *Call) (any, *llm.Error) {
	var answer memberUpdated
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		t, m, e := a.memberFor(c, tx, c.Body.Text("team_id"), c.Body.Text("user_id"), c.Body.Text("user_email"))
		if e != nil {
			return e
		}
		if e := c.adminFields(); e != nil {
			return e
		}
		if role := c.Body.Text("role"); role != "" && role != m.Role {
			if e := c.May(access.TeamMakeAdmin, teamTarget(t)); e != nil {
				return e
			}
			m.Role = role
		}
		limits := c.renamed(memberLimitNames)
		if sent, _ := hasLimits(limits.Body); sent {
			if e := a.ownLimits(limits, tx, t, m); e != nil {
				return e
			}
		}
		if err := tx.Update(m); err != nil {
			return a.failed(err)
		}
		answer, e = a.memberAnswer(c, tx, m)
		return e
	})
	return answerOr(answer, e)
}

func (a *API) memberAnswer(c *Call, tx *store.Tx, m *identity.Member) (memberUpdated, *llm.Error) {
	out := memberUpdated{UserID: m.UserID, TeamID: m.TeamID, Email: null(c.Body.Text("user_email"))}
	b, e := a.budget(c, tx, m.BudgetID)
	if e != nil || b == nil {
		return out, e
	}
	out.MaxBudget, out.TPMLimit, out.RPMLimit, out.BudgetDuration = b.MaxBudget, b.TPMLimit, b.RPMLimit, null(b.BudgetDuration)
	out.TempBudgetIncrease, out.TempBudgetExpiry = b.Settings["temp_budget_increase"], b.Settings["temp_budget_expiry"]
	if len(b.AllowedModels) > 0 {
		out.AllowedModels = &b.AllowedModels
	}
	return out, nil
}

// deleteMember takes a member out of a team, with its keys there.
func (a *API) deleteMember(c *Call) (any, *llm.Error) {
	var answer teamRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		t, m, e := a.memberFor(c, tx, c.Body.Text("team_id"), c.Body.Text("user_id"), c.Body.Text("user_email"))
		if e != nil {
			return e
		}
		if e := a.dropKeys(c, tx, store.Eq("user_id", m.UserID), store.Eq("team_id", t.ID)); e != nil {
			return e
		}
		if e := a.dropMember(c, tx, m); e != nil {
			return e
		}
		var err error
		answer, err = teamAnswer(c.Ctx, tx, t)
		return a.failed(err)
	})
	return answerOr(answer, e)
}

type memberSpend struct {
	TeamID   string     `json:"team_id"`
	UserID   string     `json:"user_id"`
	Spend    money.Nano `json:"spend"`
	Previous money.Nano `json:"previous_spend"`
}

// resetMemberSpend sets what a member has spent in the running window.
func (a *API) resetMemberSpend(c *Call) (any, *llm.Error) {
	to := *c.Body.Money("reset_to") // required and checked
	var answer memberSpend
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		_, m, e := a.memberFor(c, tx, c.Params["team_id"], c.Params["user_id"], "")
		if e != nil {
			return e
		}
		if to > m.Spend {
			return badRequest(fmt.Sprintf("reset_to must be from 0 to what the member has spent, %s. Received: %s", m.Spend, to), "reset_to")
		}
		answer = memberSpend{TeamID: m.TeamID, UserID: m.UserID, Spend: to, Previous: m.Spend}
		m.Spend = to
		return a.failed(tx.Update(m))
	})
	return answerOr(answer, e)
}

type memberBudgetReset struct {
	TeamID   string  `json:"team_id"`
	UserID   string  `json:"user_id"`
	BudgetID *string `json:"budget_id"`
	Previous *string `json:"previous_budget_id"`
	Source   string  `json:"budget_source"`
}

// resetMemberBudget puts a member back on the budget that the team has for each.
func (a *API) resetMemberBudget(c *Call) (any, *llm.Error) {
	var answer memberBudgetReset
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		t, m, e := a.memberFor(c, tx, c.Params["team_id"], c.Params["user_id"], "")
		if e != nil {
			return e
		}
		previous := m.BudgetID
		m.BudgetID = teamBudgetID(t)
		answer = memberBudgetReset{
			TeamID: t.ID, UserID: m.UserID, BudgetID: null(m.BudgetID), Previous: null(previous), Source: budgetSource(t, m),
		}
		if m.BudgetID == previous {
			return nil
		}
		if err := tx.Update(m); err != nil {
			return a.failed(err)
		}
		return a.dropBudget(c, tx, m, memberID(m), previous)
	})
	return answerOr(answer, e)
}

// budgetSource says where a member's budget comes from.
func budgetSource(t *identity.Team, m *identity.Member) string {
	switch m.BudgetID {
	case "":
		return "none"
	case teamBudgetID(t):
		return "team_default"
	default:
		return "custom"
	}
}
