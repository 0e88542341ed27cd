package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // tampers with the file

	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/chain"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// salt is the secret of a test's ring.
const salt = env.Secret("a salt key of these tests, long enough")

// world is a record on a real database, and somebody who can write to it past
// Sluice.
type world struct {
	*testing.T
	store *store.Store
	ring  *seal.Ring
	now   time.Time // of the next change
	url   string    // of PostgreSQL; "": SQLite
	path  string
}

// each runs a test on an empty, migrated database of either kind.
func each(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(newWorld(t, dbtest.PostgresURL(t), ""))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(newWorld(t, "", dbtest.SQLite(t)))
	})
}

func newWorld(t *testing.T, url, path string) *world {
	t.Helper()
	w := &world{T: t, url: url, path: path, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var err error
	if w.ring, err = seal.New(salt); err != nil {
		t.Fatal(err)
	}
	c := store.Config{SQLite: path, Host: "h1", Now: func() time.Time { return w.now }, Chain: func() (string, [32]byte, error) {
		return w.ring.ID(), w.ring.Key(chain.Purpose), nil
	}}
	if url != "" {
		if c.Postgres, err = postgres.ParseURL(url); err != nil {
			t.Fatal(err)
		}
	}
	if w.store, err = store.Open(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Close)
	return w
}

// odd are texts that are easily spoilt on the way.
var odd = []string{"", "plain", "ünï", `"quoted" \ back`, "line\nand\rline\ttab", "<html>&amp;", "\u2028\u2029", "=1+1", "日本語", "'; DROP TABLE changes; --"}

// changes makes so many changes, an hour apart.
func (w *world) changes(n int) {
	w.Helper()
	for range n {
		w.now = w.now.Add(time.Hour)
		head, err := w.store.Head(context.Background())
		if err != nil {
			w.Fatal(err)
		}
		text := odd[int(head)%len(odd)]
		meta, _ := json.Marshal(map[string]any{"note": text, "n": head})
		by := store.Actor{User: "u" + text, Key: "k", Claimed: text, Source: "192.0.2.1", RequestID: fmt.Sprint("r", head), Reason: text}
		err = w.store.Change(context.Background(), by, func(tx *store.Tx) error {
			var fields identity.Fields
			if err := json.Unmarshal(meta, &fields); err != nil {
				return err
			}
			return tx.Insert(&identity.Key{Token: fmt.Sprint("token-", head+1), Alias: text, Metadata: fields})
		})
		if err != nil {
			w.Fatal(err)
		}
	}
}

// exec runs statements of PostgreSQL past Sluice, with the triggers off.
func (w *world) exec(statements ...string) {
	w.Helper()
	if w.url != "" {
		for _, s := range statements {
			pgtest.Exec(w.T, w.url, "BEGIN; SET LOCAL session_replication_role = replica; "+s+"; COMMIT")
		}
		return
	}
	db, err := sql.Open("sqlite", "file:"+w.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	for _, trigger := range []string{"changes_keep_rows", "changes_keep", "change_stretches_keep_rows", "change_stretches_keep"} {
		statements = append([]string{"DROP TRIGGER IF EXISTS " + trigger}, statements...)
	}
	for _, s := range statements {
		if _, err := db.Exec(strings.ReplaceAll(s, "sluice.", "")); err != nil {
			w.Fatalf("%s: %v", s, err)
		}
	}
}

// options are those of a command with this world's ring.
func (w *world) options(files ...string) Options {
	return Options{Store: w.store, Ring: w.ring, Files: files, Log: slog.New(slog.DiscardHandler)}
}

// verify verifies, and fails where that is not possible.
func (w *world) verify(o Options) *Verdict {
	w.Helper()
	v, err := Verify(context.Background(), o)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// archive moves everything older than n hours of changes, and fails otherwise.
func (w *world) archive(rows int, path string) string {
	w.Helper()
	done, err := Archive(context.Background(), w.options(), w.hour(rows+1), path)
	if err != nil {
		w.Fatal(err)
	}
	return done
}

// hour is the time of a change by its number.
func (w *world) hour(number int) time.Time {
	return time.Date(2026, 1, 1, number, 0, 0, 0, time.UTC)
}

// head keeps the head of the chain as a host does, and returns the file.
func (w *world) head() string {
	w.Helper()
	h, err := w.store.ChainHead(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	path := filepath.Join(w.TempDir(), "heads.jsonl")
	write(w.T, path, fmt.Sprintf(`{"number":%d,"mac":"%x","key":%q,"time":"2026-01-01T00:00:00.000001Z"}`+"\n", h.Chained, h.MAC, h.Key))
	return path
}

// sqlite is the path of another empty database.
func (w *world) sqlite() string { return dbtest.SQLite(w.T) }
