package access

// budgetRoutes are the routes of budgets.
func budgetRoutes() []Route { return nil }
