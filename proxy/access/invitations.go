package access

// invitationRoutes are the routes of invitations.
func invitationRoutes() []Route { return nil }
