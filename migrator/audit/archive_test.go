package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/env"
	"sluice/proxy/chain"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// What was moved is gone from the database, verifies alone, joined, and not at
// all with a byte changed; what stayed goes on.
func TestArchive(t *testing.T) {
	each(t, func(w *world) {
		dir := w.TempDir()
		first, second := filepath.Join(dir, "first.jsonl"), filepath.Join(dir, "second.jsonl")
		w.changes(40)
		kept := w.head()
		var before []chain.Row
		if err := w.store.Record(context.Background(), 0, func(r chain.Row) error { before = append(before, r); return nil }); err != nil {
			w.Fatal(err)
		}
		if done := w.archive(15, first); !strings.Contains(done, "moved 15 rows, 1 to 15") {
			w.Error(done)
		}
		if info, err := os.Stat(first); err != nil || info.Mode() != 0o600 {
			w.Errorf("%v %v", info, err)
		}
		w.archive(30, second)
		if done := w.archive(30, filepath.Join(dir, "none")); !strings.Contains(done, "nothing was moved") {
			w.Error(done)
		}
		v := w.verify(w.options())
		if !v.Whole || v.First != 31 || v.Last != 42 || v.Archived != 30 || len(v.Files) != 2 || v.Files[0] != "first.jsonl" {
			w.Errorf("%+v", v)
		}
		o := w.options(second, first)
		o.Anchors = []string{kept}
		if v = w.verify(o); !v.Whole || v.First != 1 || v.Last != 42 || v.Archived != 0 || v.Verified != 42 || v.Heads != 1 {
			w.Errorf("%+v", v)
		}
		o = w.options(second)
		if v = w.verify(o); !v.Whole || v.Archived != 15 || v.Verified != 27 {
			w.Errorf("%+v", v)
		}
		alone := w.options(first, second)
		alone.Store = nil
		if v = w.verify(alone); !v.Whole || v.Verified != 30 || v.First != 1 || v.Last != 30 {
			w.Errorf("%+v", v)
		}
		// To the letter.
		a, err := open(first)
		if err != nil {
			w.Fatal(err)
		}
		defer a.close()
		for i := range 15 {
			r, err := a.next()
			if err != nil || !bytes.Equal(chain.MAC([32]byte{}, nil, r), chain.MAC([32]byte{}, nil, &before[i])) {
				w.Fatalf("%+v is not %+v: %v", r, before[i], err)
			}
		}
		if _, err := a.next(); !errors.Is(err, io.EOF) {
			w.Error(err)
		}
	})
}

// Whatever is done to a file is found.
func TestTamperedArchive(t *testing.T) {
	each(t, func(w *world) {
		path := filepath.Join(w.TempDir(), "a.jsonl")
		w.changes(12)
		w.archive(10, path)
		good, err := os.ReadFile(path)
		if err != nil {
			w.Fatal(err)
		}
		lines := strings.SplitAfter(string(good), "\n")
		join := func(parts ...[]string) string {
			all := ""
			for _, p := range parts {
				all += strings.Join(p, "")
			}
			return all
		}
		tests := map[string]string{
			"a row removed":      join(lines[:4], lines[5:]),
			"two rows swapped":   join(lines[:4], lines[5:6], lines[4:5], lines[6:]),
			"a row twice":        join(lines[:4], lines[3:4], lines[4:]),
			"cut in a row":       string(good[:len(good)/2]),
			"the last line gone": join(lines[:11]),
			"no end of line":     string(good[:len(good)-1]),
			"something behind":   string(good) + "\n",
			"a blank put in":     strings.Replace(string(good), `"actor":`, `"actor": `, 1),
			"a field put in":     strings.Replace(string(good), `"actor":`, `"x":1,"actor":`, 1),
			"a code changed":     strings.Replace(string(good), `"chain_mac":"`, `"chain_mac":"00`, 1),
			"a text changed":     strings.Replace(string(good), `"token-3"`, `"token-4"`, 1),
		}
		step := max(len(good)/80, 1)
		for i := len(lines[0]); i < len(good); i += step {
			other := bytes.Clone(good)
			other[i] ^= 1
			tests[fmt.Sprint("bit at ", i)] = string(other)
		}
		for name, text := range tests {
			if text == string(good) {
				w.Fatalf("%s: nothing was changed", name)
			}
			write(w.T, path, text)
			for _, o := range []Options{w.options(path), {Ring: w.ring, Files: []string{path}, Log: w.options().Log}} {
				v, err := Verify(context.Background(), o)
				if err != nil || v.Whole {
					w.Errorf("%s: %+v %v", name, v, err)
				}
			}
		}
		for name, text := range map[string]string{"empty": "", "another file": "hello\n", "another format": strings.Replace(string(good), format, "other", 1)} {
			write(w.T, path, text)
			if _, err := Verify(context.Background(), w.options(path)); !errors.Is(err, ErrInput) {
				w.Errorf("%s: %v", name, err)
			}
		}
		// Nobody has the key.
		write(w.T, path, string(good))
		other, err := seal.New(env.Secret("another salt key of these tests"))
		if err != nil {
			w.Fatal(err)
		}
		v, err := Verify(context.Background(), Options{Ring: other, Files: []string{path}, Log: w.options().Log})
		if err != nil || v.Whole || v.Found != 0 || v.Unverified() != 10 || v.Verified != 0 {
			w.Errorf("%+v %v", v, err)
		}
	})
}

