package access

// modelRoutes are the routes of models.
func modelRoutes() []Route { return nil }
