package access

// organizationRoutes are the routes of organizations and their members.
func organizationRoutes() []Route {
	id := Field{Name: "organization_id", Type: String, Required: true, Summary: "Id of the organization."}
	fields := append([]Field{
		{Name: "models", Type: StringList, Summary: "Models that the organization's teams and keys may use; none: all."},
		{Name: "metadata", Type: Object, Summary: "Anything that should be kept with the organization."},
		{Name: "model_rpm_limit", Type: Object, Summary: "Requests a minute of single models."},
		{Name: "model_tpm_limit", Type: Object, Summary: "Tokens a minute of single models."},
		{Name: "object_permission", Type: Object, Summary: "Tools, agents and stores; kept."},
		{Name: "budget_id", Type: String, Summary: "Id of a budget that exists; not together with limits."},
	}, inlineLimits()...)
	user := []Field{
		id,
		{Name: "user_id", Type: String, Summary: "Id of the user; or user_email."},
		{Name: "user_email", Type: String, Summary: "E-mail address of the user; or user_id."},
	}
	budget := Field{Name: "max_budget_in_organization", Type: Money, Summary: "Dollars that each of the members may spend in the organization."}
	routes := []Route{
		{
			Method: "POST", Path: "/organization/new", Summary: "Make an organization", Actions: []Action{OrganizationNew},
			Body: append([]Field{
				{Name: "organization_alias", Type: String, Required: true, Summary: "Name of the organization."},
				{Name: "organization_id", Type: String, Summary: "Id of the organization; made up where none is given."},
			}, fields...),
		},
		{
			Method: "PATCH", Path: "/organization/update", Summary: "Change an organization", Actions: []Action{OrganizationUpdate},
			Body: append([]Field{
				id,
				{Name: "organization_alias", Type: String, Summary: "Name of the organization; the one field that its own admins may change."},
				{Name: "spend", Type: Money, AdminOnly: true, Summary: "Dollars that it has spent."},
			}, fields...),
		},
		{
			Method: "DELETE", Path: "/organization/delete", Summary: "Delete organizations with their teams, keys, projects and memberships: all of them or none",
			Actions: []Action{OrganizationNew},
			Body:    []Field{{Name: "organization_ids", Type: StringList, Required: true, Summary: "Ids of the organizations."}},
		},
		{
			Method: "GET", Path: "/organization/list", Summary: "The organizations that the caller sees", Actions: []Action{OrganizationInfo},
			Query: append([]Field{
				{Name: "org_id", Type: String, Summary: "Id of the organization."},
				{Name: "org_alias", Type: String, Summary: "Part of the organization's name, in any case."},
			}, pageFields("page_size", 1000)...),
		},
		{
			Method: "GET", Path: "/organization/info", Summary: "One organization with its teams and members", Actions: []Action{OrganizationInfo},
			Query: []Field{id},
		},
		{
			Method: "POST", Path: "/organization/info", Summary: "Some organizations; deprecated", Actions: []Action{OrganizationInfo},
			Body: []Field{{Name: "organizations", Type: StringList, Required: true, Summary: "Ids of the organizations."}},
		},
		{
			Method: "POST", Path: "/organization/member_add", Summary: "Add members; users that do not exist are made", Actions: []Action{OrganizationUpdate},
			Body: []Field{id, {Name: "member", Type: ObjectOrList, Required: true, Summary: "Each with role and user_id or user_email."}, budget},
		},
		{
			Method: "PATCH", Path: "/organization/member_update", Summary: "Change a member's role or budget", Actions: []Action{OrganizationUpdate},
			Body: append(user[:len(user):len(user)], Field{
				Name: "role", Type: String, Enum: OrganizationRoles(), Summary: "What the member is in the organization.",
			}, budget),
		},
		{Method: "DELETE", Path: "/organization/member_delete", Summary: "Remove a member", Actions: []Action{OrganizationUpdate}, Body: user},
	}
	// An organization's own admins change its name and nothing that bounds it.
	update := routes[1].Body
	for i := range update {
		update[i].AdminOnly = update[i].Name != "organization_id" && update[i].Name != "organization_alias"
	}
	for i := range routes {
		routes[i].Tag, routes[i].Group = "organization management", GroupManagement
		if a := routes[i].Actions[0]; a == OrganizationInfo {
			routes[i].Group = GroupInfo
		}
	}
	return routes
}

// OrganizationRoles are the names of the roles that a member of an organization may have.
func OrganizationRoles() []string {
	return []string{"org_admin", "internal_user", "internal_user_viewer"}
}
