package admin

// projectHandlers are the handlers of proxy/access/projects.go.
func projectHandlers() map[string]handler { return nil }
