package access

// jwtMappingRoutes are the routes of mappings of JWT claims to keys.
func jwtMappingRoutes() []Route { return nil }
