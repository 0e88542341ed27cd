package admin

// organizationHandlers are the handlers of proxy/access/organizations.go.
func organizationHandlers() map[string]handler { return nil }
