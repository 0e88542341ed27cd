package access

// userRoutes are the routes of users.
func userRoutes() []Route { return nil }
