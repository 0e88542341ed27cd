package access

// auditRoutes are the routes of the record of changes.
func auditRoutes() []Route {
	const tag = "audit"
	after, one, most := int64(0), int64(1), int64(1000)
	list := append(pageFields("page_size", 100), auditFilters()...)
	list = append(list,
		Field{Name: "sort_by", Type: String, Enum: []string{"updated_at"}, Summary: "Field that the list is sorted by."},
		Field{Name: "sort_order", Type: String, Enum: []string{"asc", "desc"}, Summary: "The newest first is desc, and the default."},
	)
	export := append(auditFilters(),
		Field{Name: "format", Type: String, Enum: []string{"jsonl", "csv"}, Summary: "One JSON object a line, which is the default, or a table."},
		Field{Name: "after", Type: Integer, Minimum: &after, Summary: "Changes with a greater number: x-sluice-next-after of the page before."},
		Field{Name: "limit", Type: Integer, Minimum: &one, Maximum: &most, Summary: "Changes at most; a page ends earlier at 8 MB. Default 1000."},
	)
	return []Route{
		{Method: "GET", Path: "/audit", Tag: tag, Summary: "What was changed, by whom, when", Group: GroupManagement, Actions: []Action{AuditRead}, Query: list},
		{
			Method: "GET", Path: "/audit/export", Tag: tag, Group: GroupManagement, Actions: []Action{AuditRead}, Query: export,
			Summary: "The changes as a file, oldest first, page by page: the header x-sluice-next-after is there while more follow",
		},
		{Method: "GET", Path: "/audit/{id}", Tag: tag, Summary: "One change", Group: GroupManagement, Actions: []Action{AuditRead}},
	}
}

// auditFilters name changes. All that are given have to hold.
func auditFilters() []Field {
	text := func(name, summary string) Field { return Field{Name: name, Type: String, Summary: summary} }
	return []Field{
		text("changed_by", "User id of who changed it."),
		text("claimed_by", "What the caller said about itself in litellm-changed-by."),
		text("changed_by_api_key", "Digest of the key that it was changed with."),
		text("action", "created, updated, deleted, blocked, unblocked, rotated, resealed, promoted, retired, imported or archived."),
		text("table_name", "Sort of object: LiteLLM's name of the table, or Sluice's of the sort."),
		text("object_id", "Id of the object."),
		text("object_team_id", "Team of the object, before or after. Bound the time too: no index helps."),
		text("object_key_hash", "Digest of the key that is the object. Bound the time too: no index helps."),
		text("request_id", "Id of the request that changed it: x-request-id of its answer."),
		text("source", "Address of the client that changed it."),
		text("search", "Id of the change or of the object, or who changed it: user id or digest of the key."),
		{Name: "start_date", Type: Time, Summary: "Changes from this moment on."},
		{Name: "end_date", Type: Time, Summary: "Changes up to this moment; a date counts whole."},
	}
}
