package admin

// jwtMappingHandlers are the handlers of proxy/access/jwt_mappings.go.
func jwtMappingHandlers() map[string]handler { return nil }
