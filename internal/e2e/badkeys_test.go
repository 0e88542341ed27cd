//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// badKeys are starts that must end with 78: with one line that names the thing
// and says what to do.
var badKeys = []struct {
	name string
	env  map[string]string
	file string      // text of the keyring file; "" is none
	mode os.FileMode // 0 is 0600
	says []string    // in the line
}{
	{name: "another salt key", env: map[string]string{"LITELLM_SALT_KEY": "sk-never-shown-Zx8Qw3Er5Ty7Ui9Op1As"}, says: []string{"LITELLM_SALT_KEY"}},
	{name: "no salt key", says: []string{"LITELLM_SALT_KEY"}},
	{name: "a shortened salt key", env: map[string]string{"LITELLM_SALT_KEY": badKeySalt[:len(badKeySalt)-1]}, says: []string{"LITELLM_SALT_KEY"}},
	{name: "a ring without the key", file: "new:never-shown-Zx8Qw3Er5Ty7Ui9Op1As\n", says: []string{"SLUICE_KEYRING_FILE"}},
	{name: "a line twice", file: "new:never-shown-Zx8Qw3Er5Ty7Ui9Op1As\nold:" + badKeySalt + "\nnew:never-shown-Other8Qw3Er5Ty7Ui9Op\n", says: []string{"keyring", "line 3", "new"}},
	{name: "a secret twice", file: "new:" + badKeySalt + "\nold:" + badKeySalt + "\n", says: []string{"keyring", "line 2", "old"}},
	{name: "a line without a colon", file: "old:" + badKeySalt + "\nnever-shown-Zx8Qw3Er5Ty7Ui9Op1As\n", says: []string{"keyring", "line 2", "id:secret"}},
	{name: "a line without an id", file: ":" + badKeySalt + "\n", says: []string{"keyring", "line 1", "id"}},
	{name: "a line without a secret", file: "old:\n", says: []string{"keyring", "line 1", "old"}},
	{name: "an empty file", file: "# nothing\n\n", says: []string{"keyring", "id:secret"}},
	{name: "readable by others", file: "old:" + badKeySalt + "\n", mode: 0o644, says: []string{"keyring", "0644", "chmod"}},
	{name: "writable by a group", file: "old:" + badKeySalt + "\n", mode: 0o620, says: []string{"keyring", "0620", "chmod"}},
	{name: "no such file", env: map[string]string{"SLUICE_KEYRING_FILE": "/nowhere/ring"}, says: []string{"keyring", "/nowhere/ring"}},
	{name: "a folder", env: map[string]string{"SLUICE_KEYRING_FILE": "/"}, says: []string{"keyring", "regular file"}},
	{name: "another old master key", env: map[string]string{"SLUICE_OLD_MASTER_KEY": "sk-never-shown-Zx8Qw3Er5Ty7Ui9Op1As"}, says: []string{"LITELLM_SALT_KEY"}},
}

const badKeySalt = "sk-salt-never-shown-4Hn7Jm2Kq9Lw5Xz"

// TestBadKeys: with keys that are wrong nothing starts, and the database stays
// as it is to the letter.
func TestBadKeys(t *testing.T) {
	for _, database := range []string{"postgres", "sqlite"} {
		t.Run(database, func(t *testing.T) {
			d := &recordDB{t: t}
			env := map[string]string{}
			if database == "postgres" {
				d.url = pgtest.Database(t)
				env["DATABASE_URL"] = d.url
			}
			a := New(t, Options{Config: identityConfig, Env: env})
			if d.url == "" {
				d.file = filepath.Join(a.Dir, "sluice.db")
			}
			a.opts.Env["LITELLM_SALT_KEY"] = badKeySalt
			a.Start()
			a.allReady()
			a.manage("/model/new", `{"model_name":"dbm","litellm_params":{"model":"openai/x","api_key":"sk-1","mock_response":"stored"}}`)
			a.manage("/credentials", `{"credential_name":"c","credential_info":{},"credential_values":{"api_key":"sk-2"}}`)
			if code := a.Stop(); code != fleet.ExitOK {
				t.Fatalf("stopped with %d", code)
			}
			delete(a.opts.Env, "LITELLM_SALT_KEY")
			before := d.sealed()
			for _, c := range badKeys {
				if database == "sqlite" && c.file != "" && !strings.Contains(c.name, "without the key") {
					continue // read before a database is
				}
				a.badStart(t, c.env, c.file, c.mode, c.says, c.name)
				if after := d.sealed(); !slices.Equal(before, after) {
					t.Fatalf("%s: the database was\n%v\nand is\n%v", c.name, before, after)
				}
			}
			a.opts.Env["LITELLM_SALT_KEY"] = badKeySalt
			a.Start()
			a.allReady()
			if got := a.eachWorker(a.Key, "dbm"); !all(got, http.StatusOK) {
				t.Errorf("with the right salt key: %v", got)
			}
			if strings.Contains(a.Log(), "never-shown") {
				t.Errorf("the log holds a secret:\n%s", a.Tail(40))
			}
		})
	}
}

// badStart starts with keys that are wrong and judges the end.
func (a *Appliance) badStart(t *testing.T, env map[string]string, file string, mode os.FileMode, says []string, name string) {
	t.Helper()
	was := a.opts.Env
	a.opts.Env = map[string]string{}
	for _, from := range []map[string]string{was, env} {
		for name, value := range from {
			a.opts.Env[name] = value
		}
	}
	defer func() { a.opts.Env = was }()
	if file != "" {
		path := filepath.Join(t.TempDir(), "ring")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		if mode == 0 {
			mode = 0o600
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		a.opts.Env["SLUICE_KEYRING_FILE"] = path
	}
	code, said := a.command("supervisor", a.args()...)
	var lines []string
	for line := range strings.Lines(said) {
		good := true
		for _, word := range says {
			good = good && strings.Contains(line, word)
		}
		if good {
			lines = append(lines, line)
		}
	}
	if code != fleet.ExitConfig || len(lines) == 0 {
		t.Errorf("%s: exit %d, want %d and a line with %q:\n%s", name, code, fleet.ExitConfig, says, said)
	}
	if strings.Contains(said, "never-shown") {
		t.Errorf("%s: a secret was said:\n%s", name, said)
	}
	if len(lines) > 0 {
		t.Logf("%s: exit %d: %s", name, code, lines[len(lines)-1])
	}
}

// sealed is all that is sealed, and with what, as the database holds it.
func (d *recordDB) sealed() (out []string) {
	d.t.Helper()
	for _, query := range []string{
		"SELECT model_id, params, sealed_with, change_number FROM sluice.models ORDER BY 1",
		"SELECT credential_id, credential_values, sealed_with, change_number FROM sluice.credentials ORDER BY 1",
		"SELECT * FROM sluice.config_items ORDER BY 1", "SELECT * FROM sluice.sealing_keys ORDER BY 1",
		"SELECT name, value FROM sluice.meta ORDER BY 1", "SELECT number, chained FROM sluice.change_head",
	} {
		for _, row := range d.texts(query) {
			out = append(out, fmt.Sprint(query[:20], row))
		}
	}
	return out
}
