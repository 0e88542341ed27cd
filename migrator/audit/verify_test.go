package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sluice/internal/env"
	"sluice/proxy/chain"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhole(t *testing.T) {
	each(t, func(w *world) {
		if v := w.verify(w.options()); !v.Whole || v.Verified != 0 {
			w.Errorf("an empty record: %+v", v)
		}
		w.changes(30)
		kept := w.head()
		w.changes(10)
		o := w.options()
		o.Anchors = []string{kept}
		v := w.verify(o)
		if !v.Whole || v.Verified != 40 || v.First != 1 || v.Last != 40 || v.Keys[w.ring.ID()] != 40 || v.Heads != 1 || v.NewestHead != 30 {
			w.Errorf("%+v", v)
		}
		if text := v.String(); !strings.Contains(text, "40 rows of 1 to 40") || !strings.Contains(text, "verdict    whole") {
			w.Error(text)
		}
	})
}

// Each thing that somebody can do to the record who writes to the database and
// has no key is found, and named.
func TestTampering(t *testing.T) {
	const swap = `UPDATE sluice.changes SET number = -1 WHERE number = 12; UPDATE sluice.changes SET number = 12 WHERE number = 17;
		UPDATE sluice.changes SET number = 17 WHERE number = -1`
	const columns = `actor, actor_key, claimed_actor, action, object_type, object_id, before_value, after_value, source, request_id, host, reason, chain_key, chain_mac`
	tests := map[string]struct {
		sql  string
		kind string
		row  int64
	}{
		"the first row":       {`UPDATE sluice.changes SET actor = 'x' WHERE number = 1`, "changed", 1},
		"the last row":        {`UPDATE sluice.changes SET actor = 'x' WHERE number = 30`, "changed", 30},
		"removed":             {`DELETE FROM sluice.changes WHERE number = 12`, "deleted", 12},
		"several removed":     {`DELETE FROM sluice.changes WHERE number BETWEEN 5 AND 9`, "deleted", 5},
		"the first removed":   {`DELETE FROM sluice.changes WHERE number < 4`, "deleted", 1},
		"removed and closed":  {`DELETE FROM sluice.changes WHERE number = 12; UPDATE sluice.changes SET number = -number + 1 WHERE number > 12; UPDATE sluice.changes SET number = -number WHERE number < 0; UPDATE sluice.change_head SET number = 29, chained = 29`, "deleted", 12},
		"places changed":      {swap, "reordered", 12},
		"the end cut":         {`DELETE FROM sluice.changes WHERE number > 25`, "truncated", 26},
		"the end cut, mended": {`DELETE FROM sluice.changes WHERE number > 25; UPDATE sluice.change_head SET number = 25, chained = 25, chain_mac = (SELECT chain_mac FROM sluice.changes WHERE number = 25)`, "truncated", 26},
		"everything gone":     {`DELETE FROM sluice.changes; UPDATE sluice.change_head SET number = 0, chained = 0, chain_mac = NULL`, "truncated", 1},
		"put at the end":      {`INSERT INTO sluice.changes (number, at, ` + columns + `) SELECT 31, at, ` + columns + ` FROM sluice.changes WHERE number = 30; UPDATE sluice.change_head SET number = 31, chained = 31`, "changed", 31},
		"put in the middle":   {`UPDATE sluice.changes SET number = -number - 1 WHERE number >= 12; UPDATE sluice.changes SET number = -number WHERE number < 0; INSERT INTO sluice.changes (number, at, ` + columns + `) SELECT 12, at, ` + columns + ` FROM sluice.changes WHERE number = 5; UPDATE sluice.change_head SET number = 31, chained = 31`, "inserted", 12},
		"code removed":        {`UPDATE sluice.changes SET chain_mac = NULL, chain_key = '' WHERE number = 12`, "changed", 12},
		"codes changed":       {`UPDATE sluice.changes SET chain_mac = (SELECT chain_mac FROM sluice.changes WHERE number = 11) WHERE number = 12`, "changed", 12},
		"codes removed":       {`UPDATE sluice.changes SET chain_mac = NULL, chain_key = '' WHERE number > 20; UPDATE sluice.change_head SET chained = 20, chain_mac = (SELECT chain_mac FROM sluice.changes WHERE number = 20)`, "changed", 28},
	}
	for _, column := range strings.Split("actor, actor_key, claimed_actor, action, object_type, object_id, source, request_id, host, reason", ", ") {
		tests["column "+column] = struct {
			sql  string
			kind string
			row  int64
		}{`UPDATE sluice.changes SET ` + column + ` = 'forged' WHERE number = 12`, "changed", 12}
	}
	for name, statement := range map[string]string{
		"before_value": `before_value = '{}'`, "after_value": `after_value = '{}'`, "no after_value": `after_value = NULL`,
		"at": `at = (SELECT at FROM sluice.changes WHERE number = 11)`,
	} {
		tests["column "+name] = struct {
			sql  string
			kind string
			row  int64
		}{`UPDATE sluice.changes SET ` + statement + ` WHERE number = 12`, "changed", 12}
	}
	each(t, func(w *world) {
		w.changes(28)
		kept := w.head()
		w.changes(2)
		save := []string{"CREATE TABLE sluice.saved AS SELECT * FROM sluice.changes", "CREATE TABLE sluice.saved_head AS SELECT * FROM sluice.change_head"}
		w.exec(save...)
		for name, tt := range tests {
			w.exec(strings.Split(tt.sql, ";")...)
			o := w.options()
			o.Anchors = []string{kept}
			v := w.verify(o)
			if v.Whole || v.Found == 0 || v.Findings[0].Kind != tt.kind || v.Findings[0].First != tt.row {
				w.Errorf("%s: %s", name, v)
			}
			w.exec("DELETE FROM sluice.changes", "INSERT INTO sluice.changes SELECT * FROM sluice.saved",
				"DELETE FROM sluice.change_head", "INSERT INTO sluice.change_head SELECT * FROM sluice.saved_head")
			if v := w.verify(o); !v.Whole {
				w.Fatalf("after %s: %s", name, v)
			}
		}
	})
}

