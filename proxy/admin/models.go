package admin

// modelHandlers are the handlers of proxy/access/models.go.
func modelHandlers() map[string]handler { return nil }
