package access

// credentialRoutes are the routes of credentials.
func credentialRoutes() []Route {
	route := func(method, path, summary string, a Action, body ...Field) Route {
		return Route{
			Method: method, Path: path, Tag: "credentials", Summary: summary, Group: GroupManagement, Actions: []Action{a}, Body: body,
		}
	}
	values := Field{Name: "credential_values", Type: StringMap, Summary: "Parameters that it gives to a deployment, such as api_key."}
	info := Field{Name: "credential_info", Type: Object, Summary: "Description and provider; shown to those who list credentials."}
	display := Field{Name: "display_name", Type: String, Summary: "Name for people."}
	model := Field{Name: "model_id", Type: String, Summary: "Take the values of this deployment."}
	return []Route{
		route("POST", "/credentials", "Store a credential", SettingsWrite,
			Field{Name: "credential_name", Type: String, Required: true, Summary: "What litellm_credential_name calls it."}, info, display, values, model),
		route("GET", "/credentials", "List credentials, values masked", SettingsRead),
		route("GET", "/credentials/by_name/{credential_name}", "Show a credential, values masked", SettingsRead),
		route("GET", "/credentials/by_model/{model_id}", "Show what a deployment calls its provider with, masked", SettingsRead),
		route("GET", "/credentials/{credential_name}", "Show a credential, values masked", SettingsRead),
		route("PATCH", "/credentials/{credential_name}", "Change a credential", SettingsWrite,
			Field{Name: "credential_name", Type: String, Summary: "The name; it cannot be changed."}, info, display, values, model,
			Field{Name: "credential_values_to_delete", Type: StringList, Summary: "Names of values that are taken away."}),
		route("DELETE", "/credentials/{credential_name}", "Remove a credential", SettingsWrite),
	}
}
