package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/schema"
)

// childEnv makes the test binary a migrator for the target that it names.
const childEnv = "SLUICE_TEST_MIGRATE"

func TestMain(m *testing.M) {
	if name, ok := os.LookupEnv(childEnv); ok {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if _, err := Up(context.Background(), target(name), Options{Log: log, Wait: time.Minute}); err != nil {
			log.Error("migrate", slog.String("error", err.Error()))
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func target(name string) Target {
	if !strings.Contains(name, "://") {
		return Target{SQLite: name}
	}
	src, err := postgres.ParseURL(name)
	if err != nil {
		panic(err)
	}
	return Target{Postgres: src}
}

// dump describes a schema in lines: tables, columns, types, defaults, indexes.
func dump(t *testing.T, name string) string {
	t.Helper()
	var lines []string
	if strings.Contains(name, "://") {
		conn, err := pgx.Connect(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		rows, err := conn.Query(context.Background(), `
			SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
			FROM information_schema.columns WHERE table_schema = 'sluice'
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'sluice'
			UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'sluice'::regnamespace
			UNION ALL SELECT 'applied ' || version_id FROM sluice.schema_versions
			UNION ALL SELECT 'head ' || number FROM sluice.change_head
			UNION ALL SELECT name || CASE WHEN name LIKE 'migration%' THEN value ELSE '' END FROM sluice.meta`)
		if err != nil {
			t.Fatal(err)
		}
		if lines, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
	} else {
		db, err := sql.Open("sqlite", dsn(name, true))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		err = each(context.Background(), db, `SELECT coalesce(sql, name) FROM sqlite_master
			UNION ALL SELECT 'applied ' || version_id FROM schema_versions
			UNION ALL SELECT 'head ' || number FROM change_head
			UNION ALL SELECT name || CASE WHEN name LIKE 'migration%' THEN value ELSE '' END FROM meta`, func(rows *sql.Rows) error {
			var line string
			err := rows.Scan(&line)
			lines = append(lines, line)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// both runs a test on either database; fresh gives an empty one.
func both(t *testing.T, test func(t *testing.T, fresh func() string)) {
	t.Run("postgres", func(t *testing.T) {
		test(t, func() string { return pgtest.Database(t) })
	})
	t.Run("sqlite", func(t *testing.T) {
		test(t, func() string { return filepath.Join(t.TempDir(), "a #?%.db") })
	})
}

func TestUp(t *testing.T) {
	both(t, func(t *testing.T, fresh func() string) {
		name := fresh()
		before, err := Look(t.Context(), target(name), Options{})
		if err != nil || before.Have != 0 || before.Pending() != schema.Version {
			t.Fatalf("empty: %+v, %v", before, err)
		}
		state, err := Up(t.Context(), target(name), Options{})
		if err != nil || state.Have != schema.Version || state.Pending() != 0 {
			t.Fatalf("up: %+v, %v", state, err)
		}
		if age := time.Since(state.Steps[0].Applied); age < -time.Minute || age > time.Minute {
			t.Errorf("applied at %s", state.Steps[0].Applied)
		}
		clean := dump(t, name)
		again, err := Up(t.Context(), target(name), Options{})
		if err != nil || again.Have != schema.Version || dump(t, name) != clean {
			t.Errorf("again: %+v, %v", again, err)
		}
		if !strings.Contains(name, "://") {
			if v, err := fileVersion(name); err != nil || v != schema.Version {
				t.Errorf("version in the file's header: %d, %v", v, err)
			}
		}
	})
}

// TestNewerAndChanged: versions of a later release are no error, a file that
// differs from the applied one is.
func TestNewerAndChanged(t *testing.T) {
	both(t, func(t *testing.T, fresh func() string) {
		name := fresh()
		if _, err := Up(t.Context(), target(name), Options{}); err != nil {
			t.Fatal(err)
		}
		run(t, name, "INSERT INTO PREFIXschema_versions (version_id, is_applied) VALUES (99, TRUE)")
		state, err := Up(t.Context(), target(name), Options{})
		if err != nil || state.Have != 99 || state.Pending() != 0 {
			t.Errorf("newer: %+v, %v", state, err)
		}
		run(t, name, "DELETE FROM PREFIXmeta WHERE name LIKE 'migration%'")
		if _, err := Up(t.Context(), target(name), Options{}); err != nil {
			t.Errorf("digest lost: %v", err)
		}
		if !strings.Contains(dump(t, name), "migration_00001") {
			t.Error("the digest was not written again")
		}
		run(t, name, "UPDATE PREFIXmeta SET value = 'other' WHERE name LIKE 'migration%'")
		if _, err := Up(t.Context(), target(name), Options{}); err == nil || ClassOf(err) != Config {
			t.Errorf("changed file: %v", err)
		}
	})
}

func run(t *testing.T, name, statement string) {
	t.Helper()
	if strings.Contains(name, "://") {
		pgtest.Exec(t, name, strings.ReplaceAll(statement, "PREFIX", "sluice."))
		return
	}
	db, err := sql.Open("sqlite", dsn(name, false))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(strings.ReplaceAll(statement, "PREFIX", "")); err != nil {
		t.Fatal(err)
	}
}

// TestSixteenAtOnceKilled starts sixteen processes together, kills every other
// one at a random moment, and compares with one clean run.
func TestSixteenAtOnceKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	both(t, func(t *testing.T, fresh func() string) {
		clean := fresh()
		if _, err := Up(t.Context(), target(clean), Options{}); err != nil {
			t.Fatal(err)
		}
		want := dump(t, clean)
		for round := range 3 {
			name := fresh()
			var started []*exec.Cmd
			for range 16 {
				c := exec.Command(self)
				c.Env = append(os.Environ(), childEnv+"="+name)
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				started = append(started, c)
			}
			for i, c := range started {
				if i%2 == 0 {
					time.AfterFunc(rand.N(500*time.Millisecond), func() { _ = c.Process.Kill() })
				}
			}
			for i, c := range started {
				err := c.Wait()
				var exit *exec.ExitError
				killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
				if err != nil && !killed {
					t.Errorf("round %d, process %d: %v", round, i, err)
				}
			}
			if got := dump(t, name); got != want {
				t.Fatalf("round %d: schema differs:\n%s\n---\n%s", round, got, want)
			}
		}
	})
}

// TestLockInTheWay: a foreign transaction holds the migration's lock or a
// table; the migrator waits, then says that trying again helps.
func TestLockInTheWay(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		name := pgtest.Database(t)
		conn, err := pgx.Connect(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("SELECT pg_advisory_lock(%d)", int64(lockID))); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = Up(t.Context(), target(name), Options{Wait: 300 * time.Millisecond})
		if ClassOf(err) != TryAgain || time.Since(start) > 5*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
			t.Fatal(err)
		}
		if _, err := Up(t.Context(), target(name), Options{}); err != nil {
			t.Errorf("lock is free: %v", err)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "a.db")
		unlock, err := lockFile(t.Context(), name+".lock", Options{}.filled())
		if err != nil {
			t.Fatal(err)
		}
		_, err = Up(t.Context(), target(name), Options{Wait: 100 * time.Millisecond})
		if ClassOf(err) != TryAgain {
			t.Errorf("lock held: %v", err)
		}
		unlock()
		if _, err := Up(t.Context(), target(name), Options{}); err != nil {
			t.Errorf("lock is free: %v", err)
		}
	})
}

// TestClasses: what an operator is told, and whether trying again helps.
func TestClasses(t *testing.T) {
	url := pgtest.Database(t)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.db")
	if err := os.WriteFile(broken, []byte(strings.Repeat("this is no database ", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$")
	pgtest.Exec(t, url, "DO $$ BEGIN CREATE ROLE full_up LOGIN CONNECTION LIMIT 0; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$")
	standby := pgtest.Database(t)
	u, _ := pgx.ParseConfig(url)
	as := func(role string) string { return strings.Replace(url, "//"+u.User, "//"+role, 1) }
	tests := []struct {
		name, target string
		want         Class
		say          string
	}{
		{"away", "postgres://u:hunter2@127.0.0.1:1/d", TryAgain, "away"},
		{"no database", strings.Replace(url, "/"+u.Database, "/nowhere", 1), Config, "no such database"},
		{"may not create", as("reader"), Config, "not permitted"},
		{"nobody", as("nobody:hunter2"), Config, "correct user and password in DATABASE_URL"},
		{"no connection left", as("full_up"), TryAgain, "raise max_connections"},
		{"read-only", standby + "&options=-c%20default_transaction_read_only%3Don", TryAgain, "name the primary"},
		{"not a database", broken, Config, "backup"},
		{"no folder", "/proc/nowhere/x.db", Config, "state directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Up(t.Context(), target(tt.target), Options{Wait: time.Second})
			if err == nil || ClassOf(err) != tt.want || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("class %d, want %d that says %q: %v", ClassOf(err), tt.want, tt.say, err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q shows the password", err)
			}
		})
	}
}
