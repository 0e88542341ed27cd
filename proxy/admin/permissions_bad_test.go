//go:build sluicebad

package admin

import (
	"path/filepath"
	"testing"

	"sluice/migrator/migrate"
	"sluice/proxy/store"
)

// TestAllowAllIsCaught runs the matrix over a table that allows everything to
// everybody: every family of calls must notice.
func TestAllowAllIsCaught(t *testing.T) {
	families := map[string][]permissionRow{}
	for _, row := range readPermissions(t) {
		families[row.family] = append(families[row.family], row)
	}
	for family, rows := range families {
		t.Run(family, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sluice.db")
			if _, err := migrate.Up(t.Context(), migrate.Target{SQLite: path}, migrate.Options{}); err != nil {
				t.Fatal(err)
			}
			p := settled(newWorld(t, store.Config{SQLite: path}, []func(*Config){permissive(t)}))
			t.Setenv("SLUICE_TEST_BAD", "allow-all")
			caught, cells := p.refusalsMissed(rows)
			t.Logf("%d of %d refusals are missed", caught, cells)
			if caught == 0 {
				t.Error("nothing was noticed")
			}
		})
	}
}

// refusalsMissed counts the cells that are refusals, and those of them that came
// out otherwise.
func (p *permits) refusalsMissed(rows []permissionRow) (caught, cells int) {
	for _, row := range rows {
		for _, caller := range permissionCallers {
			for rel := range relations {
				sign := row.cells[caller][rel]
				if sign == '.' || sign == '+' {
					continue
				}
				cells++
				if p.cell(row, caller, rel, sign) != "" {
					caught++
				}
			}
		}
	}
	return caught, cells
}
