package admin

// docsHandlers are the handlers of the documents about the API.
func docsHandlers() map[string]handler { return nil }
