//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// importing is a run of `migrator import litellm`.
type importing struct {
	t     *testing.T
	cmd   *exec.Cmd
	began time.Time
	took  time.Duration
	peak  int64 // most resident memory, bytes
	out   bytes.Buffer
	errs  bytes.Buffer
	done  chan struct{}
}

// startImport runs the built migrator. from is LiteLLM's database, set is the
// environment besides; the target is what DATABASE_URL says, or SQLite in the
// state directory.
func startImport(t *testing.T, v Variant, from string, set map[string]string, args ...string) *importing {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": dir, "LANG": "C.UTF-8", "LITELLM_SALT_KEY": oldSalt, "LITELLM_MASTER_KEY": oldMaster,
		"SLUICE_STATE_DIR": dir, "SLUICE_IMPORT_FROM": from,
	}
	maps.Copy(env, set)
	r := &importing{t: t, began: time.Now(), done: make(chan struct{})}
	r.cmd = exec.CommandContext(context.Background(), filepath.Join(Binaries(t, v), "migrator"), append([]string{"import", "litellm"}, args...)...)
	for name, value := range env {
		if value != "" {
			r.cmd.Env = append(r.cmd.Env, name+"="+value)
		}
	}
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = dir, &r.out, &r.errs
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	ended := make(chan struct{})
	go func() { // ends with the process
		for {
			select {
			case <-ended:
				close(r.done)
				return
			case <-time.After(20 * time.Millisecond):
				r.peak = max(r.peak, peakOf(r.cmd.Process.Pid))
			}
		}
	}()
	go func() { // ends with the process
		_ = r.cmd.Wait()
		r.took = time.Since(r.began)
		close(ended)
	}()
	return r
}

// peakOf is the most memory that a process has had resident, in bytes.
func peakOf(pid int) int64 {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmHWM:" {
			return kilobytes(f[1])
		}
	}
	return 0
}

// wait is the exit code, -1 for a signal.
func (r *importing) wait(d time.Duration) int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(d):
		_ = r.cmd.Process.Kill()
		r.t.Fatalf("the import has not ended after %v: %s", d, tailOf(r.errs.String()))
	}
	return r.cmd.ProcessState.ExitCode()
}

// killAt ends it with KILL at a random moment after the target has seen a number
// of changes, unless it has ended by then; it tells whether it was killed.
func (r *importing) killAt(target string, number int) bool {
	r.t.Helper()
	const within = 250 * time.Millisecond // some batches
	for changesOf(r.t, target) < number {
		select {
		case <-r.done:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	select {
	case <-r.done:
		return false
	case <-time.After(rand.N(within)):
	}
	_ = r.cmd.Process.Kill()
	<-r.done
	return r.code() == -1
}

// changesOf is how many changes a database has seen, 0 for one without ours.
func changesOf(t *testing.T, databaseURL string) int {
	t.Helper()
	if pgtest.Number(t, databaseURL, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'sluice' AND table_name = 'change_head'") == 0 {
		return 0
	}
	return pgtest.Number(t, databaseURL, "SELECT coalesce(max(number), 0) FROM sluice.change_head")
}

// runImport is startImport to its end.
func runImport(t *testing.T, from string, set map[string]string, args ...string) *importing {
	t.Helper()
	r := startImport(t, Plain, from, set, args...)
	r.wait(5 * time.Minute)
	return r
}

// code is how it ended.
func (r *importing) code() int { return r.cmd.ProcessState.ExitCode() }

// must ends the test unless it succeeded.
func (r *importing) must() *importing {
	r.t.Helper()
	if r.code() != fleet.ExitOK {
		r.t.Fatalf("the import ended with %d:\n%s\n%s", r.code(), tailOf(r.out.String()), tailOf(r.errs.String()))
	}
	return r
}

// reason is the line that the program ends with.
func (r *importing) reason() string {
	lines := strings.Split(strings.TrimSpace(r.errs.String()), "\n")
	return lines[len(lines)-1]
}

func tailOf(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "")
}

// What a target holds that depends on when it was written, by which change, and
// on how its secrets were sealed this time (the digest of an object has them).
var timely = map[string]bool{"change_number": true, "updated_at": true, "created_at": true, "digest": true}

// imprint is what identifies everything that was imported into a PostgreSQL
// database, one line a table; sealed texts, which are never the same twice, are
// left out, as are times and numbers of changes.
func imprint(t *testing.T, databaseURL string) map[string]string {
	t.Helper()
	columns := map[string][]string{}
	for _, c := range pgtest.Rows(t, databaseURL, `SELECT c.table_name, c.column_name FROM information_schema.columns c
		WHERE table_schema = 'sluice' ORDER BY c.ordinal_position`) {
		table, column := c[0], c[1]
		if strings.HasPrefix(table, "change") || slices.Contains([]string{"hosts", "meta", "sealing_keys", "imports", "schema_versions"}, table) {
			continue
		}
		sealed := table == "models" && column == "params" || table == "credentials" && column == "credential_values" || table == "config_items" && column == "param_value"
		if !timely[column] && !sealed {
			columns[table] = append(columns[table], column)
		}
	}
	var asked []string
	for _, table := range slices.Sorted(maps.Keys(columns)) {
		asked = append(asked, "SELECT '"+table+"', count(*), sum(hashtextextended(concat_ws('|', "+strings.Join(quoteNull(columns[table]), ", ")+"), 0)) FROM sluice."+table+" AS t")
	}
	out := map[string]string{}
	for _, row := range pgtest.Rows(t, databaseURL, strings.Join(asked, " UNION ALL ")) {
		out[row[0]] = row[1] + " " + row[2]
	}
	return out
}

// quoteNull keeps a column that is NULL apart from one that is empty.
func quoteNull(columns []string) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = "coalesce(t." + c + "::text, 'NULL')"
	}
	return out
}

// same compares two imprints and says where they differ.
func same(t *testing.T, what string, got, want map[string]string) bool {
	t.Helper()
	ok := true
	for table, line := range want {
		if got[table] != line {
			t.Errorf("%s: table %s is %q, want %q", what, table, got[table], line)
			ok = false
		}
	}
	return ok && len(got) == len(want)
}
