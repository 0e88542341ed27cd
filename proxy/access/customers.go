package access

import "net/http"

// customerRoutes are the routes of customers: the end users that applications
// name in their requests. /end_user is LiteLLM's older name for them.
func customerRoutes() []Route {
	return append(customersAt("/customer", false), customersAt("/end_user", true)...)
}

func customersAt(prefix string, hidden bool) []Route {
	id := Field{Name: "user_id", Type: String, Required: true, Summary: "Id of the customer, as requests send it in user."}
	ids := []Field{{Name: "user_ids", Type: StringList, Required: true, Summary: "Ids of the customers."}}
	fields := append([]Field{
		id,
		{Name: "alias", Type: String, Summary: "A name for people."},
		{Name: "blocked", Type: Boolean, Summary: "Requests of the customer are refused."},
		{Name: "budget_id", Type: String, Summary: "Id of a budget that exists; not together with limits."},
		{Name: "allowed_model_region", Type: String, Enum: []string{"eu", "us"}, Summary: "Region whose deployments alone may be used."},
		{Name: "default_model", Type: String, Summary: "Model that is used where the region allows no other."},
		{Name: "models", Type: StringList, Summary: "Models that the customer may use; none: all."},
		{Name: "object_permission", Type: Object, Summary: "Tools, agents and stores; kept."},
		{Name: "budget_reset_at", Type: Time, Summary: "When the spend is next set to nothing."},
	}, inlineLimits()...)
	routes := []Route{
		{
			Method: "POST", Path: prefix + "/new", Summary: "Make a customer", Actions: []Action{SettingsWrite},
			Body: append([]Field{{Name: "spend", Type: Money, AdminOnly: true, Summary: "Dollars that it has spent already."}}, fields...),
		},
		{Method: "POST", Path: prefix + "/update", Summary: "Change a customer", Actions: []Action{SettingsWrite}, Body: fields},
		{Method: "POST", Path: prefix + "/delete", Summary: "Delete customers: all of them or none", Actions: []Action{SettingsWrite}, Body: ids},
		{Method: "POST", Path: prefix + "/block", Summary: "Block customers; unknown ones are made", Actions: []Action{SettingsWrite}, Body: ids},
		{Method: "POST", Path: prefix + "/unblock", Summary: "Unblock customers", Actions: []Action{SettingsWrite}, Body: ids},
		{
			Method: "GET", Path: prefix + "/info", Summary: "One customer", Actions: []Action{SettingsRead},
			Query: []Field{{Name: "end_user_id", Type: String, Required: true, Summary: "Id of the customer."}},
		},
		{Method: "GET", Path: prefix + "/list", Summary: "All customers", Actions: []Action{SettingsRead}, Query: pageFields("page_size", 1000)},
	}
	for i := range routes {
		routes[i].Tag, routes[i].Hidden, routes[i].Group = "Customer Management", hidden, GroupManagement
		if routes[i].Method == http.MethodGet {
			routes[i].Group = GroupInfo
		}
	}
	return routes
}
