package access

// customerRoutes are the routes of customers, also called end users.
func customerRoutes() []Route { return nil }
