package access

import "net/http"

// projectRoutes are the routes of projects: shares of a team.
func projectRoutes() []Route {
	fields := append([]Field{
		{Name: "project_alias", Type: String, Summary: "Name of the project."},
		{Name: "description", Type: String, Summary: "What the project is for."},
		{Name: "models", Type: StringList, Summary: "Models that the project's keys may use, of those of the team; none: the team's."},
		{Name: "metadata", Type: Object, Summary: "Anything that should be kept with the project."},
		{Name: "tags", Type: StringList, AdminOnly: true, Summary: "Tags of the project's requests; kept in metadata."},
		{Name: "guardrails", Type: StringList, AdminOnly: true, Summary: "Guardrails; kept in metadata."},
		{Name: "policies", Type: StringList, AdminOnly: true, Summary: "Policies; kept in metadata."},
		{Name: "model_rpm_limit", Type: Object, Summary: "Requests a minute of single models."},
		{Name: "model_tpm_limit", Type: Object, Summary: "Tokens a minute of single models."},
		{Name: "model_itpm_limit", Type: Object, Summary: "Input tokens a minute of single models.", Unserved: oneSide},
		{Name: "model_otpm_limit", Type: Object, Summary: "Output tokens a minute of single models.", Unserved: oneSide},
		{Name: "blocked", Type: Boolean, Summary: "Requests with the project's keys are refused."},
		{Name: "object_permission", Type: Object, AdminOnly: true, Summary: "Tools, agents and stores; kept."},
		{Name: "budget_id", Type: String, AdminOnly: true, Summary: "Id of a budget that exists; not together with limits."},
	}, inlineLimits()...)
	id := Field{Name: "project_id", Type: String, Required: true, Summary: "Id of the project."}
	team := Field{Name: "team_id", Type: String, Summary: "Team that the project belongs to."}
	of := team
	of.Required = true
	routes := []Route{
		{
			Method: "POST", Path: "/project/new", Summary: "Make a project", Actions: []Action{ProjectWrite},
			Body: append([]Field{of, {Name: "project_id", Type: String, Summary: "Id of the project; made up where none is given."}}, fields...),
		},
		{Method: "POST", Path: "/project/update", Summary: "Change a project", Actions: []Action{ProjectWrite}, Body: append([]Field{id, team}, fields...)},
		{
			Method: "DELETE", Path: "/project/delete", Summary: "Delete projects that have no keys: all of them or none", Actions: []Action{ProjectWrite},
			Body: []Field{{Name: "project_ids", Type: StringList, Required: true, Summary: "Ids of the projects."}},
		},
		{Method: "GET", Path: "/project/info", Summary: "One project", Actions: []Action{ProjectRead}, Query: []Field{id}},
		{Method: "GET", Path: "/project/list", Summary: "The projects that the caller sees", Actions: []Action{ProjectRead}, Query: pageFields("page_size", 1000)},
	}
	for i := range routes {
		routes[i].Tag, routes[i].Group = "project management", GroupManagement
		if routes[i].Method == http.MethodGet {
			routes[i].Group = GroupInfo
		}
	}
	return routes
}

// oneSide says how tokens of one direction are limited.
const oneSide = "model_tpm_limit counts the tokens that token_rate_limit_type of the configuration says: all, those of prompts, or those of answers."
