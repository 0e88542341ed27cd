package admin

// accessGroupHandlers are the handlers of proxy/access/access_groups.go.
func accessGroupHandlers() map[string]handler { return nil }
