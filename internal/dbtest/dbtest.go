// Package dbtest gives tests migrated databases: each is a copy of one that was
// migrated once, which costs a tenth of migrating it anew.
package dbtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/migrator/schema"
)

// PostgresURL is the URL of a migrated database on PostgreSQL, for one test.
func PostgresURL(tb testing.TB) string {
	tb.Helper()
	digest, err := files(schema.Postgres)
	if err != nil {
		tb.Fatal(err)
	}
	return pgtest.Copy(tb, "sluice_template_"+digest, func(url string) error {
		source, err := postgres.ParseURL(url)
		if err != nil {
			return err
		}
		_, err = migrate.Up(context.Background(), migrate.Target{Postgres: source}, migrate.Options{})
		return err
	})
}

// Postgres is a migrated database on PostgreSQL, for one test.
func Postgres(tb testing.TB) *postgres.Source {
	tb.Helper()
	source, err := postgres.ParseURL(PostgresURL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return source
}

// SQLite is the path of a migrated SQLite file in a folder of its own, for one
// test.
func SQLite(tb testing.TB) string {
	tb.Helper()
	content, err := sqlite()
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "sluice.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// sqlite is the content of a migrated SQLite file. Its last connection is
// closed, so nothing of it is in a log beside it.
var sqlite = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "dbtest")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "sluice.db")
	if _, err := migrate.Up(context.Background(), migrate.Target{SQLite: path}, migrate.Options{}); err != nil {
		return nil, err
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return nil, fmt.Errorf("%s-wal holds %d bytes after the migration", path, log.Size())
	}
	return os.ReadFile(path)
})

// files is a short digest of all files of a schema.
func files(schema fs.FS) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(schema, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(schema, path)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:8]), err
}
