package litellm

import (
	"encoding/json"
	"strings"
	"time"

	"sluice/proxy/identity"
)

// teamRow is a row of LiteLLM_TeamTable, with the aliases and the memberships
// that belong to it.
type teamRow struct {
	ID             text   `json:"team_id"`
	Alias          text   `json:"team_alias"`
	OrganizationID text   `json:"organization_id"`
	Admins         list   `json:"admins"`
	Members        list   `json:"members"`
	WithRoles      raw    `json:"members_with_roles"`
	Models         list   `json:"models"`
	Metadata       object `json:"metadata"`
	Blocked        *bool  `json:"blocked"`
	Spend          amount `json:"spend"`
	caps

	Permissions         list   `json:"team_member_permissions"`
	BudgetLimits        raw    `json:"budget_limits"`
	RouterSettings      raw    `json:"router_settings"`
	AccessGroupIDs      list   `json:"access_group_ids"`
	DefaultMemberModels list   `json:"default_team_member_models"`
	ModelMaxBudget      object `json:"model_max_budget"`
	ModelSpend          raw    `json:"model_spend"`
	Policies            list   `json:"policies"`
	AllowGuardrails     bool   `json:"allow_team_guardrail_config"`
	TPDLimit            count  `json:"tpd_limit"`
	permission
	trail

	ModelAliases object      `json:"model_aliases"` // joined from LiteLLM_ModelTable
	AliasesBy    text        `json:"model_aliases_by"`
	Memberships  []memberRow `json:"memberships"` // joined from LiteLLM_TeamMembership
}

// memberRow is a row of LiteLLM_TeamMembership.
type memberRow struct {
	UserID     text   `json:"user_id"`
	BudgetID   text   `json:"budget_id"`
	Spend      amount `json:"spend"`
	TotalSpend amount `json:"total_spend"`
}

// person is an entry of members_with_roles.
type person struct {
	UserID text `json:"user_id"`
	Role   text `json:"role"`
}

func convertTeam(r *row, t *teamRow) error {
	if !r.ids(t.ID) {
		return nil
	}
	out := &identity.Team{
		ID: string(t.ID), Alias: r.name("team_alias", t.Alias), OrganizationID: r.reference("organization_id", t.OrganizationID),
		Models: r.names("models", t.Models), Metadata: r.object("metadata", t.Metadata), Blocked: t.Blocked != nil && *t.Blocked,
		Spend: r.spent("spend", t.Spend), Caps: r.caps(&t.caps), Stamp: r.stamp(&t.trail),
	}
	if out.Models == nil && len(t.Models) > 0 || lost(string(t.OrganizationID), out.OrganizationID) {
		out.Blocked = true
		r.report("what limits the team could not be taken, so that it is blocked")
	}
	out.CreatedBy, out.UpdatedBy = r.name("created_by", t.AliasesBy), r.name("updated_by", t.AliasesBy)
	r.teamSettings(&out.Settings, t)
	out.Settings = r.fits(out.Settings)
	r.effectless(out.Settings, out.Metadata)
	if err := r.c.Sink.Object(out); err != nil {
		return err
	}
	return r.members(t, out)
}

func (r *row) teamSettings(s *identity.Fields, t *teamRow) {
	if aliases := r.aliases(t); len(aliases) > 0 {
		put(s, "model_aliases", quoted(aliases))
	}
	put(s, "team_member_permissions", t.Permissions.json())
	r.keep(s, "budget_limits", t.BudgetLimits)
	r.keep(s, "router_settings", t.RouterSettings)
	put(s, "access_group_ids", t.AccessGroupIDs.json())
	put(s, "default_team_member_models", t.DefaultMemberModels.json())
	r.keepFields(s, "model_max_budget", t.ModelMaxBudget)
	r.keep(s, "model_spend", t.ModelSpend)
	put(s, "policies", t.Policies.json())
	if t.AllowGuardrails {
		put(s, "allow_team_guardrail_config", quoted(true))
	}
	put(s, "tpd_limit", t.TPDLimit.json())
	r.permission(s, &t.permission)
}

// aliases are the team's own names for models. One that leads to a deployment of
// the team by its inner name is not needed here: such a deployment is taken under
// the name that the team calls it by.
func (r *row) aliases(t *teamRow) map[string]string {
	out := r.texts("model_aliases", t.ModelAliases)
	for name, to := range out {
		if innerName(to, string(t.ID)) {
			delete(out, name)
		}
	}
	return out
}

// innerName reports whether a model name is one that LiteLLM makes for a
// deployment of a team.
func innerName(name, team string) bool { return strings.HasPrefix(name, "model_name_"+team+"_") }

