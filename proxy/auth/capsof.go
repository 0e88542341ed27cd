package auth

import (
	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/limit"
)

// What limits each kind of object.

func keyCaps(k *identity.Key) *capped {
	c := &capped{
		id: k.Token, alias: k.Alias, spend: k.Spend, kind: bill.KindKey, scope: limit.ScopeKey, perModel: limit.ScopeKeyModel, caps: k.Caps,
		more:     windows("budget_limits", k.Settings, k.Metadata),
		requests: counts("model_rpm_limit", k.Settings, k.Metadata), tokens: counts("model_tpm_limit", k.Settings, k.Metadata),
		perMax: amounts(k.ModelMaxBudget), raise: raiseOf(k.Settings, k.Metadata),
	}
	if c.requests == nil {
		c.requests = within("rpm_limit", k.ModelMaxBudget)
	}
	if c.tokens == nil {
		c.tokens = within("tpm_limit", k.ModelMaxBudget)
	}
	return c
}

func userCaps(u *identity.User) *capped {
	return &capped{
		id: u.ID, alias: u.Alias, spend: u.Spend, kind: bill.KindUser, scope: limit.ScopeUser, perModel: limit.ScopeUserModel, caps: u.Caps,
		more:     windows("budget_limits", u.Settings, u.Metadata),
		requests: counts("model_rpm_limit", u.Settings, u.Metadata), tokens: counts("model_tpm_limit", u.Settings, u.Metadata),
		raise: raiseOf(u.Settings, u.Metadata),
	}
}

func teamCaps(t *identity.Team) *capped {
	return &capped{
		id: t.ID, alias: t.Alias, spend: t.Spend, kind: bill.KindTeam, scope: limit.ScopeTeam, perModel: limit.ScopeTeamModel, caps: t.Caps,
		more:     windows("budget_limits", t.Settings, t.Metadata),
		requests: counts("model_rpm_limit", t.Settings, t.Metadata), tokens: counts("model_tpm_limit", t.Settings, t.Metadata),
		raise: raiseOf(t.Settings, t.Metadata),
	}
}

func memberCaps(m *identity.Member) *capped {
	return &capped{id: memberID(m.TeamID, m.UserID), spend: m.Spend, kind: bill.KindMember, scope: limit.ScopeMember}
}

func organizationCaps(o *identity.Organization) *capped {
	return &capped{
		id: o.ID, alias: o.Alias, spend: o.Spend, kind: bill.KindOrganization, scope: limit.ScopeOrganization, perModel: limit.ScopeOrganization,
		requests: counts("model_rpm_limit", o.Settings, o.Metadata), tokens: counts("model_tpm_limit", o.Settings, o.Metadata),
	}
}

func orgMemberCaps(m *identity.OrganizationMember) *capped {
	return &capped{id: memberID(m.OrganizationID, m.UserID), kind: bill.KindOrganizationMember, scope: limit.ScopeOrganization}
}

func projectCaps(p *identity.Project) *capped {
	return &capped{
		id: p.ID, alias: p.Alias, spend: p.Spend, kind: bill.KindProject, scope: limit.ScopeProject, perModel: limit.ScopeProjectModel,
		requests: counts("model_rpm_limit", p.Settings, p.Metadata), tokens: counts("model_tpm_limit", p.Settings, p.Metadata),
	}
}

// budgetCaps are what a budget object gives to those that name it.
func budgetCaps(b *identity.Budget) *capped {
	return &capped{
		id: b.ID, caps: b.Caps, raise: raiseOf(b.Settings), perMax: amounts(b.ModelMaxBudget),
		requests: within("rpm_limit", b.ModelMaxBudget), tokens: within("tpm_limit", b.ModelMaxBudget),
	}
}