// A run that ended at any point has lost nothing, and the same command goes on.
func TestArchiveGoesOn(t *testing.T) {
	each(t, func(w *world) {
		ctx, dir := context.Background(), w.TempDir()
		w.changes(20)
		path := filepath.Join(dir, "a.jsonl")
		// Killed while it wrote.
		write(w.T, partial(path), `{"format":"sluice audit archive 1","first":1,"previous":""}`+"\n"+`{"numb`)
		// Killed between the file and the database.
		m := &move{o: w.options(), path: path}
		var err error
		if m.keys, err = m.o.keys(ctx); err != nil {
			w.Fatal(err)
		}
		if written, err := m.write(ctx, w.hour(11)); err != nil || !written {
			w.Fatal(written, err)
		}
		if v := w.verify(w.options()); !v.Whole || v.Verified != 20 {
			w.Errorf("%+v", v)
		}
		if v := w.verify(w.options(path)); !v.Whole { // not known to the database, and its rows are there
			w.Errorf("%+v", v)
		}
		if done := w.archive(3, path); !strings.Contains(done, "moved 10 rows, 1 to 10") {
			w.Error(done)
		}
		// Killed while the rows went.
		w.exec(`INSERT INTO sluice.changes (number, at, actor, action, object_type, object_id) SELECT 9, at, 'left', 'created', 'key', 'x' FROM sluice.changes WHERE number = 11`)
		if v := w.verify(w.options(path)); !v.Whole || v.Left != 1 || v.Verified != 21 {
			w.Errorf("%+v", v)
		}
		if done := w.archive(3, path); !strings.Contains(done, "moved to "+path+" before") {
			w.Error(done)
		}
		if v := w.verify(w.options(path)); !v.Whole || v.Left != 0 {
			w.Errorf("%+v", v)
		}
		if _, err := os.Stat(partial(path)); !os.IsNotExist(err) {
			w.Error(err)
		}
	})
}

