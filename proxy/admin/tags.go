package admin

// tagHandlers are the handlers of proxy/access/tags.go.
func tagHandlers() map[string]handler { return nil }
