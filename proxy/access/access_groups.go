package access

import "net/http"

// accessGroupRoutes are the routes of access groups, of both sorts: names that
// models in the database carry, and objects that keys and teams refer to.
func accessGroupRoutes() []Route {
	const budgets = "Budgets of access groups come with a later release."
	models := []Field{
		{Name: "model_names", Type: StringList, Summary: "Model names; every deployment of them joins the group."},
		{Name: "model_ids", Type: StringList, Summary: "Ids of single deployments."},
	}
	name := Field{Name: "access_group", Type: String, Required: true, Summary: "Name of the group."}
	object := []Field{
		{Name: "description", Type: String, Summary: "What the group is for."},
		{Name: "access_model_names", Type: StringList, Summary: "Models of the group."},
		{Name: "access_mcp_server_ids", Type: StringList, Summary: "Tool servers; kept."},
		{Name: "access_agent_ids", Type: StringList, Summary: "Agents; kept."},
		{Name: "assigned_team_ids", Type: StringList, Summary: "Teams that are given the group."},
		{Name: "assigned_key_ids", Type: StringList, Summary: "Keys that are given the group, by key or digest."},
	}
	write, see := []Action{SettingsWrite}, []Action{SettingsRead}
	routes := []Route{
		{Method: "POST", Path: "/access_group/new", Summary: "Put models in the database into a new group", Actions: write, Body: append([]Field{name}, models...)},
		{Method: "GET", Path: "/access_group/list", Summary: "All groups of models in the database", Actions: see},
		{Method: "GET", Path: "/access_group/{access_group}/info", Summary: "One group of models", Actions: see},
		{Method: "PUT", Path: "/access_group/{access_group}/update", Summary: "Replace the models of a group", Actions: write, Body: models},
		{Method: "DELETE", Path: "/access_group/{access_group}/delete", Summary: "Take a group off all models", Actions: write},
		{Method: "GET", Path: "/access_group/{access_group}/budget", Summary: "The budget of a group of models", Actions: see, Later: budgets},
		{Method: "PUT", Path: "/access_group/{access_group}/budget", Summary: "Set the budget of a group of models", Actions: write, Later: budgets},
		{Method: "DELETE", Path: "/access_group/{access_group}/budget", Summary: "Clear the budget of a group of models", Actions: write, Later: budgets},

		{
			Method: "POST", Path: "/v1/access_group", Summary: "Make an access group", Actions: write,
			Body: append([]Field{{Name: "access_group_name", Type: String, Required: true, Summary: "Name of the group; no two share one."}}, object...),
		},
		{Method: "GET", Path: "/v1/access_group", Summary: "All access groups", Actions: see, Query: pageFields("page_size", 1000)},
		{Method: "GET", Path: "/v1/access_group/{access_group_id}", Summary: "One access group", Actions: see},
		{
			Method: "PUT", Path: "/v1/access_group/{access_group_id}", Summary: "Change an access group", Actions: write,
			Body: append([]Field{{Name: "access_group_name", Type: String, Summary: "Name of the group; no two share one."}}, object...),
		},
		{Method: "DELETE", Path: "/v1/access_group/{access_group_id}", Summary: "Delete an access group", Actions: write},
	}
	for i := range routes {
		routes[i].Tag, routes[i].Group = "access groups", GroupManagement
		if routes[i].Method == http.MethodGet {
			routes[i].Group = GroupInfo
		}
	}
	return routes
}
