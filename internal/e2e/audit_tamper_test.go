//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// verify runs the built migrator over a database: with the keys of an appliance,
// and with its anchor only if that is wanted.
func (d *recordDB) verify(a *Appliance, anchor bool, args ...string) (code int, said string) {
	d.t.Helper()
	dir := d.t.TempDir()
	if d.url == "" {
		dir = filepath.Dir(d.file)
	}
	args = append([]string{"audit", "verify", "--state_dir", dir}, args...)
	if anchor {
		args = append(args, "--anchor", filepath.Join(a.Dir, "audit-head.jsonl"))
	}
	if d.url != "" {
		args = append(args, "--database_url", d.url)
	}
	return a.command("migrator", args...)
}

// recordColumns are the columns of a row, with what gives each another value.
var recordColumns = [][2]string{
	{"actor", "actor || 'x'"},
	{"actor_key", "actor_key || 'x'"},
	{"claimed_actor", "'somebody'"},
	{"action", "'blocked' || action"},
	{"object_type", "'team' || object_type"},
	{"object_id", "object_id || 'x'"},
	{"before_value", "'{}'"},
	{"after_value", "NULL"},
	{"source", "'192.0.2.1'"},
	{"request_id", "request_id || '1'"},
	{"host", "host || 'x'"},
	{"reason", "reason || '.'"},
	{"chain_mac", "NULL"},
}

// tampering is one way to falsify a record.
type tampering struct {
	name   string
	anchor bool  // only what was kept elsewhere tells
	code   int   // of the end; 0 is fleet.ExitFailed
	at     []int // numbers of changes that the finding must name, if it can
	does   []string
}

const (
	recordNames = "actor, actor_key, claimed_actor, action, object_type, object_id, before_value, after_value, source, request_id, host, reason, chain_key, chain_mac"
	headAt      = `UPDATE sluice.change_head SET number = %[1]d, chained = %[1]d, chain_mac = (SELECT chain_mac FROM sluice.changes WHERE number = %[1]d)`
)

// tamperings falsify a record of so many changes.
func tamperings(last int, sqlite bool) []tampering {
	mid := last / 2
	later := "at + interval '1 microsecond'"
	if sqlite {
		later = "at + 1"
	}
	edits := tampering{name: "columns edited"}
	for i, column := range append([][2]string{{"at", later}}, recordColumns...) {
		n := 20 + 3*i
		edits.at = append(edits.at, n)
		edits.does = append(edits.does, fmt.Sprintf("UPDATE sluice.changes SET %s = %s WHERE number = %d", column[0], column[1], n))
	}
	// Numbers are unique: those that move go out of the way first.
	move := func(by int, where string) []string {
		return []string{fmt.Sprintf("UPDATE sluice.changes SET number = -(number + %d) WHERE %s", by, where), "UPDATE sluice.changes SET number = -number WHERE number < 0"}
	}
	put := func(at, like int, key, mac string) string {
		names := strings.TrimSuffix(recordNames, "chain_key, chain_mac")
		return fmt.Sprintf("INSERT INTO sluice.changes (number, at, %s) SELECT %d, at, %s%s, %s FROM sluice.changes WHERE number = %d", recordNames, at, names, key, mac, like)
	}
	return []tampering{
		edits,
		{name: "one deleted", at: []int{mid}, does: []string{fmt.Sprintf("DELETE FROM sluice.changes WHERE number = %d", mid)}},
		{name: "the first deleted", at: []int{1}, does: []string{"DELETE FROM sluice.changes WHERE number = 1"}},
		{name: "the last deleted", at: []int{last}, does: []string{fmt.Sprintf("DELETE FROM sluice.changes WHERE number = %d", last)}},
		{name: "one deleted and the gap closed", at: []int{mid}, does: append(append([]string{fmt.Sprintf("DELETE FROM sluice.changes WHERE number = %d", mid)},
			move(-1, fmt.Sprintf("number > %d", mid))...), fmt.Sprintf(headAt, last-1))},
		{name: "one inserted", at: []int{mid + 1}, does: append(move(1, fmt.Sprintf("number > %d", mid)),
			put(mid+1, mid, "chain_key", "chain_mac"), fmt.Sprintf(headAt, last+1))},
		{name: "one appended", at: []int{last + 1}, does: []string{put(last+1, last-2, "chain_key", "chain_mac"), fmt.Sprintf(headAt, last+1)}},
		{name: "two changed places", at: []int{mid}, does: []string{
			fmt.Sprintf("UPDATE sluice.changes SET number = -number WHERE number IN (%d, %d)", mid, mid+4),
			fmt.Sprintf("UPDATE sluice.changes SET number = CASE number WHEN -%[1]d THEN %[2]d ELSE %[1]d END WHERE number < 0", mid, mid+4),
		}},
		{name: "the end cut off", at: []int{last - 9}, does: []string{fmt.Sprintf("DELETE FROM sluice.changes WHERE number > %d", last-10)}},
		{name: "the end cut off, with the head", anchor: true, does: []string{
			fmt.Sprintf("DELETE FROM sluice.changes WHERE number > %d", last-10), fmt.Sprintf(headAt, last-10),
		}},
		{name: "everything deleted", anchor: true, does: []string{"DELETE FROM sluice.changes", "UPDATE sluice.change_head SET number = 0, chained = 0, chain_mac = NULL"}},
		// Nobody can tell that from a keyring that lacks a key.
		{name: "another key named", code: fleet.ExitConfig, does: []string{fmt.Sprintf("UPDATE sluice.changes SET reason = 'another', chain_key = 'another' WHERE number = %d", mid)}},
		// What is then chained anew has other codes.
		{name: "the codes of the end taken off and a row edited", anchor: true, does: []string{
			fmt.Sprintf("UPDATE sluice.changes SET chain_key = '', chain_mac = NULL WHERE number > %d", last-10),
			fmt.Sprintf("UPDATE sluice.changes SET reason = 'another' WHERE number = %d", last-5),
			fmt.Sprintf("UPDATE sluice.change_head SET chained = %[1]d, chain_mac = (SELECT chain_mac FROM sluice.changes WHERE number = %[1]d)", last-10),
		}},
	}
}

