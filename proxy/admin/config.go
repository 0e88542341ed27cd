package admin

// configHandlers are the handlers of proxy/access/config.go.
func configHandlers() map[string]handler { return nil }
