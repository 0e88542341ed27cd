package access

// tagRoutes are the routes of tags.
func tagRoutes() []Route { return nil }
