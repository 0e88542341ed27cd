package access

// auditRoutes are the routes of the record of changes.
func auditRoutes() []Route {
	const tag = "audit"
	text := func(name, summary string) Field { return Field{Name: name, Type: String, Summary: summary} }
	return []Route{
		{
			Method: "GET", Path: "/audit", Tag: tag, Summary: "What was changed, by whom, when", Group: GroupManagement, Actions: []Action{AuditRead},
			Query: append(pageFields("page_size", 100),
				text("changed_by", "User id of who changed it."),
				text("changed_by_api_key", "Digest of the key that it was changed with."),
				text("action", "created, updated, deleted, blocked, unblocked or rotated."),
				text("table_name", "Sort of object: LiteLLM's name of the table, or Sluice's of the sort."),
				text("object_id", "Id of the object."),
				Field{Name: "start_date", Type: Time, Summary: "Changes from this moment on."},
				Field{Name: "end_date", Type: Time, Summary: "Changes up to this moment; a date counts whole."},
				Field{Name: "sort_by", Type: String, Enum: []string{"updated_at"}, Summary: "Field that the list is sorted by."},
				Field{Name: "sort_order", Type: String, Enum: []string{"asc", "desc"}, Summary: "The newest first is desc, and the default."},
			),
		},
		{Method: "GET", Path: "/audit/{id}", Tag: tag, Summary: "One change", Group: GroupManagement, Actions: []Action{AuditRead}},
	}
}
