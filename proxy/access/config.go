package access

// configRoutes are the routes of the configuration.
func configRoutes() []Route { return nil }
