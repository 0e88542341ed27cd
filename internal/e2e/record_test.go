//go:build e2e

package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"sluice/internal/postgres/pgtest"
)

// recordDB is a database with a record of changes, as its owner sees it: past
// every program of ours.
type recordDB struct {
	t    *testing.T
	url  string // PostgreSQL
	file string // SQLite
}

// texts reads the rows of a query, which names tables as PostgreSQL does; NULL
// is "".
func (d *recordDB) texts(query string) (out [][]string) {
	d.t.Helper()
	if d.url != "" {
		session := pgtest.Open(d.t, d.url)
		defer session.Close() // what others are connected to is not copied
		out, err := session.Texts(query)
		if err != nil {
			d.t.Fatal(err)
		}
		return out
	}
	db := d.open()
	defer db.Close()
	rows, err := db.QueryContext(d.t.Context(), d.dialect(query))
	if err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		d.t.Fatal(err)
	}
	for rows.Next() {
		values, to := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			d.t.Fatal(err)
		}
		row := make([]string, len(names))
		for i, v := range values {
			row[i] = v.String
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *recordDB) open() *sql.DB {
	d.t.Helper()
	db, err := sql.Open("sqlite", "file:"+d.file+"?_pragma=busy_timeout(20000)&_pragma=foreign_keys(0)")
	if err != nil {
		d.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// dialect has no schema on SQLite.
func (d *recordDB) dialect(statements string) string {
	if d.url == "" {
		return strings.ReplaceAll(statements, "sluice.", "")
	}
	return statements
}

// number is the one number of a query.
func (d *recordDB) number(query string) int {
	d.t.Helper()
	rows := d.texts(query)
	n, err := strconv.Atoi(rows[0][0])
	if err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// forge runs statements as somebody does who owns the database: with every
// trigger of the record disabled.
func (d *recordDB) forge(statements ...string) {
	d.t.Helper()
	if d.url != "" {
		pgtest.Exec(d.t, d.url, "BEGIN; ALTER TABLE sluice.changes DISABLE TRIGGER ALL; ALTER TABLE sluice.change_stretches DISABLE TRIGGER ALL;"+
			strings.Join(statements, ";")+"; ALTER TABLE sluice.changes ENABLE TRIGGER ALL; ALTER TABLE sluice.change_stretches ENABLE TRIGGER ALL; COMMIT")
		return
	}
	db := d.open()
	defer db.Close()
	var names, texts []string
	for _, row := range d.texts("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'") {
		names, texts = append(names, "DROP TRIGGER "+row[0]), append(texts, row[1])
	}
	for _, statement := range append(append(append([]string{"BEGIN IMMEDIATE"}, names...), statements...), append(texts, "COMMIT")...) {
		if _, err := db.ExecContext(d.t.Context(), d.dialect(statement)); err != nil {
			d.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// copy is a database of its own with the same content. Nobody may be connected.
func (d *recordDB) copy() *recordDB {
	d.t.Helper()
	if d.url != "" {
		return &recordDB{t: d.t, url: pgtest.Copied(d.t, d.url)}
	}
	to := &recordDB{t: d.t, file: filepath.Join(d.t.TempDir(), "sluice.db")}
	db := d.open()
	defer db.Close()
	if _, err := db.ExecContext(d.t.Context(), "VACUUM INTO ?", to.file); err != nil {
		d.t.Fatal(err)
	}
	return to
}

// recordKinds are the kinds of objects that clients of these tests change: the
// name in the record, the table and its key.
var recordKinds = [][3]string{
	{"key", "keys", "token"},
	{"user", "users", "user_id"},
	{"team", "teams", "team_id"},
	{"budget", "budgets", "budget_id"},
	{"model", "models", "model_id"},
	{"credential", "credentials", "credential_id"},
}

// whole compares the record with the objects: every object has the change that
// its row names as its last one, every object that the record leaves there is
// there, each row begins where the one before it ended, and numbers have no gap.
// It returns how many objects and changes there are, and what does not fit.
func (d *recordDB) whole() (objects, changes int, wrong []string) {
	d.t.Helper()
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	type last struct {
		number string
		after  any
		there  bool
	}
	state := map[[2]string]last{}
	for i, row := range d.texts("SELECT number, object_type, object_id, before_value, after_value FROM sluice.changes ORDER BY number") {
		changes++
		if row[0] != strconv.Itoa(i+1) {
			complain("change %s is in the place of %d", row[0], i+1)
		}
		if !slices.ContainsFunc(recordKinds, func(kind [3]string) bool { return kind[0] == row[1] }) {
			continue // a note of what is no object, or an object of those that nobody changes here
		}
		var before, after any
		_, _ = json.Unmarshal([]byte(row[3]), &before), json.Unmarshal([]byte(row[4]), &after)
		object := [2]string{row[1], row[2]}
		was := state[object]
		if was.there != (before != nil) || was.there && !reflect.DeepEqual(settledFields(was.after), settledFields(before)) {
			complain("change %s of %s does not begin where the one before it ended:\n%v\n%v", row[0], object, was.after, before)
		}
		state[object] = last{row[0], after, after != nil}
	}
	if head := d.number("SELECT number FROM sluice.change_head"); head != changes {
		complain("the head says %d, the record has %d changes", head, changes)
	}
	for _, kind := range recordKinds {
		there := map[string]bool{}
		for _, row := range d.texts(fmt.Sprintf("SELECT %s, change_number FROM sluice.%s", kind[2], kind[1])) {
			objects++
			there[row[0]] = true
			if want := state[[2]string{kind[0], row[0]}]; !want.there || want.number != row[1] {
				complain("%s %s is of change %s, the record says %+v", kind[0], row[0], row[1], want)
			}
		}
		for object, s := range state {
			if object[0] == kind[0] && s.there && !there[object[1]] {
				complain("%v is not there, change %s says that it is", object, s.number)
			}
		}
	}
	return objects, changes, wrong
}

// few are the first of a list, for a message.
func few(list []string) []string { return list[:min(5, len(list))] }

// settledFields are the fields of a document that only changes write.
func settledFields(doc any) any {
	fields, ok := doc.(map[string]any)
	if !ok {
		return doc
	}
	for _, counted := range []string{"spend", "total_spend", "last_active"} {
		delete(fields, counted)
	}
	return fields
}
