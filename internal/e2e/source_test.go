//go:build e2e

package e2e

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"

	"sluice/internal/postgres/pgtest"
)

// litellm is the database that a LiteLLM proxy left behind.
type litellm struct {
	t    *testing.T
	url  string
	salt string // what its secrets are encrypted with

	texts  []string // statements that seed it
	filled map[string]bool
}

//go:embed source_test.go seed_test.go
var seedFiles embed.FS

// seeded makes a database of a version with rows of every kind. Its models call
// the provider at address.
func seeded(t *testing.T, version, address string) *litellm {
	t.Helper()
	l := &litellm{t: t, salt: oldSalt, url: published(t, version), filled: map[string]bool{}}
	l.seed(version, address)
	if failed, err := pgtest.RunAll(t.Context(), l.url, l.texts); err != nil {
		t.Fatalf("%.300s: %v", l.texts[failed], err)
	}
	return l
}

// seededCopy is a copy of one seeded database whose provider nobody asks.
func seededCopy(t *testing.T) *litellm {
	t.Helper()
	sum, p := sha256.New(), publishedSchema(t, schemaPinned)
	for _, name := range []string{"source_test.go", "seed_test.go"} {
		text, err := seedFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = sum.Write(text)
	}
	l := &litellm{t: t, salt: oldSalt, filled: map[string]bool{}}
	l.seed(schemaPinned, "http://127.0.0.1:9")
	l.url = pgtest.Copy(t, "litellm_seeded_"+p.digest+"_"+hex.EncodeToString(sum.Sum(nil)[:8]), func(databaseURL string) error {
		if err := p.apply(databaseURL); err != nil {
			return err
		}
		failed, err := pgtest.RunAll(context.Background(), databaseURL, l.texts)
		if err != nil {
			return fmt.Errorf("%.300s: %w", l.texts[failed], err)
		}
		return nil
	})
	return l
}

// values are the columns of one row. A string is a text, nil is NULL, []string a
// text[], obj and []any are documents, time.Time a timestamp without zone, verbatim is
// put as it stands.
type (
	values   map[string]any
	verbatim string
)

// The three forms in which LiteLLM has written secrets: NaCl's secretbox, AES-GCM
// under the digest of the salt key, and AES-GCM under a key derived from it.

func (l *litellm) box(plain string) string {
	var nonce [24]byte
	_, _ = rand.Read(nonce[:])
	key := sha256.Sum256([]byte(l.salt))
	return base64.URLEncoding.EncodeToString(secretbox.Seal(nonce[:], []byte(plain), &nonce, &key))
}

// open is what LiteLLM makes of a text in the first form.
func (l *litellm) open(sealed string) string {
	l.t.Helper()
	b, err := base64.URLEncoding.DecodeString(sealed)
	if err != nil || len(b) < 40 {
		return ""
	}
	key := sha256.Sum256([]byte(l.salt))
	plain, _ := secretbox.Open(nil, b[24:], (*[24]byte)(b), &key)
	return string(plain)
}

func (l *litellm) gcm(plain string) string {
	key := sha256.Sum256([]byte(l.salt))
	return "v2:gcm:" + gcmText(l.t, key[:], plain)
}

func (l *litellm) gcmDerived(plain string) string {
	key, err := hkdf.Key(sha256.New, []byte(l.salt), nil, "litellm-at-rest-v3", 32)
	if err != nil {
		l.t.Fatal(err)
	}
	return "v3:gcm:" + gcmText(l.t, key, plain)
}

func gcmText(t *testing.T, key []byte, plain string) string {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return base64.URLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(plain), nil))
}

