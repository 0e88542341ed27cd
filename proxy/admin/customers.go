package admin

// customerHandlers are the handlers of proxy/access/customers.go.
func customerHandlers() map[string]handler { return nil }
