package schema

import (
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var name = regexp.MustCompile(`^\d{5}_[a-z0-9_]+\.sql$`)

// TestFiles keeps the numbers without gaps, alike in both dialects, the newest
// one equal to Version, and user_version in step with the file's number.
func TestFiles(t *testing.T) {
	pg, err := fs.Glob(Postgres, "postgres/*")
	if err != nil {
		t.Fatal(err)
	}
	lite, err := fs.Glob(SQLite, "sqlite/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(pg) != Version || len(lite) != Version {
		t.Fatalf("%d files for PostgreSQL, %d for SQLite, Version is %d", len(pg), len(lite), Version)
	}
	for i := range pg {
		p, l := path.Base(pg[i]), path.Base(lite[i])
		if p != l || !name.MatchString(p) {
			t.Errorf("%s and %s: both need the same name, NNNNN_name.sql", p, l)
		}
		if n, _ := strconv.Atoi(p[:5]); n != i+1 {
			t.Errorf("%s: number %d is missing", p, i+1)
		}
		text, err := fs.ReadFile(SQLite, lite[i])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "PRAGMA user_version = "+strconv.Itoa(i+1)+";") {
			t.Errorf("%s does not set user_version to %d", l, i+1)
		}
		for _, dir := range []fs.FS{Postgres, SQLite} {
			text, err := fs.ReadFile(dir, map[bool]string{true: pg[i], false: lite[i]}[dir == Postgres])
			if err != nil || !strings.HasPrefix(string(text), "-- +goose Up\n") {
				t.Errorf("%s does not begin with goose's mark: %v", p, err)
			}
		}
	}
	if Minimum < 1 || Minimum > Version {
		t.Errorf("Minimum %d is not between 1 and Version %d", Minimum, Version)
	}
}

var column = regexp.MustCompile(`(?m)^    ([a-z_]+) [A-Z]+`)

// onSQLite are the tables behind the view spend (ADR 14).
var onSQLite = []string{"spend_contexts", "spend_calls"}

// TestColumns holds both dialects to the same tables and columns, but onSQLite.
func TestColumns(t *testing.T) {
	columns := func(text string) map[string]string {
		got := map[string]string{}
		for _, table := range strings.Split(text, "CREATE TABLE ")[1:] {
			head, body, _ := strings.Cut(table, "(")
			body, _, _ = strings.Cut(body, "\n)")
			var names []string
			for _, m := range column.FindAllStringSubmatch(body, -1) {
				names = append(names, m[1])
			}
			got[strings.TrimPrefix(strings.TrimSpace(head), Name+".")] = strings.Join(names, " ")
		}
		return got
	}
	files, _ := fs.Glob(Postgres, "postgres/*")
	for _, f := range files {
		pg, err := fs.ReadFile(Postgres, f)
		if err != nil {
			t.Fatal(err)
		}
		lite, err := fs.ReadFile(SQLite, "sqlite/"+path.Base(f))
		if err != nil {
			t.Fatal(err)
		}
		a, b := columns(string(pg)), columns(string(lite))
		for _, table := range onSQLite {
			delete(b, table)
		}
		if len(a) != len(b) {
			t.Errorf("%s: %d tables and %d", f, len(a), len(b))
		}
		for table, names := range a {
			if b[table] != names {
				t.Errorf("%s: table %s:\n%s\n%s", f, table, names, b[table])
			}
		}
	}
}
