package access

// invitationRoutes are the routes of invitations: links by which users set a password.
func invitationRoutes() []Route {
	const tag = "invitation management"
	id := Field{Name: "invitation_id", Type: String, Required: true, Summary: "Id of the invitation."}
	return []Route{
		{
			Method: "POST", Path: "/invitation/new", Tag: tag, Summary: "Invite a user; the invitation is good for seven days", Group: GroupManagement,
			Actions: []Action{InvitationWrite},
			Body:    []Field{{Name: "user_id", Type: String, Required: true, Summary: "Id of the user."}},
		},
		{
			Method: "GET", Path: "/invitation/info", Tag: tag, Summary: "One invitation", Group: GroupManagement,
			Actions: []Action{InvitationWrite}, Query: []Field{id},
		},
		{
			Method: "POST", Path: "/invitation/update", Tag: tag, Summary: "Say whether an invitation was accepted", Group: GroupManagement,
			Actions: []Action{InvitationWrite},
			Body:    []Field{id, {Name: "is_accepted", Type: Boolean, Required: true, Summary: "Whether it was accepted."}},
		},
		{
			Method: "POST", Path: "/invitation/delete", Tag: tag, Summary: "Take an invitation back", Group: GroupManagement,
			Actions: []Action{InvitationWrite}, Body: []Field{id},
		},
	}
}