// Rows whose key nobody has are not taken for verified, and those of a key that
// is gone are verified with what the database keeps of it.
func TestKeysThatAreGone(t *testing.T) {
	each(t, func(w *world) {
		ctx := context.Background()
		w.changes(5)
		old := w.ring
		newer, err := seal.NewRing(seal.Entry{ID: "2026", Secret: env.Secret("another secret of these tests")})
		if err != nil {
			w.Fatal(err)
		}
		both, err := seal.NewRing(seal.Entry{ID: "2026", Secret: env.Secret("another secret of these tests")}, seal.Entry{Secret: salt})
		if err != nil {
			w.Fatal(err)
		}
		w.ring = both
		w.changes(5)
		o := w.options()
		o.Ring = newer
		v := w.verify(o)
		if v.Whole || v.Found != 0 || v.UnknownKeys[old.ID()] != 5 || v.Verified != 5 {
			w.Errorf("%+v", v)
		}
		o.Ring = old
		if v = w.verify(o); v.Whole || v.UnknownKeys["2026"] != 5 {
			w.Errorf("%+v", v)
		}
		kept, err := both.KeepAudit(old.ID(), old.Key(chain.Purpose))
		if err != nil {
			w.Fatal(err)
		}
		check := func(r *seal.Ring) string {
			text, err := r.Check()
			if err != nil {
				w.Fatal(err)
			}
			return text
		}
		err = w.store.Change(ctx, store.Actor{}, func(tx *store.Tx) error {
			if err := tx.Promote(store.SealingKey{ID: old.ID(), Check: check(old)}, nil); err != nil {
				return err
			}
			return tx.Promote(store.SealingKey{ID: "2026", Check: check(both)}, []store.SealingKey{{ID: old.ID(), AuditKey: kept, SealedWith: "2026"}})
		})
		if err != nil {
			w.Fatal(err)
		}
		o.Ring = newer
		if v = w.verify(o); !v.Whole || v.Keys["2026"] != 7 || v.Keys[old.ID()] != 5 {
			w.Errorf("%+v", v)
		}
		// The right name with another secret is no tampering.
		if o.Ring, err = seal.NewRing(seal.Entry{ID: "2026", Secret: env.Secret("a third secret of these tests")}); err != nil {
			w.Fatal(err)
		}
		if _, err := Verify(ctx, o); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "key 2026 of the ring is not the one") {
			w.Error(err)
		}
		o.Ring = newer
		// A row that names a key which nobody has is not whole either.
		w.exec(`UPDATE sluice.changes SET chain_key = 'nobody' WHERE number = 3`)
		if v = w.verify(o); v.Whole {
			w.Errorf("%+v", v)
		}
	})
}