// tampered falsifies copies of a record that verifies, in every way, and wants
// each to be found.
func tampered(t *testing.T, d *recordDB, a *Appliance) {
	last := d.number("SELECT number FROM sluice.change_head")
	if code, said := d.copy().verify(a, true); code != 0 {
		t.Fatalf("a copy does not verify: exit %d\n%s", code, said)
	}
	found := 0
	forged := d.copy()
	forged.forge("CREATE TABLE sluice.kept_changes AS SELECT * FROM sluice.changes", "CREATE TABLE sluice.kept_head AS SELECT * FROM sluice.change_head")
	for _, how := range tamperings(last, d.url == "") {
		forged.forge(append([]string{
			"DELETE FROM sluice.changes", "INSERT INTO sluice.changes SELECT * FROM sluice.kept_changes",
			"DELETE FROM sluice.change_head", "INSERT INTO sluice.change_head SELECT * FROM sluice.kept_head",
		}, how.does...)...)
		if how.anchor {
			// It shows that the anchor is needed, which the documentation says.
			if code, said := forged.verify(a, false); code != 0 {
				t.Errorf("%s, without an anchor: exit %d\n%s", how.name, code, said)
			}
		}
		code, said := forged.verify(a, how.anchor)
		if want := cmp.Or(how.code, fleet.ExitFailed); code != want {
			t.Errorf("%s: exit %d, want %d\n%s", how.name, code, want, said)
			continue
		}
		for _, n := range how.at {
			if !regexp.MustCompile(`\b` + strconv.Itoa(n) + `\b`).MatchString(said) {
				t.Errorf("%s: change %d is not named:\n%s", how.name, n, said)
			}
		}
		found++
	}
	t.Logf("show 3: %d kinds of tampering with %d changes were found", found, last)
	archived(t, d, a)
}

// archived moves the first part of the record into a file that verifies alone
// and with the rest, and no longer once a letter of it is another one.
func archived(t *testing.T, d *recordDB, a *Appliance) {
	t.Helper()
	last := d.number("SELECT number FROM sluice.change_head")
	moved := d.copy()
	file := filepath.Join(t.TempDir(), "record.jsonl")
	args := []string{"audit", "archive", "--state_dir", t.TempDir(), "--recent", "--before", time.Now().UTC().Add(time.Hour).Format(time.RFC3339), "--to", file}
	if moved.url != "" {
		args = append(args, "--database_url", moved.url)
	} else {
		args[3] = filepath.Dir(moved.file)
	}
	if code, said := a.command("migrator", args...); code != 0 {
		t.Fatalf("migrator audit archive: exit %d\n%s", code, said)
	}
	left := moved.number("SELECT count(*) FROM sluice.changes")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || left >= last {
		t.Fatalf("the file: %v %v; %d of %d changes are left", info, err, left, last)
	}
	if code, said := moved.verify(a, true, "--file", file); code != 0 {
		t.Errorf("the rest with the file: exit %d\n%s", code, said)
	}
	if code, said := moved.verify(a, true); code != 0 {
		t.Errorf("the rest alone: exit %d\n%s", code, said)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a.command("migrator", args...)
	if again, err := os.ReadFile(file); err != nil || string(again) != string(text) {
		t.Errorf("an archive was written over another one: %v", err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	half := len(lines) / 2
	for name, forged := range map[string]string{
		"a letter of the file is another":   strings.Replace(string(text), "call-0000", "call-0001", 1),
		"a line is taken out of the file":   strings.Join(append(append([]string{}, lines[:half]...), lines[half+1:]...), "") + "\n",
		"two lines of the file change":      strings.Join(append(append(append([]string{}, lines[:half]...), lines[half+1], lines[half]), lines[half+2:]...), "") + "\n",
		"the end of the file is cut off":    strings.Join(lines[:half], ""),
		"the file is cut off inside a line": string(text[:len(text)/3]),
	} {
		if err := os.WriteFile(file, []byte(forged), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, said := moved.verify(a, false, "--file", file); code != fleet.ExitFailed {
			t.Errorf("%s: exit %d\n%s", name, code, said)
		}
	}
	t.Logf("show 3: %d of %d changes were moved to a file of %d bytes, which verifies", last-left, last, info.Size())
}
