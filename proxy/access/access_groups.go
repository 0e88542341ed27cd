package access

// accessGroupRoutes are the routes of access groups.
func accessGroupRoutes() []Route { return nil }