// Rows of a release that did not chain are said, and no finding.
func TestRowsWithoutCode(t *testing.T) {
	each(t, func(w *world) {
		w.changes(5)
		w.exec(`INSERT INTO sluice.changes (number, at, actor, action, object_type, object_id) SELECT 6, at, 'old', 'created', 'key', 'x' FROM sluice.changes WHERE number = 5`,
			`UPDATE sluice.change_head SET number = 6`)
		v := w.verify(w.options())
		if !v.Whole || v.Unchained != 1 || v.Verified != 5 || !strings.Contains(v.String(), "no code    1 row") {
			w.Errorf("%s", v)
		}
	})
}

func TestHeadsThatAreNone(t *testing.T) {
	each(t, func(w *world) {
		w.changes(3)
		good, err := os.ReadFile(w.head())
		if err != nil {
			w.Fatal(err)
		}
		for name, tt := range map[string]struct {
			text string
			ok   bool
		}{
			"cut off by a crash": {string(good) + `{"number":17,"mac":"00`, true},
			"twice":              {string(good) + string(good) + "\n", true},
			"not JSON":           {"hello\n" + string(good), false},
			"no number":          {`{"mac":"00"}` + "\n", false},
			"no code":            {`{"number":3,"mac":""}` + "\n", false},
			"too long":           {strings.Repeat("x", 10_000) + "\n", false},
		} {
			path := filepath.Join(w.TempDir(), "heads")
			write(w.T, path, tt.text)
			o := w.options()
			o.Anchors = []string{path}
			v, err := Verify(context.Background(), o)
			if tt.ok && (err != nil || !v.Whole || v.Heads != 1) || !tt.ok && !errors.Is(err, ErrInput) {
				w.Errorf("%s: %+v %v", name, v, err)
			}
		}
		o := w.options()
		o.Anchors = []string{"/nowhere/heads"}
		if _, err := Verify(context.Background(), o); !errors.Is(err, ErrInput) || !strings.Contains(fmt.Sprint(err), "/nowhere/heads") {
			w.Error(err)
		}
	})
}

// A record that is written to and archived meanwhile has no finding.
func TestVerifyBesideWork(t *testing.T) {
	each(t, func(w *world) {
		w.changes(20)
		dir, stop := w.TempDir(), make(chan struct{})
		until := func(step func(n int)) func() {
			return func() {
				for n := 1; ; n++ {
					select {
					case <-stop:
						return
					default:
						step(n)
					}
				}
			}
		}
		writer, mover := newWorld(w.T, w.url, w.path), newWorld(w.T, w.url, w.path)
		writer.now, mover.now = w.now, w.hour(100_000)
		var work sync.WaitGroup
		defer work.Wait()
		defer close(stop)
		work.Go(until(func(int) { writer.changes(1) }))
		work.Go(until(func(n int) {
			if _, err := Archive(context.Background(), mover.options(), w.hour(10*n), filepath.Join(dir, fmt.Sprint(n))); err != nil {
				t.Error(err)
			}
		}))
		for range 10 {
			o := w.options()
			o.Anchors = []string{w.head()}
			if v, err := Verify(context.Background(), o); !errors.Is(err, ErrBusy) && (err != nil || !v.Whole) {
				w.Fatalf("%v %v", v, err)
			}
		}
	})
}
