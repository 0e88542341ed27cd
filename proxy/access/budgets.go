package access

// budgetRoutes are the routes of budgets: sets of limits that others refer to.
func budgetRoutes() []Route {
	const tag = "budget management"
	id := Field{Name: "budget_id", Type: String, Summary: "Id of the budget; made up where none is given."}
	reset := Field{Name: "budget_reset_at", Type: Time, Summary: "When the spend is next set to nothing; follows from budget_duration where it is not given."}
	return []Route{
		{
			Method: "POST", Path: "/budget/new", Tag: tag, Summary: "Make a budget", Group: GroupManagement,
			Actions: []Action{SettingsWrite}, Body: append([]Field{id, reset}, limitFields()...),
		},
		{
			Method: "POST", Path: "/budget/update", Tag: tag, Summary: "Change a budget; null where there is none of the id", Group: GroupManagement,
			Actions: []Action{SettingsWrite},
			Body:    append([]Field{{Name: "budget_id", Type: String, Required: true, Summary: "Id of the budget."}, reset}, limitFields()...),
		},
		{
			Method: "POST", Path: "/budget/info", Tag: tag, Summary: "Some budgets", Group: GroupInfo, Actions: []Action{SettingsRead},
			Body: []Field{{Name: "budgets", Type: StringList, Required: true, Summary: "Ids of the budgets."}},
		},
		{
			Method: "GET", Path: "/budget/settings", Tag: tag, Summary: "The fields of a budget, described", Group: GroupInfo, Actions: []Action{SettingsRead},
			Query: []Field{{Name: "budget_id", Type: String, Required: true, Summary: "Id of the budget."}},
		},
		{
			Method: "GET", Path: "/budget/list", Tag: tag, Summary: "All budgets", Group: GroupInfo, Actions: []Action{SettingsRead},
			Query: pageFields("page_size", 1000),
		},
		{
			Method: "POST", Path: "/budget/delete", Tag: tag, Summary: "Delete a budget that nothing uses", Group: GroupManagement,
			Actions: []Action{SettingsWrite},
			Body:    []Field{{Name: "id", Type: String, Required: true, Summary: "Id of the budget."}},
		},
	}
}

// inlineLimits are limitFields of an object that takes them inline.
func inlineLimits() []Field { return unserved(limitFields(), "model_max_budget", modelBudgets) }

// limitFields are the limits of a budget.
func limitFields() []Field {
	zero := new(int64)
	return []Field{
		{Name: "max_budget", Type: Money, Summary: "Dollars that may be spent in one window of budget_duration."},
		{Name: "soft_budget", Type: Money, Summary: "Dollars from which a warning is given; nothing is refused."},
		{Name: "budget_duration", Type: Duration, Summary: "Length of the window, as in 30s, 5m, 12h, 7d or 1mo; without one the spend is never reset."},
		{Name: "max_parallel_requests", Type: Integer, Minimum: zero, Summary: "Requests at the same time."},
		{Name: "tpm_limit", Type: Integer, Minimum: zero, Summary: "Tokens a minute."},
		{Name: "rpm_limit", Type: Integer, Minimum: zero, Summary: "Requests a minute."},
		dayField(),
		{Name: "model_max_budget", Type: Object, Summary: "Budgets of single models, for keys that name the budget: name to max_budget and budget_duration."},
		{Name: "allowed_models", Type: StringList, Summary: "Models that the budget may be spent on."},
		{Name: "temp_budget_increase", Type: Money, AdminOnly: true, Summary: "Dollars on top of max_budget until temp_budget_expiry."},
		{Name: "temp_budget_expiry", Type: Time, AdminOnly: true, Summary: "End of temp_budget_increase."},
	}
}

// pageFields are the page of a list, counted from 1, and its size.
func pageFields(size string, most int64) []Field {
	one, last := int64(1), int64(1_000_000_000)
	return []Field{
		{Name: "page", Type: Integer, Minimum: &one, Maximum: &last, Summary: "Page of the list, counted from 1."},
		{Name: size, Type: Integer, Minimum: &one, Maximum: &most, Summary: "Entries on a page."},
	}
}
