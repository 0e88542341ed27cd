package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/importer"
	"sluice/supervisor/fleet"
)

const importedKeys = `
	CREATE TABLE "LiteLLM_VerificationToken" (token TEXT PRIMARY KEY, models TEXT[], spend DOUBLE PRECISION);
	CREATE TABLE "LiteLLM_UserTable" (user_id TEXT PRIMARY KEY);
	CREATE TABLE "LiteLLM_TeamTable" (team_id TEXT PRIMARY KEY);
	INSERT INTO "LiteLLM_VerificationToken" VALUES (repeat('a', 64), '{}', 0), (repeat('b', 64), '{}', 1);`

// command runs the migrator as its main does.
func command(t *testing.T, vars map[string]string, args ...string) (code int, out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &boot.Process{Program: "migrator", Args: args, Environ: env.Parse(nil).With(vars), Stdout: &stdout, Stderr: &stderr}
	code = boot.Report(p, run(p))
	return code, stdout.String(), stderr.String()
}

// LiteLLM's keys are imported at the first start and never again; the
// supervisor hears of it.
func TestImportAtStart(t *testing.T) {
	url := pgtest.Database(t)
	pgtest.Exec(t, url, importedKeys)
	number := func(what string) int { return pgtest.Number(t, url, "SELECT count(*) FROM "+what) }
	vars := map[string]string{"DATABASE_URL": url, fleet.EnvStateDir: t.TempDir(), envImport: "off"}
	if code, _, said := command(t, vars, "up"); code != fleet.ExitOK || number("sluice.keys") != 0 {
		t.Fatalf("off: %d %s", code, said)
	}
	vars[envImport] = "perhaps"
	if code, _, said := command(t, vars, "up"); code != fleet.ExitConfig || !strings.Contains(said, "allowed: auto, off") {
		t.Fatalf("%d %s", code, said)
	}
	delete(vars, envImport)
	code, _, said := command(t, vars, "up")
	if code != fleet.ExitConfig || !strings.Contains(said, "LITELLM_SALT_KEY") || !strings.Contains(said, "SLUICE_IMPORT=off") || number("sluice.keys") != 0 {
		t.Fatalf("without a key to seal with: %d %s", code, said)
	}
	vars["LITELLM_MASTER_KEY"] = "sk-master-of-a-test-0123456789abcdef"
	vars["DISABLE_SCHEMA_UPDATE"] = "true"
	if code, _, said := command(t, vars, "up"); code != fleet.ExitOK || number("sluice.keys") != 0 {
		t.Fatalf("a pod beside a migration job: %d %s", code, said)
	}
	delete(vars, "DISABLE_SCHEMA_UPDATE")
	told, err := os.CreateTemp(t.TempDir(), "told")
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	vars[fleet.EnvProgressFD] = descriptor(t, told)
	if code, _, said := command(t, vars, "up"); code != fleet.ExitOK || number("sluice.keys") != 2 {
		t.Fatalf("%d %s", code, said)
	}
	if lines, err := os.ReadFile(told.Name()); err != nil || !strings.HasPrefix(string(lines), "0 0\n") {
		t.Errorf("%q %v", lines, err)
	}
	pgtest.Exec(t, url, `INSERT INTO "LiteLLM_VerificationToken" VALUES (repeat('c', 64), '{}', 0)`)
	if code, _, said := command(t, vars, "up"); code != fleet.ExitOK || number("sluice.keys") != 2 || number("sluice.imports WHERE run = 1 AND state = 'done'") != 1 {
		t.Fatalf("again: %d %s", code, said)
	}
}

// By hand it is imported as often as somebody asks, into SQLite too.
func TestImportByHand(t *testing.T) {
	url, dir := pgtest.Database(t), t.TempDir()
	pgtest.Exec(t, url, importedKeys)
	vars := map[string]string{fleet.EnvStateDir: dir, "LITELLM_MASTER_KEY": "sk-master-of-a-test-0123456789abcdef"}
	if code, _, said := command(t, vars, "import", "litellm"); code != fleet.ExitConfig || !strings.Contains(said, "no source is named") {
		t.Errorf("%d %s", code, said)
	}
	if code, _, said := command(t, vars, "import", "litellm", "--from", url, "--spend-logs-since", "yesterday"); code != fleet.ExitUsage || !strings.Contains(said, "YYYY-MM-DD") {
		t.Errorf("%d %s", code, said)
	}
	read := func(args ...string) (r importer.Report) {
		t.Helper()
		code, out, said := command(t, vars, append([]string{"import", "litellm", "--json"}, args...)...)
		if code != fleet.ExitOK {
			t.Fatalf("%d %s", code, said)
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return r
	}
	if r := read("--from", url, "--dry-run"); r.Total().New != 2 || !r.DryRun {
		t.Errorf("%+v", r.Total())
	}
	if _, err := os.Stat(fleet.Dir(dir).SQLite()); !os.IsNotExist(err) {
		t.Errorf("a dry run made the database: %v", err)
	}
	vars[envImportFrom] = url
	if r := read(); r.Total().New != 2 || r.DryRun || r.Run != 1 {
		t.Errorf("%+v", r.Total())
	}
	if r := read(); r.Total().Same != 2 || r.Run != 2 {
		t.Errorf("%+v", r.Total())
	}
}

// descriptor is a copy of a file's descriptor, as a program of ours inherits it.
func descriptor(t *testing.T, f *os.File) string {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(fd)
}
