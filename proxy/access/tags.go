package access

// tagRoutes are the routes of tags: names that requests carry.
func tagRoutes() []Route {
	const tag = "tag management"
	name := Field{Name: "name", Type: String, Required: true, Summary: "The tag."}
	fields := append([]Field{
		name,
		{Name: "description", Type: String, Summary: "What the tag is for."},
		{Name: "models", Type: StringList, Summary: "Models of the tag."},
		{Name: "model_info", Type: StringMap, Summary: "Names of the models by their ids; looked up where it is not given."},
		{Name: "budget_id", Type: String, Summary: "Id of a budget that exists; not together with limits."},
	}, inlineLimits()...)
	return []Route{
		{Method: "POST", Path: "/tag/new", Tag: tag, Summary: "Make a tag", Group: GroupManagement, Actions: []Action{SettingsWrite}, Body: fields},
		{Method: "POST", Path: "/tag/update", Tag: tag, Summary: "Change a tag", Group: GroupManagement, Actions: []Action{SettingsWrite}, Body: fields},
		{
			Method: "POST", Path: "/tag/info", Tag: tag, Summary: "Some tags, by name", Group: GroupInfo, Actions: []Action{SpendRead},
			Body: []Field{{Name: "names", Type: StringList, Required: true, Summary: "The tags."}},
		},
		{
			Method: "GET", Path: "/tag/list", Tag: tag, Summary: "The tags that the caller sees", Group: GroupInfo, Actions: []Action{SpendRead},
			Query: pageFields("page_size", 1000),
		},
		{Method: "POST", Path: "/tag/delete", Tag: tag, Summary: "Delete a tag", Group: GroupManagement, Actions: []Action{SettingsWrite}, Body: []Field{name}},
	}
}
