//go:build e2e

package e2e

import (
	"archive/zip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// LiteLLM publishes the migrations of its database as the PyPI package
// litellm-proxy-extras. The pinned version is the one whose schema the product
// was written to: 213 migrations, 97 tables. The newest one tells early what the
// next release changes.
const (
	schemaPackage    = "litellm-proxy-extras"
	schemaPinned     = "0.4.108"
	schemaDigest     = "e0e62cebf6ac3789236319f46a326e80904951baac28c8b58dadcf088643d3e7"
	schemaTables     = 97
	schemaMigrations = 213
	schemaNewest     = "" // whatever the index says
)

// prismaHistory is the table in which Prisma remembers what it has applied.
const prismaHistory = `CREATE TABLE "_prisma_migrations" (
	"id" VARCHAR(36) PRIMARY KEY NOT NULL, "checksum" VARCHAR(64) NOT NULL, "finished_at" TIMESTAMPTZ,
	"migration_name" VARCHAR(255) NOT NULL, "logs" TEXT, "rolled_back_at" TIMESTAMPTZ,
	"started_at" TIMESTAMPTZ NOT NULL DEFAULT now(), "applied_steps_count" INTEGER NOT NULL DEFAULT 0)`

// migration is one folder of the package.
type migration struct{ name, text string }

// publication is a version of the package.
type publication struct {
	version    string
	digest     string // of its migrations, 16 hex digits
	migrations []migration
}

// publications are what this test process has read.
var publications sync.Map // version → func() (*publication, error)

// publishedSchema reads a version of the package. Its wheel is fetched by pip and
// kept in .run/pypi; the newest one is asked for once in a test process.
func publishedSchema(t *testing.T, version string) *publication {
	t.Helper()
	read, _ := publications.LoadOrStore(version, sync.OnceValues(func() (*publication, error) { return readWheel(version) }))
	p, err := read.(func() (*publication, error))()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func readWheel(version string) (*publication, error) {
	file, err := wheel(version)
	if err != nil {
		return nil, err
	}
	archive, err := zip.OpenReader(file)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	defer archive.Close()
	p := &publication{version: strings.Split(filepath.Base(file), "-")[1]}
	sum := sha256.New()
	for _, f := range archive.File {
		folder, base := path.Split(f.Name)
		if base != "migration.sql" {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Name, err)
		}
		p.migrations = append(p.migrations, migration{path.Base(folder), string(text)})
	}
	slices.SortFunc(p.migrations, func(a, b migration) int { return strings.Compare(a.name, b.name) })
	for _, m := range p.migrations {
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", m.name, len(m.text), m.text)
	}
	p.digest = hex.EncodeToString(sum.Sum(nil)[:8])
	if len(p.migrations) < schemaMigrations {
		return nil, fmt.Errorf("%s holds %d migrations, want %d at least", file, len(p.migrations), schemaMigrations)
	}
	return p, nil
}

// wheel is the file of a version, fetched where it is not there.
func wheel(version string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cache := filepath.Join(root, ".run", "pypi")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	want := schemaPackage
	if version != schemaNewest {
		want = schemaPackage + "==" + version + " --hash=sha256:" + schemaDigest
		if found, _ := filepath.Glob(filepath.Join(cache, "litellm_proxy_extras-"+version+"-*.whl")); len(found) == 1 {
			return found[0], nil
		}
	}
	// A folder of its own: the newest is what is found in it.
	dir, err := os.MkdirTemp(cache, "fetch")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(want+"\n"), 0o644); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
		"--no-deps", "--only-binary", ":all:", "--dest", dir, "--requirement", list)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch %s from the package index: %w: %s", want, err, out)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.whl"))
	if len(found) != 1 {
		return "", fmt.Errorf("pip left %d wheels of %s", len(found), want)
	}
	kept := filepath.Join(cache, filepath.Base(found[0]))
	return kept, os.Rename(found[0], kept)
}

// apply brings an empty database to a version as `prisma migrate deploy` does:
// each migration is one message, and a row of the history.
func (p *publication) apply(databaseURL string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	texts := []string{prismaHistory}
	for _, m := range p.migrations {
		var id [16]byte
		_, _ = rand.Read(id[:])
		sum := sha256.Sum256([]byte(m.text))
		texts = append(texts, m.text, fmt.Sprintf(`INSERT INTO "_prisma_migrations" (id, checksum, finished_at, migration_name, applied_steps_count)
			VALUES ('%x-%x-%x-%x-%x', '%x', now(), '%s', 1)`, id[:4], id[4:6], id[6:8], id[8:10], id[10:], sum, strings.ReplaceAll(m.name, "'", "''")))
	}
	failed, err := pgtest.RunAll(ctx, databaseURL, texts)
	if err != nil && failed > 0 {
		return fmt.Errorf("migration %s: %w", p.migrations[(failed-1)/2].name, err)
	}
	return err
}

// published makes a database with the schema of a version and nothing in it.
func published(t *testing.T, version string) string {
	t.Helper()
	p := publishedSchema(t, version)
	return pgtest.Copy(t, "litellm_template_"+p.digest, p.apply)
}

// columnsOf are the columns of LiteLLM's tables: table → column → type.
func columnsOf(t *testing.T, databaseURL string) map[string]map[string]string {
	t.Helper()
	tables := map[string]map[string]string{}
	for _, row := range pgtest.Rows(t, databaseURL, `SELECT table_name, column_name, data_type FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name LIKE 'LiteLLM%'`) {
		if tables[row[0]] == nil {
			tables[row[0]] = map[string]string{}
		}
		tables[row[0]][row[1]] = row[2]
	}
	return tables
}

// TestPublishedSchema: the migrations apply, in both versions, and the pinned
// one is the schema that the product knows.
func TestPublishedSchema(t *testing.T) {
	for _, version := range []string{schemaPinned, schemaNewest} {
		began := time.Now()
		url := published(t, version)
		p := publishedSchema(t, version)
		tables := columnsOf(t, url)
		delete(tables, "LiteLLM_VerificationTokenView")
		t.Logf("%s %s: %d migrations, %d tables, made in %.1f s", schemaPackage, p.version, len(p.migrations), len(tables), time.Since(began).Seconds())
		if version == schemaPinned && (len(p.migrations) != schemaMigrations || len(tables) != schemaTables) {
			t.Errorf("%d migrations and %d tables, want %d and %d", len(p.migrations), len(tables), schemaMigrations, schemaTables)
		}
		if len(tables) < schemaTables {
			t.Errorf("tables: %v", slices.Sorted(maps.Keys(tables)))
		}
		if n := pgtest.Number(t, url, `SELECT count(*) FROM "_prisma_migrations" WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL`); n != len(p.migrations) {
			t.Errorf("%d rows of history", n)
		}
	}
}
