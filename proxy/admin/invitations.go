package admin

// invitationHandlers are the handlers of proxy/access/invitations.go.
func invitationHandlers() map[string]handler { return nil }
