package litellm

import "strings"

// whole reads the rows of a table as they are.
func whole(table string) func(Columns) string {
	return func(Columns) string { return `SELECT row_to_json(t)::text FROM "` + table + `" t` }
}

// permitted reads the rows of a table with the object permission that they name.
func permitted(table string, more ...func(Columns) string) func(Columns) string {
	return func(have Columns) string {
		list := "k.*"
		if have.Has(table, "object_permission_id") && have.Has(tablePermissions, "object_permission_id") {
			list += `, (SELECT row_to_json(o) FROM "` + tablePermissions + `" o WHERE o.object_permission_id = k.object_permission_id) AS object_permission`
		}
		for _, column := range more {
			if text := column(have); text != "" {
				list += ", " + text
			}
		}
		return `SELECT row_to_json(t)::text FROM (SELECT ` + list + ` FROM "` + table + `" k) t`
	}
}

// only reads some columns of a table: those of the names that it has.
func only(table string, names ...string) func(Columns) string {
	return func(have Columns) string {
		var there []string
		for _, name := range names {
			if have.Has(table, name) {
				there = append(there, `k."`+name+`"`)
			}
		}
		return `SELECT row_to_json(t)::text FROM (SELECT ` + strings.Join(there, ", ") + ` FROM "` + table + `" k) t`
	}
}

// nothing is a query without rows, for what a source of an early release cannot
// be asked: a document with these fields.
func nothing(fields ...string) string {
	return `SELECT row_to_json(t)::text FROM (SELECT ''::text AS "` + strings.Join(fields, `", ''::text AS "`) + `" WHERE false) t`
}
