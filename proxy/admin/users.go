package admin

// userHandlers are the handlers of proxy/access/users.go.
func userHandlers() map[string]handler { return nil }
