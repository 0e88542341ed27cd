package litellm

import "sluice/proxy/identity"

// organizationRow is a row of LiteLLM_OrganizationTable.
type organizationRow struct {
	ID         text   `json:"organization_id"`
	Alias      text   `json:"organization_alias"`
	BudgetID   text   `json:"budget_id"`
	Models     list   `json:"models"`
	Metadata   object `json:"metadata"`
	Spend      amount `json:"spend"`
	ModelSpend raw    `json:"model_spend"`
	permission
	trail
}

func convertOrganization(r *row, o *organizationRow) error {
	if !r.ids(o.ID) {
		return nil
	}
	out := &identity.Organization{
		ID: string(o.ID), Alias: r.name("organization_alias", o.Alias), BudgetID: r.reference("budget_id", o.BudgetID),
		Models: r.names("models", o.Models), Metadata: r.object("metadata", o.Metadata), Spend: r.spent("spend", o.Spend), Stamp: r.stamp(&o.trail),
	}
	if out.Models == nil && len(o.Models) > 0 {
		out.Models = []string{identity.NoDefaultModels} // an empty list would allow everything
		r.report("models could not be taken, so that the organization may use none")
	}
	r.keep(&out.Settings, "model_spend", o.ModelSpend)
	r.permission(&out.Settings, &o.permission)
	out.Settings = r.fits(out.Settings)
	r.effectless(out.Settings, out.Metadata)
	return r.c.Sink.Object(out)
}

// organizationMemberRow is a row of LiteLLM_OrganizationMembership.
type organizationMemberRow struct {
	UserID         text   `json:"user_id"`
	OrganizationID text   `json:"organization_id"`
	Role           text   `json:"user_role"`
	BudgetID       text   `json:"budget_id"`
	Spend          amount `json:"spend"`
	trail
}

func convertOrganizationMember(r *row, m *organizationMemberRow) error {
	if !r.ids(m.UserID, m.OrganizationID) {
		return nil
	}
	out := &identity.OrganizationMember{
		OrganizationID: string(m.OrganizationID), UserID: string(m.UserID), Role: string(m.Role), BudgetID: r.reference("budget_id", m.BudgetID),
		Spend: r.spent("spend", m.Spend), Stamp: r.stamp(&m.trail),
	}
	if m.Role != identity.OrgAdmin {
		out.Role = r.role(m.Role)
	}
	return r.c.Sink.Object(out)
}

// projectRow is a row of LiteLLM_ProjectTable.
type projectRow struct {
	ID            text   `json:"project_id"`
	Alias         text   `json:"project_alias"`
	Description   text   `json:"description"`
	TeamID        text   `json:"team_id"`
	BudgetID      text   `json:"budget_id"`
	Models        list   `json:"models"`
	Metadata      object `json:"metadata"`
	Blocked       *bool  `json:"blocked"`
	Spend         amount `json:"spend"`
	ModelSpend    raw    `json:"model_spend"`
	ModelRPMLimit object `json:"model_rpm_limit"`
	ModelTPMLimit object `json:"model_tpm_limit"`
	permission
	trail
}

func convertProject(r *row, p *projectRow) error {
	if !r.ids(p.ID) {
		return nil
	}
	out := &identity.Project{
		ID: string(p.ID), Alias: r.name("project_alias", p.Alias), Description: string(p.Description), TeamID: r.reference("team_id", p.TeamID),
		BudgetID: r.reference("budget_id", p.BudgetID), Models: r.names("models", p.Models), Metadata: r.object("metadata", p.Metadata),
		Blocked: p.Blocked != nil && *p.Blocked, Spend: r.spent("spend", p.Spend), Stamp: r.stamp(&p.trail),
	}
	if out.Models == nil && len(p.Models) > 0 {
		out.Blocked = true
		r.report("what limits the project could not be taken, so that it is blocked")
	}
	r.keep(&out.Settings, "model_spend", p.ModelSpend)
	for name, o := range map[string]object{"model_rpm_limit": p.ModelRPMLimit, "model_tpm_limit": p.ModelTPMLimit} {
		if f := r.object(name, o); f != nil {
			put(&out.Settings, name, quoted(f))
		}
	}
	r.permission(&out.Settings, &p.permission)
	out.Settings = r.fits(out.Settings)
	r.effectless(out.Settings, out.Metadata)
	return r.c.Sink.Object(out)
}

func organizationTables() []Table {
	return []Table{{
		Name: tableOrgs, Key: []string{"organization_id"}, Needs: []string{"organization_id"}, From: permitted(tableOrgs),
		Convert: converting(tableOrgs, func(o *organizationRow) string { return string(o.ID) }, convertOrganization),
	}}
}

func organizationMemberTables() []Table {
	return []Table{{
		Name: tableOrgMembers, Key: []string{"user_id", "organization_id"}, Needs: []string{"user_id", "organization_id"},
		From: func(have Columns) string {
			if !have.Has(tableOrgs, "organization_id") {
				return whole(tableOrgMembers)(have)
			}
			return `SELECT row_to_json(t)::text FROM (SELECT m.* FROM "` + tableOrgMembers + `" m JOIN "` + tableOrgs + `" o ON o.organization_id = m.organization_id) t`
		},
		Convert: converting(tableOrgMembers, func(m *organizationMemberRow) string { return string(m.OrganizationID) + "/" + string(m.UserID) }, convertOrganizationMember),
	}}
}

func projectTables() []Table {
	return []Table{{
		Name: tableProjects, Key: []string{"project_id"}, Needs: []string{"project_id"}, From: permitted(tableProjects),
		Convert: converting(tableProjects, func(p *projectRow) string { return string(p.ID) }, convertProject),
	}}
}
