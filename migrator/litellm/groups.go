package litellm

import "sluice/proxy/identity"

// groupRow is a row of LiteLLM_AccessGroupTable. Whom a group is given to stands
// in access_group_ids of keys and teams too, which is what decides there and here.
type groupRow struct {
	ID          text `json:"access_group_id"`
	Name        text `json:"access_group_name"`
	Description text `json:"description"`
	Models      list `json:"access_model_names"`
	Servers     list `json:"access_mcp_server_ids"`
	Agents      list `json:"access_agent_ids"`
	trail
}

func convertGroup(r *row, g *groupRow) error {
	if !r.ids(g.ID, g.Name) {
		return nil
	}
	out := &identity.AccessGroup{
		ID: string(g.ID), Name: string(g.Name), Description: string(g.Description), Models: r.names("access_model_names", g.Models), Stamp: r.stamp(&g.trail),
	}
	put(&out.Settings, "access_mcp_server_ids", g.Servers.json())
	put(&out.Settings, "access_agent_ids", g.Agents.json())
	return r.c.Sink.Object(out)
}

// mappingRow is a row of LiteLLM_JWTKeyMapping.
type mappingRow struct {
	ID          text  `json:"id"`
	Issuer      text  `json:"jwt_issuer"`
	ClaimName   text  `json:"jwt_claim_name"`
	ClaimValue  text  `json:"jwt_claim_value"`
	Token       text  `json:"token"`
	Description text  `json:"description"`
	Active      *bool `json:"is_active"`
	trail
}

func convertMapping(r *row, m *mappingRow) error {
	if !r.ids(m.ID, m.ClaimName, m.ClaimValue) {
		return nil
	}
	if !takenToken(m.Token) {
		r.skip("the token is no SHA-256 digest, so that no key leads to it")
		return nil
	}
	out := &identity.JWTMapping{
		ID: string(m.ID), ClaimName: string(m.ClaimName), ClaimValue: string(m.ClaimValue), Token: string(m.Token), Description: string(m.Description),
		Active: m.Active == nil || *m.Active, Stamp: r.stamp(&m.trail),
	}
	if out.Issuer = r.name("jwt_issuer", m.Issuer); lost(string(m.Issuer), out.Issuer) {
		out.Active = false // without an issuer it would hold for all of them
	}
	return r.c.Sink.Object(out)
}

// invitationRow is a row of LiteLLM_InvitationLink.
type invitationRow struct {
	ID        text   `json:"id"`
	UserID    text   `json:"user_id"`
	Accepted  bool   `json:"is_accepted"`
	ExpiresAt moment `json:"expires_at"`
	trail
}

// convertInvitation takes an invitation that can still be accepted.
func convertInvitation(r *row, i *invitationRow) error {
	switch {
	case i.Accepted:
		r.skip("was accepted")
		return nil
	case !r.after(i.ExpiresAt):
		r.skip("has expired")
		return nil
	case !r.ids(i.ID, i.UserID):
		return nil
	}
	return r.c.Sink.Object(&identity.Invitation{ID: string(i.ID), UserID: string(i.UserID), ExpiresAt: i.ExpiresAt.at, Stamp: r.stamp(&i.trail)})
}

func groupTables() []Table {
	return []Table{{
		Name: tableGroups, Key: []string{"access_group_id"}, Needs: []string{"access_group_id", "access_group_name"}, From: whole(tableGroups),
		Convert: converting(tableGroups, func(g *groupRow) string { return string(g.ID) }, convertGroup),
	}}
}

func linkTables() []Table {
	return []Table{
		{
			Name: tableMappings, Key: []string{"id"}, Needs: []string{"id", "jwt_claim_name", "jwt_claim_value", "token"}, From: whole(tableMappings),
			Convert: converting(tableMappings, func(m *mappingRow) string { return string(m.ID) }, convertMapping),
		},
		{
			Name: tableInvitations, Key: []string{"id"}, Needs: []string{"id", "user_id", "expires_at"}, From: whole(tableInvitations),
			Convert: converting(tableInvitations, func(i *invitationRow) string { return "of user " + string(i.UserID) }, convertInvitation),
		},
	}
}
