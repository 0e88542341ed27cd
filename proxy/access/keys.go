package access

// keyRoutes are the routes of virtual keys.
func keyRoutes() []Route { return nil }