// members puts out the members of a team: those that members_with_roles has, with
// the spend and the budget of their memberships.
func (r *row) members(t *teamRow, team *identity.Team) error {
	var people []person
	if len(t.WithRoles) > 0 && json.Unmarshal(t.WithRoles, &people) != nil {
		r.report("members_with_roles is no list of members, so that the team has none")
	}
	memberships := make(map[text]*memberRow, len(t.Memberships))
	for i := range t.Memberships {
		memberships[t.Memberships[i].UserID] = &t.Memberships[i]
	}
	placed := make(map[text]*identity.Member, len(people))
	var order []*identity.Member
	for _, p := range people {
		switch m := placed[p.UserID]; {
		case p.UserID == "":
			r.report("members_with_roles has a member without a user_id, who was left out")
		case len(p.UserID) > longestName:
			r.report("members_with_roles has a user_id longer than 1024 bytes, which was left out")
		case m != nil:
			r.report("members_with_roles names a member twice")
			if r.memberRole(p.Role) == identity.TeamAdmin {
				m.Role = identity.TeamAdmin
			}
		default:
			m = &identity.Member{TeamID: team.ID, UserID: string(p.UserID), Role: r.memberRole(p.Role), Stamp: team.Stamp}
			if !m.CreatedAt.IsZero() { // members are shown in the order in which they came
				m.CreatedAt = m.CreatedAt.Add(time.Duration(len(order)) * time.Microsecond)
			}
			if has := memberships[p.UserID]; has != nil {
				r.membership(m, has)
			}
			placed[p.UserID] = m
			order = append(order, m)
		}
	}
	r.compareMembers(t, placed)
	for _, m := range order {
		if err := r.c.Sink.Object(m); err != nil {
			return err
		}
	}
	return nil
}

func (r *row) membership(m *identity.Member, has *memberRow) {
	m.BudgetID = r.reference("budget_id of a member", has.BudgetID)
	m.Spend = r.spent("spend of a member", has.Spend)
	m.TotalSpend = r.spent("total_spend of a member", has.TotalSpend)
}

// memberRole is a role in a team.
func (r *row) memberRole(t text) string {
	switch t {
	case identity.TeamAdmin, identity.TeamUser:
		return string(t)
	}
	r.report("members_with_roles has a role that is neither admin nor user, which was taken as user")
	return identity.TeamUser
}

// compareMembers tells where the two older lists say something else.
func (r *row) compareMembers(t *teamRow, placed map[text]*identity.Member) {
	for _, id := range t.Members {
		if placed[text(id)] == nil {
			r.report("members names a user who is not in members_with_roles, and so is no member")
			break
		}
	}
	for _, id := range t.Admins {
		if m := placed[text(id)]; m == nil {
			r.report("admins names a user who is not in members_with_roles, and so is no member")
			break
		} else if m.Role != identity.TeamAdmin {
			r.report("admins names a user whom members_with_roles has as a user, which is what it stays")
			break
		}
	}
}

// teamJoins are what a team's row is read with.
func teamJoins() []func(Columns) string {
	return []func(Columns) string{
		func(have Columns) string {
			if !have.Has(tableTeams, "model_id") || !have.Has(tableAliases, "id", "aliases") {
				return ""
			}
			columns := `(SELECT a.aliases FROM "` + tableAliases + `" a WHERE a.id = k.model_id) AS model_aliases`
			if have.Has(tableAliases, "created_by") {
				columns += `, (SELECT a.created_by FROM "` + tableAliases + `" a WHERE a.id = k.model_id) AS model_aliases_by`
			}
			return columns
		},
		func(have Columns) string {
			if !have.Has(tableTeams, "members_with_roles") || !have.Has(tableMembers, "team_id", "user_id") {
				return ""
			}
			return `(SELECT json_agg(m) FROM (SELECT DISTINCT e->>'user_id' AS user_id FROM jsonb_array_elements(CASE WHEN jsonb_typeof(k.members_with_roles)` +
				` = 'array' THEN k.members_with_roles ELSE '[]'::jsonb END) e) w JOIN "` + tableMembers + `" m ON m.user_id = w.user_id AND m.team_id = k.team_id) AS memberships`
		},
	}
}

func teamTables() []Table {
	return []Table{
		{
			Name: tableTeams, Key: []string{"team_id"}, Needs: []string{"team_id"}, From: permitted(tableTeams, teamJoins()...),
			Convert: converting(tableTeams, func(t *teamRow) string { return string(t.ID) }, convertTeam),
		},
	}
}
