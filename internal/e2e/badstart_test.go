//go:build e2e

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// What keeps an appliance from starting is told in one line that says how to
// mend it, the exit code is 78, so that nobody tries again at once, and nothing
// is left running.
func TestBadStart(t *testing.T) {
	hold := func(t *testing.T, port int) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	file := func(t *testing.T, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte("sk-of-the-tests-of-bad-starts-0001\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name string
		bad  func(t *testing.T, a *Appliance)
		says []string
	}{
		{"port taken", func(t *testing.T, a *Appliance) { hold(t, a.Port) }, []string{"is taken", "held by process " + strconv.Itoa(os.Getpid())}},
		{"health port taken", func(t *testing.T, a *Appliance) { hold(t, a.HealthPort) }, []string{"is taken"}},
		{
			"secret missing",
			func(_ *testing.T, a *Appliance) {
				a.opts.Env["LITELLM_MASTER_KEY"], a.opts.Env["LITELLM_MASTER_KEY_FILE"] = "", "/nowhere/at/all"
			},
			[]string{"LITELLM_MASTER_KEY_FILE", "/nowhere/at/all", "cannot be read"},
		},
		{
			"secret readable by others",
			func(t *testing.T, a *Appliance) {
				a.opts.Env["LITELLM_MASTER_KEY"], a.opts.Env["LITELLM_MASTER_KEY_FILE"] = "", file(t, 0o644)
			},
			[]string{"LITELLM_MASTER_KEY", "mode 0644", "chmod o="},
		},
		{
			"generated key readable by others",
			func(t *testing.T, a *Appliance) {
				a.opts.Env["LITELLM_MASTER_KEY"] = ""
				if err := os.WriteFile(filepath.Join(a.Dir, "master_key"), []byte("sk-of-the-tests-of-bad-starts-0002\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"master_key has mode 0644", "chmod 0600"},
		},
		{
			"database too old",
			func(t *testing.T, a *Appliance) {
				url := pgtest.Database(t)
				// The server is a new one, so an old one is played.
				pgtest.Exec(t, url, `CREATE SCHEMA old; CREATE FUNCTION old.current_setting(name text) RETURNS text LANGUAGE sql AS
					$$ SELECT CASE name WHEN 'server_version_num' THEN '120022' WHEN 'server_version' THEN '12.22' ELSE pg_catalog.current_setting(name) END $$;
					DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = old, pg_catalog, public', current_database()); END $$`)
				a.opts.Env["DATABASE_URL"] = url
			},
			[]string{"PostgreSQL 12.22 is too old", "13 or newer is needed"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, Options{Env: map[string]string{"LITELLM_LOG": "WARNING"}})
			c.bad(t, a)
			began := time.Now()
			a.Start()
			code := a.Wait(20 * time.Second)
			took := time.Since(began)
			said := a.Log()
			t.Logf("exit %d after %v: %s", code, took.Round(time.Millisecond), said)
			if code != fleet.ExitConfig {
				t.Errorf("exit code %d, want %d", code, fleet.ExitConfig)
			}
			lines := 0
			for line := range strings.Lines(said) {
				found := true
				for _, want := range c.says {
					found = found && strings.Contains(line, want)
				}
				if found {
					lines++
				}
			}
			if lines == 0 {
				t.Errorf("no line says %q", c.says)
			}
			if strings.Contains(said, "bad-starts-000") {
				t.Error("the secret is in the log")
			}
			a.NoneLeft(time.Second)
		})
	}
}