func TestArchiveRefuses(t *testing.T) {
	each(t, func(w *world) {
		ctx, dir := context.Background(), w.TempDir()
		w.changes(20)
		path := filepath.Join(dir, "a.jsonl")
		refused := func(name string, is error, o Options, to string) {
			w.Helper()
			if done, err := Archive(ctx, o, w.hour(6), to); !errors.Is(err, is) {
				w.Errorf("%s: %q %v", name, done, err)
			}
		}
		write(w.T, path, "hello\n")
		refused("a file that is no archive", ErrInput, w.options(), path)
		refused("a folder that is not there", ErrInput, w.options(), filepath.Join(dir, "none", "a.jsonl"))
		if text, _ := os.ReadFile(path); string(text) != "hello\n" {
			w.Errorf("the file was written over: %s", text)
		}
		if err := os.Symlink(path, partial(filepath.Join(dir, "b.jsonl"))); err != nil {
			w.Fatal(err)
		}
		refused("a link in the way", ErrInput, w.options(), filepath.Join(dir, "b.jsonl"))

		busy, err := os.Create(partial(filepath.Join(dir, "c.jsonl")))
		if err != nil {
			w.Fatal(err)
		}
		defer busy.Close()
		if err := syscall.Flock(int(busy.Fd()), syscall.LOCK_EX); err != nil {
			w.Fatal(err)
		}
		refused("two at once", ErrBusy, w.options(), filepath.Join(dir, "c.jsonl"))

		good := filepath.Join(dir, "good.jsonl")
		w.archive(5, good)
		next := filepath.Join(dir, "next.jsonl")
		w.archive(10, next)
		if done, err := Archive(ctx, w.options(), w.hour(20), good); err != nil || !strings.Contains(done, "nothing was left") {
			w.Errorf("an older archive: %q %v", done, err)
		}
		w.exec(`UPDATE sluice.changes SET actor = 'x' WHERE number = 18`)
		refused("a record with a finding", ErrTampered, w.options(), filepath.Join(dir, "d.jsonl"))
		if _, err := os.Stat(filepath.Join(dir, "d.jsonl")); !os.IsNotExist(err) {
			w.Error(err)
		}
	})
}

// What the database knows of an archive cannot be changed either.
func TestTamperedStretch(t *testing.T) {
	each(t, func(w *world) {
		path := filepath.Join(w.TempDir(), "a.jsonl")
		w.changes(20)
		w.archive(10, path)
		w.exec("CREATE TABLE sluice.saved AS SELECT * FROM sluice.change_stretches")
		for _, s := range []string{
			"UPDATE sluice.change_stretches SET file_name = 'x'", "UPDATE sluice.change_stretches SET last_number = 9",
			"UPDATE sluice.change_stretches SET file_digest = mac", "DELETE FROM sluice.change_stretches",
		} {
			w.exec(s)
			for _, o := range []Options{w.options(), w.options(path)} {
				if v, err := Verify(context.Background(), o); err != nil || v.Whole {
					w.Errorf("%s: %+v %v", s, v, err)
				}
			}
			w.exec("DELETE FROM sluice.change_stretches", "INSERT INTO sluice.change_stretches SELECT * FROM sluice.saved")
		}
		if v := w.verify(w.options(path)); !v.Whole {
			w.Errorf("%+v", v)
		}
	})
}

// An archive of another record is an error of whoever gave it, and no finding.
func TestStrangeArchive(t *testing.T) {
	each(t, func(w *world) {
		other := newWorld(w.T, "", w.sqlite())
		other.now = other.now.Add(time.Minute)
		other.changes(9)
		path := filepath.Join(w.TempDir(), "other.jsonl")
		other.archive(5, path)
		w.changes(20)
		if _, err := Verify(context.Background(), w.options(path)); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "no archive of this record") {
			w.Error(err)
		}
	})
}

// A change that cannot be recorded does not happen.
func TestNoRecordNoChange(t *testing.T) {
	each(t, func(w *world) {
		ctx := context.Background()
		w.changes(3)
		refuse, allow := "CREATE TRIGGER full_disk BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'no room'); END", "DROP TRIGGER full_disk"
		if w.url != "" {
			refuse, allow = "ALTER TABLE sluice.changes ADD CONSTRAINT full_disk CHECK (false) NOT VALID", "ALTER TABLE sluice.changes DROP CONSTRAINT full_disk"
		}
		w.exec(refuse)
		err := w.store.Change(ctx, store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Key{Token: "unrecorded"}) })
		if err == nil {
			w.Error("the change was made")
		}
		if _, err := store.Get[identity.Key](ctx, w.store, "unrecorded"); !errors.Is(err, store.ErrNotFound) {
			w.Error(err)
		}
		w.exec(allow)
		w.changes(1)
		if v := w.verify(w.options()); !v.Whole || v.Verified != 4 {
			w.Errorf("%+v", v)
		}
	})
}
