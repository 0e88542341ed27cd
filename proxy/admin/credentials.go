package admin

// credentialHandlers are the handlers of proxy/access/credentials.go.
func credentialHandlers() map[string]handler { return nil }
