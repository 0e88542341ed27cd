package admin

// auditHandlers are the handlers of proxy/access/audit.go.
func auditHandlers() map[string]handler { return nil }
