package admin

// teamHandlers are the handlers of proxy/access/teams.go.
func teamHandlers() map[string]handler { return nil }
