package access

// configRoutes are the routes of the configuration.
func configRoutes() []Route {
	route := func(method, path, summary string, a Action) Route {
		return Route{Method: method, Path: path, Tag: "configuration", Summary: summary, Group: GroupManagement, Actions: []Action{a}}
	}
	section := Field{Name: "config_type", Type: String, Required: true, Enum: []string{"general_settings"}, Summary: "The section."}
	field := Field{Name: "field_name", Type: String, Required: true, Summary: "Name of the setting."}
	list := route("GET", "/config/list", "List the settings of a section", SettingsRead)
	list.Query = []Field{section}
	info := route("GET", "/config/field/info", "Show a setting that is kept in the database", SettingsRead)
	info.Query = []Field{field}
	update := route("POST", "/config/field/update", "Set a setting", SettingsWrite)
	update.Body = []Field{field, {Name: "field_value", Type: Any, Required: true, Summary: "Its value."}, section}
	remove := route("POST", "/config/field/delete", "Take a setting back to what the file says", SettingsWrite)
	remove.Body = []Field{field, section}
	whole := route("POST", "/config/update", "Set settings of several sections; what is not named stays", SettingsWrite)
	whole.Body = []Field{
		{Name: "general_settings", Type: Object},
		{Name: "litellm_settings", Type: Object},
		{Name: "router_settings", Type: Object},
		{Name: "environment_variables", Type: Object, Summary: "Variables that models and credentials of the database may name as os.environ/NAME; kept sealed, never written into the environment of the process."},
		{Name: "model_list", Type: Any, Summary: "Refused: add models with /model/new."},
	}
	return []Route{list, info, update, remove, whole, route("GET", "/config/yaml", "Show the configuration in force, secrets masked", SettingsRead)}
}
