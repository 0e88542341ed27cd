package access

import "slices"

// spendLogRoutes are the routes of rows of spend.
func spendLogRoutes() []Route {
	logs := append(spendDates(),
		Field{Name: "api_key", Type: String, Summary: "Calls with this key: the key, or its digest."},
		Field{Name: "user_id", Type: String, Summary: "Calls of this user."},
		Field{Name: "request_id", Type: String, Summary: "Id of the request, of the call or of the provider's answer."},
		Field{Name: "summarize", Type: Boolean, Summary: "With both dates: sums by day, which is the default, and not rows."},
	)
	return []Route{
		{Method: "GET", Path: "/spend/logs", Tag: tagSpend, Summary: "Calls, or what they cost by day.", Group: GroupSpend, Actions: []Action{SpendRead}, Query: logs},
		{Method: "GET", Path: "/spend/logs/v2", Tag: tagSpend, Summary: "Calls, page by page.", Group: GroupSpend, Actions: []Action{SpendRead}, Query: spendLogFields()},
		{
			Method: "GET", Path: "/spend/logs/ui", Tag: tagSpend, Summary: "Calls, page by page.", Group: GroupSpend, Actions: []Action{SpendRead},
			Query: spendLogFields(), Hidden: true,
		},
		{
			Method: "GET", Path: "/spend/logs/session/ui", Tag: tagSpend, Summary: "Calls of a session, page by page.", Group: GroupSpend,
			Actions: []Action{SpendRead}, Query: append(spendDates(), append(pageFields("page_size", 100),
				Field{Name: "session_id", Type: String, Required: true, Summary: "The session; without dates its calls of the last 30 days."})...),
		},
	}
}

// spendDates are the bounds of a period.
func spendDates() []Field {
	return []Field{
		{Name: "start_date", Type: String, Summary: "First day (UTC), or a time."},
		{Name: "end_date", Type: String, Summary: "Last day, which counts whole, or a time."},
	}
}

// spendLogFields name rows of spend. All that are given have to hold.
func spendLogFields() []Field {
	text := func(name, summary string) Field { return Field{Name: name, Type: String, Summary: summary} }
	return append(append(spendDates(), pageFields("page_size", 1000)...),
		text("api_key", "Calls with this key: the key, or its digest."),
		text("key_alias", "Calls with keys of this alias."),
		text("user_id", "Calls of this user."),
		text("team_id", "Calls of this team."),
		text("end_user", "Calls of this customer."),
		text("request_id", "Id of the request, of the call or of the provider's answer."),
		text("session_id", "Calls of this session."),
		text("model", "The provider's model."),
		text("model_id", "The deployment."),
		text("model_group", "The model that was asked for."),
		Field{Name: "min_spend", Type: Money, Summary: "Calls that cost so many dollars or more."},
		Field{Name: "max_spend", Type: Money, Summary: "Calls that cost so many dollars or less."},
		Field{Name: "status_filter", Type: String, Enum: []string{"success", "failure"}},
		Field{Name: "cache_hit_filter", Type: String, Enum: []string{"hit", "miss", "True", "False", "true", "false"}},
		text("error_code", "The HTTP status that a failure was answered with."),
		Field{Name: "sort_by", Type: String, Enum: []string{"startTime", "endTime", "spend", "total_tokens", "model", "request_duration_ms", "ttft_ms"}},
		Field{Name: "sort_order", Type: String, Enum: []string{"asc", "desc"}, Summary: "The newest or largest first is desc, and the default."},
	)
}

// ExportTypes are what an export of sums by day is split by.
var ExportTypes = []string{"daily", "daily_with_keys", "daily_with_models", "daily_with_users"}

// activityRoutes are the routes of sums by day.
func activityRoutes() []Route {
	var out []Route
	for _, r := range []struct {
		path, ids, summary string
		not                string
		hidden             bool
	}{
		{"/user", "user_id", "This user alone.", "", false},
		{"/team", "team_ids", "These teams alone, with commas between them.", "exclude_team_ids", false},
		{"/tag", "tags", "These tags alone, with commas between them.", "", false},
		{"/organization", "organization_ids", "These organizations alone, with commas between them.", "exclude_organization_ids", false},
		{"/customer", "end_user_ids", "These customers alone, with commas between them.", "exclude_end_user_ids", false},
		{"/end_user", "end_user_ids", "These customers alone, with commas between them.", "exclude_end_user_ids", true},
	} {
		fields := append(spendDates(),
			Field{Name: r.ids, Type: String, Summary: r.summary},
			Field{Name: "api_key", Type: String, Summary: "Calls with this key: the key, or its digest."},
			Field{Name: "model", Type: String, Summary: "The model that was asked for, or the provider's."},
		)
		if r.not != "" {
			fields = append(fields, Field{Name: r.not, Type: String, Summary: "All but these, with commas between them."})
		}
		row := func(path, summary string, more ...Field) {
			out = append(out, Route{
				Method: "GET", Path: r.path + path, Tag: tagSpend, Summary: summary, Group: GroupSpend, Actions: []Action{SpendRead},
				Query: slices.Concat(fields, more), Hidden: r.hidden,
			})
		}
		row("/daily/activity", "What calls came to by day, page by page.", pageFields("page_size", 1000)...)
		row("/daily/activity/aggregated", "What calls came to by day, in one answer.",
			Field{Name: "api_key_limit", Type: Integer, Minimum: new(int64(1)), Maximum: new(int64(1000)), Summary: "Keys that are told apart: those that spent most. Default 100."})
		row("/daily/activity/export", "What calls came to by day, as a file.",
			Field{Name: "export_type", Type: String, Enum: ExportTypes, Summary: "What days are split by beside whom they are of; the default is daily: nothing."},
			Field{Name: "format", Type: String, Enum: []string{"csv", "json"}, Summary: "A table, which is the default, or a list of objects."})
	}
	return out
}
