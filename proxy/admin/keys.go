package admin

// keyHandlers are the handlers of proxy/access/keys.go.
func keyHandlers() map[string]handler { return nil }
