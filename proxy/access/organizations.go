package access

// organizationRoutes are the routes of organizations.
func organizationRoutes() []Route { return nil }
