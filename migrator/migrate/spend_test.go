package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"sluice/migrator/schema"
)

// TestSpendBefore: rows of spend from before it was a view stay where they are,
// and are read, deleted and told apart as before, however many there are.
func TestSpendBefore(t *testing.T) {
	const rows = 200_000
	path := filepath.Join(t.TempDir(), "sluice.db")
	dir, _, err := sqliteFiles()
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path, false))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithTableName(schema.VersionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
		INSERT INTO spend (request_id, attempt, status, call_type, started_at, ended_at, model, tags, cost, sequence, project_id)
		SELECT unhex(printf('%032x', i)), 1, 'success', '/v1', i, i + 5, 'm' || i % 7, '["a"]', i, i, 'p' FROM n`, rows); err != nil {
		t.Fatal(err)
	}
	all := func() string {
		t.Helper()
		out := ""
		q, err := db.QueryContext(t.Context(), "SELECT * FROM spend WHERE sequence % 1000 = 7 ORDER BY request_id, attempt")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = q.Close() }()
		columns, err := q.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for q.Next() {
			row := make([]any, len(columns))
			for i := range row {
				row[i] = new(any)
			}
			if err := q.Scan(row...); err != nil {
				t.Fatal(err)
			}
			for _, v := range row {
				out += fmt.Sprintf("%v ", *v.(*any))
			}
			out += "\n"
		}
		if q.Err() != nil || strings.Count(out, "\n") != rows/1000 {
			t.Fatal(q.Err(), out)
		}
		return strings.Join(columns, " ") + "\n" + out
	}
	was := all()
	began := time.Now()
	if _, err := Up(context.Background(), Target{SQLite: path}, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows: %s", rows, time.Since(began).Round(time.Millisecond))
	if is := all(); is != was {
		t.Errorf("rows were\n%.1000s\nand are\n%.1000s", was, is)
	}
	for _, statement := range []string{
		"DELETE FROM spend WHERE sequence < 1000", "INSERT INTO spend_calls (request_id, attempt, context_id, started_at, cost) VALUES (zeroblob(16), 1, 1, 1, 1)",
		"INSERT INTO spend_whole (request_id, attempt, status, call_type, started_at, ended_at) VALUES (zeroblob(16), 1, '', '', 1, 1)",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM spend_whole").Scan(&n); err != nil || n != rows-1000 {
		t.Errorf("%d rows: %v", n, err)
	}
}
