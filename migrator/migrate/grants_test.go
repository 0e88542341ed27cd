package migrate

import (
	"crypto/rand"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres/pgtest"
)

// roles are a migrator's and a workers' role, and the URLs that they use a
// database by.
func roles(t *testing.T, databaseURL string) (migrator, workers, role string) {
	t.Helper()
	suffix := strings.ToLower(rand.Text())
	as := func(role string) string {
		u, err := url.Parse(databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(role, "x")
		return u.String()
	}
	owner, role := "m_"+suffix, "W \"'"+suffix
	quoted := pgx.Identifier{role}.Sanitize()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, databaseURL, "CREATE ROLE "+owner+" LOGIN PASSWORD 'x'; CREATE ROLE "+quoted+" LOGIN PASSWORD 'x';"+
		"GRANT CREATE ON DATABASE "+pgx.Identifier{strings.TrimPrefix(u.Path, "/")}.Sanitize()+" TO "+owner)
	t.Cleanup(func() {
		pgtest.Exec(t, databaseURL, "DROP OWNED BY "+owner+", "+quoted+"; DROP ROLE "+owner+", "+quoted)
	})
	return as(owner), as(role), role
}

// TestGrants gives a role of its own to the workers: they can do their work, and
// cannot change the record.
func TestGrants(t *testing.T) {
	database := pgtest.Database(t)
	migrator, workers, role := roles(t, database)
	var said strings.Builder
	up := func(role string) string {
		t.Helper()
		said.Reset()
		o := Options{Log: slog.New(slog.NewTextHandler(&said, nil)), Workers: role}
		if _, err := Up(t.Context(), target(migrator), o); err != nil {
			t.Fatal(err)
		}
		return said.String()
	}
	if said := up(""); strings.Contains(said, "rights") {
		t.Errorf("one role: %s", said)
	}
	if err := pgtest.Run(t.Context(), workers, "SELECT number FROM sluice.change_head"); err == nil {
		t.Error("before the grant the workers can read")
	}
	pgtest.Exec(t, database, "GRANT USAGE ON SCHEMA sluice TO "+pgx.Identifier{role}.Sanitize()+
		"; GRANT ALL ON ALL TABLES IN SCHEMA sluice TO "+pgx.Identifier{role}.Sanitize()) // what somebody did by hand
	if said := up(role); strings.Count(said, "rights") != 1 {
		t.Errorf("the first time: %s", said)
	}
	for _, again := range []string{role, "nobody knows it", ""} {
		if said := up(again); strings.Contains(said, "rights") {
			t.Errorf("again for %q: %s", again, said)
		}
	}
	const row = `INSERT INTO sluice.changes (number, at, actor, action, object_type, object_id) VALUES (1, now(), 'a', 'created', 'tag', 't')`
	for _, may := range []string{
		"SELECT * FROM sluice.schema_versions", "SELECT number FROM sluice.change_head WHERE id = 1 FOR UPDATE", row,
		"UPDATE sluice.changes SET chain_key = 'k', chain_mac = 'm' WHERE number = 1", "SELECT * FROM sluice.change_stretches",
		"INSERT INTO sluice.tags (tag_name, created_at, updated_at) VALUES ('t', now(), now())", "DELETE FROM sluice.tags",
		"INSERT INTO sluice.meta (name, value, updated_at) VALUES ('x', 'y', now())", "LISTEN sluice_changes",
	} {
		if err := pgtest.Run(t.Context(), workers, may); err != nil {
			t.Errorf("%s: %v", may, err)
		}
	}
	for _, mayNot := range []string{
		"DELETE FROM sluice.changes", "UPDATE sluice.changes SET reason = 'x'", "UPDATE sluice.changes SET actor = 'x', chain_mac = 'm'",
		"TRUNCATE sluice.changes", "ALTER TABLE sluice.changes DISABLE TRIGGER ALL", "DROP TRIGGER keep_rows ON sluice.changes",
		"INSERT INTO sluice.change_stretches (first_number, last_number, last_mac, file_name, file_digest, archived_at, chain_key, mac) " +
			"VALUES (1, 1, 'x', 'x', 'x', now(), 'x', 'x')",
		"DROP TABLE sluice.changes", "CREATE TABLE sluice.x (y int)", "DELETE FROM sluice.schema_versions",
		"CREATE TRIGGER x BEFORE INSERT ON sluice.changes EXECUTE FUNCTION sluice.keep_changes()",
		"SET session_replication_role = replica",
	} {
		if err := pgtest.Run(t.Context(), workers, mayNot); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", mayNot, err)
		}
	}
}

// TestOwnRole leaves a role alone that owns the tables, or is a superuser.
func TestOwnRole(t *testing.T) {
	database := pgtest.Database(t)
	migrator, _, _ := roles(t, database)
	u, err := url.Parse(migrator)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), target(migrator), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, as := range []string{database, migrator} { // a superuser that migrates for the owner, and the owner itself
		var said strings.Builder
		o := Options{Log: slog.New(slog.NewTextHandler(&said, nil)), Workers: u.User.Username()}
		if _, err := Up(t.Context(), target(as), o); err != nil || strings.Contains(said.String(), "rights") {
			t.Errorf("%v %s", err, said.String())
		}
	}
}
