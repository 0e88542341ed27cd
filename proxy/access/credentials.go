package access

// credentialRoutes are the routes of credentials.
func credentialRoutes() []Route { return nil }
