package litellm

import (
	"reflect"
	"slices"
	"strings"
)

// Absent lists the columns that are understood here and that a source does not
// have, for a table that it does have: releases of LiteLLM differ. They count as
// empty.
func (t *Table) Absent(have Columns) (columns []string) {
	row := rowOf(t.Name)
	if row == nil || !have.Has(t.Name) {
		return nil
	}
	for _, name := range fields(row) {
		if !have.Has(t.Name, name) && !strings.Contains(name, " ") && !slices.Contains(elsewhere(), name) {
			columns = append(columns, name)
		}
	}
	slices.Sort(columns)
	return slices.Compact(columns)
}

// rowOf is what the rows of a table are decoded into, nil where nothing of them
// is understood.
func rowOf(table string) reflect.Type {
	return map[string]reflect.Type{
		tableKeys: reflect.TypeFor[keyRow](), tableRetired: reflect.TypeFor[retiredRow](), tableUsers: reflect.TypeFor[userRow](),
		tableTeams: reflect.TypeFor[teamRow](), tableOrgs: reflect.TypeFor[organizationRow](), tableOrgMembers: reflect.TypeFor[organizationMemberRow](),
		tableProjects: reflect.TypeFor[projectRow](), tableEndUsers: reflect.TypeFor[endUserRow](), tableBudgets: reflect.TypeFor[budgetRow](),
		tableWindows: reflect.TypeFor[windowRow](), tableTags: reflect.TypeFor[tagRow](), tableGroups: reflect.TypeFor[groupRow](),
		tableModels: reflect.TypeFor[modelRow](), tableCredentials: reflect.TypeFor[credentialRow](), tableConfig: reflect.TypeFor[configRow](),
		tableMappings: reflect.TypeFor[mappingRow](), tableInvitations: reflect.TypeFor[invitationRow](), tableSpendLogs: reflect.TypeFor[spendLogRow](),
	}[table]
}

// elsewhere are fields that come from other tables, as those whose names have a
// space do, or that all rows share here and only some tables have in any release.
func elsewhere() []string {
	return []string{
		"object_permission", "memberships", "model_aliases", "model_aliases_by",
		"created_at", "created_by", "updated_at", "updated_by", "soft_budget",
	}
}

// fields are the names that a row is decoded from.
func fields(row reflect.Type) (names []string) {
	for i := range row.NumField() {
		f := row.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name != "" && name != "-":
			names = append(names, name)
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			names = append(names, fields(f.Type)...)
		}
	}
	return names
}