// hashed is how LiteLLM stores a key.
func hashed(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// insert is the statement that puts rows into a table. Nothing refers to
// anything while it runs, so that rows may come in any order, as they do in old
// databases whose references were never checked.
func insert(table string, rows ...values) string {
	var b strings.Builder
	b.WriteString("SET session_replication_role = replica;\n")
	for _, r := range rows {
		names := slices.Sorted(maps.Keys(r))
		texts := make([]string, len(names))
		for i, name := range names {
			texts[i] = literal(r[name])
			names[i] = `"` + name + `"`
		}
		fmt.Fprintf(&b, "INSERT INTO %q (%s) VALUES (%s);\n", table, strings.Join(names, ", "), strings.Join(texts, ", "))
	}
	return b.String()
}

func literal(v any) string {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
	switch v := v.(type) {
	case nil:
		return "NULL"
	case verbatim:
		return string(v)
	case string:
		return quote(v)
	case bool, int, int64:
		return fmt.Sprint(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return quote(strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+")) + "::float8"
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []string:
		texts := make([]string, len(v))
		for i, text := range v {
			texts[i] = quote(text)
		}
		return "ARRAY[" + strings.Join(texts, ", ") + "]::text[]"
	case time.Time:
		return quote(v.UTC().Format("2006-01-02 15:04:05.000"))
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return err.Error() // PostgreSQL refuses it
		}
		return quote(string(b)) + "::jsonb"
	}
}

// put adds rows at once.
func (l *litellm) put(table string, rows ...values) {
	l.t.Helper()
	pgtest.Exec(l.t, l.url, insert(table, rows...))
}

// later remembers rows that seed adds.
func (l *litellm) later(table string, rows ...values) {
	l.texts = append(l.texts, insert(table, rows...))
	l.filled[table] = true
}

// columns describe the tables of a version: name of table and column, type, name
// of the type, and whether a row must have it.
var columns sync.Map // version → [][]string

// fill remembers one row for every table that has none, so that no table goes
// unseen: a text is the name of its column, a document is odd.
func (l *litellm) fill(version string) {
	l.t.Helper()
	known, ok := columns.Load(version)
	if !ok {
		known = pgtest.Rows(l.t, published(l.t, version), `SELECT table_name, column_name, data_type, udt_name, is_nullable = 'NO' AND column_default IS NULL
			FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
			WHERE table_schema = 'public' AND table_name LIKE 'LiteLLM%' AND table_type = 'BASE TABLE'`)
		columns.Store(version, known)
	}
	rows := map[string]values{}
	for _, c := range known.([][]string) {
		table, column, kind := c[0], c[1], c[2]
		if rows[table] == nil {
			rows[table] = values{}
		}
		if c[4] != "t" {
			continue
		}
		switch kind {
		case "jsonb", "json":
			rows[table][column] = obj{"odd": []any{nil, 1e-9, "käse 鍵 \u2028 \\ \" '"}}
		case "integer", "bigint", "double precision", "numeric", "smallint":
			rows[table][column] = 1
		case "boolean":
			rows[table][column] = true
		case "ARRAY":
			rows[table][column] = []string{"a", "b,c"}
		case "bytea":
			rows[table][column] = verbatim(`'\x00ff'`)
		case "USER-DEFINED":
			rows[table][column] = verbatim(`(enum_range(NULL::"` + c[3] + `"))[1]`)
		case "text", "character varying":
			rows[table][column] = column + " of " + table
		default: // times and dates
			rows[table][column] = verbatim("'2025-02-03 04:05:06'")
		}
	}
	for _, table := range slices.Sorted(maps.Keys(rows)) {
		switch {
		case l.filled[table]:
		case len(rows[table]) == 0:
			l.texts = append(l.texts, fmt.Sprintf("INSERT INTO %q DEFAULT VALUES", table))
		default:
			l.later(table, rows[table])
		}
	}
}

// print is what identifies everything in LiteLLM's tables, one line a table: its
// columns, and each row with its place and the transaction that wrote it, so that
// a row that was written with the values it had is seen, too.
func (l *litellm) print() map[string]string {
	l.t.Helper()
	names := pgtest.Rows(l.t, l.url, `SELECT c.relname, md5(string_agg(a.attname || format_type(a.atttypid, a.atttypmod) || a.attnotnull, ',' ORDER BY a.attnum))
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
		WHERE n.nspname = 'public' AND c.relkind = 'r' GROUP BY 1`)
	var asked []string
	shapes := map[string]string{}
	for _, row := range names {
		shapes[row[0]] = row[1]
		asked = append(asked, fmt.Sprintf(`SELECT '%s', count(*), sum(hashtextextended(concat_ws('|', t.ctid, t.xmin, t::text), 0)) FROM %q AS t`, row[0], row[0]))
	}
	out := map[string]string{}
	for _, row := range pgtest.Rows(l.t, l.url, strings.Join(asked, " UNION ALL ")) {
		out[row[0]] = shapes[row[0]] + " " + row[1] + " " + row[2]
	}
	return out
}

// unchanged compares with an earlier print.
func (l *litellm) unchanged(when string, before map[string]string) {
	l.t.Helper()
	after := l.print()
	for table, was := range before {
		if after[table] != was {
			l.t.Errorf("%s: table %s is not what it was: %q, was %q", when, table, after[table], was)
		}
	}
	if len(after) != len(before) {
		l.t.Errorf("%s: %d tables in LiteLLM's schema, %d before", when, len(after), len(before))
	}
}

// prisma is the address of a database as LiteLLM's documents write it.
func prisma(databaseURL string) string {
	return strings.NewReplacer("postgres://", "postgresql://", "?sslmode=disable", "?connection_limit=10&pool_timeout=60&schema=public&sslmode=disable").Replace(databaseURL)
}
