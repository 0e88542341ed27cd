package access

// projectRoutes are the routes of projects.
func projectRoutes() []Route { return nil }
