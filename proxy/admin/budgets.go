package admin

// budgetHandlers are the handlers of proxy/access/budgets.go.
func budgetHandlers() map[string]handler { return nil }
