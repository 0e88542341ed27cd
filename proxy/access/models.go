package access

// modelRoutes are the routes of models.
func modelRoutes() []Route {
	write, read := []Action{ModelWrite}, []Action{ModelInfo}
	id := Field{Name: "model_id", Type: String, Required: true, Summary: "Id of the deployment."}
	change := []Field{
		{Name: "model_name", Type: String, Summary: "The public name."},
		{Name: "litellm_params", Type: Object, Summary: "Where the deployment is and how it is called; what is not named stays."},
		{Name: "model_info", Type: Object, Summary: "What is known about it; what is not named stays."},
		{Name: "blocked", Type: Boolean, Summary: "Take it out of service."},
	}
	out := []Route{
		{
			Method: "POST", Path: "/model/new", Tag: "models", Summary: "Add a deployment", Group: GroupManagement, Actions: write,
			Body: []Field{
				{Name: "model_name", Type: String, Summary: "The public name, needed; `*` stands for any text."},
				{Name: "litellm_params", Type: Object, Summary: "Where the deployment is and how it is called, needed; it has at least model."},
				{Name: "model_info", Type: Object, Summary: "What is known about it. With team_id it serves that team alone."},
				{Name: "blocked", Type: Boolean, Summary: "Do not serve it yet."},
			},
		},
		{Method: "POST", Path: "/model/update", Tag: "models", Summary: "Change the deployment that model_info.id names", Group: GroupManagement, Actions: write, Body: change},
		{
			Method: "PATCH", Path: "/model/{model_id}/update", Tag: "models", Summary: "Change a deployment; null takes a field away",
			Group: GroupManagement, Actions: write, Body: change,
		},
		{
			Method: "POST", Path: "/model/delete", Tag: "models", Summary: "Remove a deployment", Group: GroupManagement, Actions: write,
			Body: []Field{{Name: "id", Type: String, Required: true, Summary: "Id of the deployment."}},
		},
		{Method: "POST", Path: "/model/block", Tag: "models", Summary: "Take a deployment out of service", Group: GroupManagement, Actions: write, Body: []Field{id}},
		{Method: "POST", Path: "/model/unblock", Tag: "models", Summary: "Put a deployment back into service", Group: GroupManagement, Actions: write, Body: []Field{id}},
		{
			Method: "GET", Path: "/v2/model/info", Tag: "models", Summary: "List deployments, paged", Group: GroupInfo, Actions: read,
			NoDatabase: true,
			Query: []Field{
				{Name: "model", Type: String, Summary: "Deployments of this public name alone."},
				{Name: "modelId", Type: String, Summary: "The deployment with this id alone."},
				{Name: "search", Type: String, Summary: "A part of the name, in any case."},
				{Name: "teamId", Type: String, Summary: "What this team may call."},
				{Name: "access_group", Type: String, Summary: "Deployments in this access group alone."},
				{Name: "user_models_only", Type: Boolean, Summary: "What the caller has made."},
				{Name: "include_team_models", Type: Boolean, Summary: "Say for each which teams may call it."},
				{Name: "wildcard_only", Type: Boolean, Summary: "Names with `*` alone."},
				{Name: "exclude_auto_routers", Type: Boolean, Summary: "Leave out models that choose among others."},
				{Name: "page", Type: Integer, Minimum: number(1), Summary: "From 1."},
				{Name: "size", Type: Integer, Minimum: number(1), Maximum: number(500), Summary: "Deployments on a page, 50 where it is not given."},
				{Name: "sortBy", Type: String, Enum: []string{"model_name", "created_at", "updated_at", "costs", "status"}},
				{Name: "sortOrder", Type: String, Enum: []string{"asc", "desc"}},
				{Name: "debug", Type: Boolean, Summary: "Has no effect."},
			},
		},
		{
			Method: "GET", Path: "/model_group/info", Tag: "models", Summary: "What the deployments of a name can do together", Group: GroupInfo,
			Actions: read, NoDatabase: true, Query: []Field{{Name: "model_group", Type: String, Summary: "This public name alone."}},
		},
	}
	for i, path := range []string{"/model/info", "/v1/model/info"} {
		out = append(out, Route{
			Method: "GET", Path: path, Tag: "models", Summary: "Describe deployments", Group: GroupInfo, Actions: read, Hidden: i > 0,
			NoDatabase: true,
			Query: []Field{
				{Name: "litellm_model_id", Type: String, Summary: "The deployment with this id alone."},
				{Name: "teamId", Type: String, Summary: "What this team may call."},
				{Name: "include_team_models", Type: Boolean, Summary: "Say for each which teams may call it."},
				{Name: "healthy_only", Type: Boolean, Summary: "Leave out what is blocked."},
			},
		})
	}
	return out
}

// number points at a bound.
func number(n int64) *int64 { return &n }
