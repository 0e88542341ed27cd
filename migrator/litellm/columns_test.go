package litellm

import (
	"slices"
	"testing"
)

// Columns of later releases that a source lacks are listed, and nothing else.
func TestAbsent(t *testing.T) {
	have := Columns{tableKeys: {"token": true}}
	for _, name := range fields(rowOf(tableKeys)) {
		have[tableKeys][name] = true
	}
	for _, table := range Tables() {
		if got := table.Absent(have); len(got) != 0 {
			t.Errorf("%s: %v", table.Name, got)
		}
	}
	delete(have[tableKeys], "access_group_ids")
	delete(have[tableKeys], "updated_by")
	i := slices.IndexFunc(Tables(), func(t Table) bool { return t.Name == tableKeys })
	if got := Tables()[i].Absent(have); !slices.Equal(got, []string{"access_group_ids"}) {
		t.Errorf("%v", got)
	}
}
