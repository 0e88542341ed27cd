package admin

// spendHandlers are the handlers of proxy/access/spend.go.
func spendHandlers() map[string]handler { return nil }
