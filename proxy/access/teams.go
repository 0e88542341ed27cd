package access

// teamRoutes are the routes of teams.
func teamRoutes() []Route { return nil }
