package access

// globalSpendRoutes are the sums over everybody.
func globalSpendRoutes() []Route {
	one, most := int64(1), int64(1000)
	limit := Field{Name: "limit", Type: Integer, Minimum: &one, Maximum: &most, Summary: "Entries at most."}
	key := Field{Name: "api_key", Type: String, Summary: "Calls with this key: the key, or its digest."}
	row := func(path, summary string, fields ...Field) Route {
		return Route{
			Method: "GET", Path: path, Tag: tagSpend, Summary: summary, Group: GroupSpend, Actions: []Action{GlobalSpend},
			Query: append(spendDates(), fields...),
		}
	}
	own := func(r Route) Route {
		r.Actions = []Action{SpendRead}
		return r
	}
	names := row("/global/spend/all_end_users", "List the customers that calls were of.")
	names.Hidden = true
	report := []Field{
		{Name: "group_by", Type: String, Enum: []string{"team", "customer", "api_key"}, Summary: "What the sums are of; the default is team."},
		key,
		{Name: "internal_user_id", Type: String, Summary: "Calls of this user, by key."},
		{Name: "team_id", Type: String, Summary: "Calls of this team."},
		{Name: "customer_id", Type: String, Summary: "Calls of this customer, by day."},
	}
	group := Field{Name: "model_group", Type: String, Required: true, Summary: "The model that was asked for."}
	return []Route{
		row("/global/spend/logs", "What was spent by day.", key),
		row("/global/spend/keys", "List the keys that spent most.", limit),
		row("/global/spend/teams", "What teams have spent, by day and in all."),
		row("/global/spend/models", "List the models that most was spent on.", limit),
		row("/global/spend/provider", "What was spent by provider."),
		row("/global/spend/tags", "What was spent by tag.", Field{Name: "tags", Type: String, Summary: "These tags alone, with commas between them."}),
		row("/global/spend/all_tag_names", "List the tags that calls had."),
		row("/global/all_end_users", "List the customers that calls were of."),
		names,
		{
			Method: "POST", Path: "/global/spend/end_users", Tag: tagSpend, Summary: "List the customers that most was spent for.", Group: GroupSpend,
			Actions: []Action{GlobalSpend}, Body: []Field{
				{Name: "api_key", Type: String, Summary: "Calls with this key: the key, or its digest."},
				{Name: "startTime", Type: Time, Summary: "First day; with endTime."},
				{Name: "endTime", Type: Time, Summary: "Last day."},
			},
		},
		row("/global/spend/report", "What was spent by day and team or customer, or by key.", report...),
		{
			Method: "POST", Path: "/global/spend/reset", Tag: tagSpend, Summary: "Set what all keys and teams have spent to nothing.", Group: GroupSpend,
			Actions: []Action{SpendReset},
		},
		row("/global/activity", "Calls and tokens by day."),
		row("/global/activity/model", "Calls and tokens by model and day."),
		row("/global/activity/exceptions", "Calls of a model that its providers refused by their rate limits, by day.", group),
		row("/global/activity/exceptions/deployment", "Calls of a model that its providers refused by their rate limits, by deployment and day.", group),
		row("/global/activity/cache_hits", "Calls that a cache answered, and others, by key, route and model."),
		{
			Method: "GET", Path: "/provider/budgets", Tag: tagSpend, Summary: "The budgets of providers, and what was spent of them.", Group: GroupSpend,
			Actions: []Action{GlobalSpend},
		},
		{
			Method: "GET", Path: "/spend/capture_rate", Tag: tagSpend, Summary: "Compare what was recorded of a provider's calls with what the provider charged, by day.",
			Group: GroupSpend, Actions: []Action{GlobalSpend}, Query: []Field{
				{Name: "start_date", Type: String, Required: true, Summary: "First day (UTC), as in 2026-05-01."},
				{Name: "end_date", Type: String, Required: true, Summary: "Last day, which counts whole; at most 180 days."},
				{Name: "provider", Type: String, Enum: []string{"openai"}, Summary: "Whose bill; it wants OPENAI_ADMIN_KEY."},
				{Name: "threshold", Type: Number, Maximum: &one, Summary: "The rate under which below_threshold is true; the default is 0.9."},
				{Name: "project_ids", Type: StringList, Summary: "Projects of the organization that the bill is of; the default is all. What was recorded is never told apart by them."},
			},
		},
		own(row("/spend/tags", "What was spent by tag.")),
		own(row("/user/spend/report", "What a user has spent, by key.", Field{Name: "internal_user_id", Type: String, Summary: "The user; the caller's own by default."})),
		own(row("/organization/spend/report", "What an organization has spent, by key.",
			Field{Name: "organization_id", Type: String, Summary: "The organization; that of the calling key by default."})),
		own(row("/key/spend/report", "What a key has spent, by model.", Field{Name: "api_key", Type: String, Summary: "The key, or its digest; the calling one by default."})),
		own(row("/team/spend/by_user", "What the users of teams have spent.", Field{Name: "team_ids", Type: String, Summary: "These teams alone, with commas between them."})),
		own(row("/team/spend/report", "What a team has spent, by key.", Field{Name: "team_id", Type: String, Summary: "The team; that of the calling key by default."})),
	}
}
