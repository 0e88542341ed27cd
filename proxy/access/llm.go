package access

// llmRoutes are the routes that models are called by, and the lists of models.
func llmRoutes() []Route {
	var out []Route
	for i, p := range []string{
		"/v1/chat/completions", "/chat/completions",
		"/engines/{model}/chat/completions", "/openai/deployments/{model}/chat/completions",
	} {
		out = append(out, Route{
			Method: "POST", Path: p, Tag: "chat", Summary: "Create a chat completion", Group: GroupLLM, Actions: []Action{Chat},
			Edge: true, Hidden: i > 0, Body: []Field{
				{Name: "model", Type: String, Required: i < 2, Summary: "Name of the model, as /v1/models lists it."},
				{Name: "messages", Type: ObjectList, Required: true, Summary: "The conversation so far."},
				{Name: "stream", Type: Boolean, Summary: "Answer as server-sent events."},
			},
		})
	}
	for i, p := range []string{"/v1/models", "/models"} {
		out = append(out,
			Route{
				Method: "GET", Path: p, Tag: "models", Summary: "List the models that the key may call", Group: GroupLLM, Edge: true, Hidden: i > 0,
				Query: []Field{{Name: "return_wildcard_routes", Type: Boolean, Summary: "List patterns too."}},
			},
			Route{Method: "GET", Path: p + "/{model}", Tag: "models", Summary: "Describe one model", Group: GroupLLM, Edge: true, Hidden: i > 0},
		)
	}
	return out
}

// healthRoutes are the probes, the metrics and the documents about the API.
func healthRoutes() []Route {
	get := func(path, summary string, public, hidden bool) Route {
		return Route{
			Method: "GET", Path: path, Tag: tagHealth, Summary: summary, Group: GroupPublic, Edge: true, Public: public, Hidden: hidden,
		}
	}
	out := []Route{
		get("/health/liveliness", "Is the process alive", true, false),
		get("/health/liveness", "Is the process alive", true, true),
		get("/health/readiness", "Can this host take traffic", true, false),
		get("/health", "List the models that are served", false, false),
		get("/health/backlog", "Count the requests in flight", false, false),
		get("/metrics", "Metrics for Prometheus", true, false),
		get("/metrics/", "Metrics for Prometheus", true, true),
		get("/", "Name the gateway", true, true),
	}
	out[3].Group, out[4].Group = GroupInfo, GroupInfo
	for _, p := range []string{"/health/liveliness", "/health/liveness", "/health/readiness", "/health"} {
		r := get(p, "Say that the route is there", true, true)
		r.Method = "OPTIONS"
		out = append(out, r)
	}
	return out
}

// docsRoutes are the documents about the API: made of this table.
func docsRoutes() []Route {
	return []Route{
		{
			Method: "GET", Path: "/openapi.json", Tag: TagDocs, Summary: "Describe the API as OpenAPI 3.1", Group: GroupPublic,
			Public: true, NoDatabase: true,
		},
		{Method: "GET", Path: "/docs", Tag: TagDocs, Summary: "Describe the API for people", Group: GroupPublic, Public: true, NoDatabase: true, Hidden: true},
	}
}
