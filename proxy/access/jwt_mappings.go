package access

// jwtMappingRoutes are the routes of the keys that values of claims stand for.
func jwtMappingRoutes() []Route {
	id := Field{Name: "id", Type: String, Required: true, Summary: "Id of the mapping."}
	key := []Field{
		{Name: "key", Type: String, Summary: "The key; or token."},
		{Name: "token", Type: String, Summary: "Digest of the key; or key."},
		{Name: "description", Type: String, Summary: "What the mapping is for."},
		{Name: "jwt_issuer", Type: String, Summary: "Issuer whose tokens it is about; none: all."},
	}
	routes := []Route{
		{
			Method: "POST", Path: "/jwt/key/mapping/new", Summary: "Let a claim's value stand for a key", Actions: []Action{SettingsWrite},
			Body: append([]Field{
				{Name: "jwt_claim_name", Type: String, Required: true, Summary: "Name of the claim."},
				{Name: "jwt_claim_value", Type: String, Required: true, Summary: "Value of the claim."},
			}, key...),
		},
		{
			Method: "POST", Path: "/jwt/key/mapping/update", Summary: "Change a mapping", Actions: []Action{SettingsWrite},
			Body: append([]Field{id, {Name: "is_active", Type: Boolean, Summary: "Whether the mapping counts."}}, key...),
		},
		{Method: "POST", Path: "/jwt/key/mapping/delete", Summary: "Delete a mapping", Actions: []Action{SettingsWrite}, Body: []Field{id}},
		{Method: "GET", Path: "/jwt/key/mapping/info", Summary: "One mapping", Actions: []Action{SettingsRead}, Query: []Field{id}},
		{Method: "GET", Path: "/jwt/key/mapping/list", Summary: "All mappings, the newest first", Actions: []Action{SettingsRead}, Query: pageFields("size", 100)},
	}
	for i := range routes {
		routes[i].Tag, routes[i].Group = "jwt_mappings", GroupManagement
	}
	return routes
}
