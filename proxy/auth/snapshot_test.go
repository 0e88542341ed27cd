package auth

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/identity"
)

var sealKey = [32]byte{1, 2, 3}

func openSnapshot(t testing.TB, path string, keys ...[32]byte) (*Snapshot, *bytes.Buffer) {
	t.Helper()
	var said bytes.Buffer
	s, err := OpenSnapshot(path, keys, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, &said
}

// withSnapshot is a rig of a process of its own on the same host.
func withSnapshot(t testing.TB, src *source, path string) *rig {
	t.Helper()
	s, _ := openSnapshot(t, path, sealKey)
	return newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Snapshot = s })
}

// A worker that starts while the database is away knows the keys that were in
// use, as they were.
func TestStartDuringAnOutage(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	src := newSource()
	src.data.Organizations = []*identity.Organization{{ID: "o", Alias: "acme", Models: []string{"mock"}}}
	src.data.Teams = []*identity.Team{{ID: "t", Alias: "eng", OrganizationID: "o"}}
	src.data.Users = []*identity.User{{ID: "u", Role: "internal_user", Email: "u@example.org"}}
	src.data.Members = []*identity.Member{{TeamID: "t", UserID: "u", BudgetID: "b"}}
	src.data.Budgets = []*identity.Budget{{ID: "b", AllowedModels: []string{"mock"}}}
	src.key("sk-of-a-team", func(k *identity.Key) { k.TeamID, k.UserID, k.Alias = "t", "u", "mine" })
	src.key("sk-blocked-before", func(k *identity.Key) { k.Blocked = true })
	gone := src.key("sk-deleted-before", nil)
	changed := src.key("sk-changed-before", nil)
	active := src.key("sk-regenerated", nil)
	src.data.Retired = []*identity.RetiredKey{{Token: digest("sk-retired"), Active: active.Token, RevokeAt: *at(time.Hour)}}

	first := withSnapshot(t, src, path)
	first.good("sk-of-a-team")
	first.good("sk-deleted-before")
	first.good("sk-changed-before")
	first.good("sk-retired")
	first.refused("sk-blocked-before", 401, "auth_error")
	src.change(func(d *identity.Resolved) {
		d.Keys = []*identity.Key{d.Keys[0], d.Keys[1], changed, active}
	})
	first.dir.Publish(100, identity.KindKey, gone.Token)
	first.refused("sk-deleted-before", 401, "token_not_found_in_db")
	first.dir.Close()
	// A change that no worker has read since: nobody knows what it was.
	first.dir.Publish(101, identity.KindKey, changed.Token)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"u@example.org", "acme", digest("sk-of-a-team")} {
		if bytes.Contains(raw, []byte(text)) {
			t.Errorf("%s is readable in the file", text)
		}
	}

	src.fails(errAway)
	second := withSnapshot(t, src, path) // with a host table of its own: the whole host was started again
	who := second.good("sk-of-a-team")
	if who.Alias != "mine" || who.TeamAlias != "eng" || who.OrganizationAlias != "acme" || who.UserEmail != "u@example.org" ||
		who.Role != identity.RoleInternalUser {
		t.Errorf("%+v", who)
	}
	if second.MayUse(&who, &Model{Name: "mock"}) != nil || second.MayUse(&who, &Model{Name: "other"}) == nil {
		t.Error("the models are not those of before")
	}
	second.good("sk-retired")
	second.refused("sk-blocked-before", 401, "auth_error")
	second.refused("sk-deleted-before", 401, "token_not_found_in_db")
	second.refused("sk-changed-before", 503, "db_unavailable")
	second.refused("sk-never-seen", 503, "db_unavailable")

	src.fails(nil)
	eventually(t, "the database counts again", func() bool {
		_, err := second.Identify([]byte("sk-changed-before"))
		return err == nil
	})
	eventually(t, "keys of the snapshot are read again", func() bool {
		second.good("sk-of-a-team")
		d := sum("sk-of-a-team")
		return second.dir.now()-second.dir.records.find(&d).fetched < int64(time.Minute)
	})
}

// A key that was saved before a batch of an import was taken over may be another
// one since; one that was read after it is served.
func TestSnapshotAfterAnImport(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	src := newSource()
	src.key("sk-before", nil)
	src.key("sk-after", nil)
	first := withSnapshot(t, src, path)
	first.good("sk-before")
	eventually(t, "it is saved", func() bool {
		d := sum("sk-before")
		_, ok := first.dir.c.Snapshot.lookup(&d)
		return ok
	})
	if err := first.dir.c.Snapshot.Changed(7, identity.KindImport, "litellm/LiteLLM_VerificationToken/1"); err != nil {
		t.Fatal(err)
	}
	first.good("sk-after")
	first.dir.Close()
	src.fails(errAway)
	second := withSnapshot(t, src, path)
	second.good("sk-after")
	second.refused("sk-before", 503, "db_unavailable")
}

// A team that was blocked after a key was saved counts for the key.
func TestSnapshotKeepsObjectsApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	src := newSource()
	team := &identity.Team{ID: "t"}
	src.data.Teams = []*identity.Team{team}
	src.key("sk-one-of-team", func(k *identity.Key) { k.TeamID = "t" })
	src.key("sk-two-of-team", func(k *identity.Key) { k.TeamID = "t" })
	first := withSnapshot(t, src, path)
	first.good("sk-one-of-team")
	first.good("sk-two-of-team")
	src.change(func(*identity.Resolved) { team.Blocked, team.ChangeNumber = true, 50 })
	first.dir.Publish(50, identity.KindTeam, "t")
	first.refused("sk-one-of-team", 401, "auth_error")
	first.dir.Close()
	src.fails(errAway)
	second := withSnapshot(t, src, path)
	second.refused("sk-two-of-team", 401, "auth_error")
}

// Contact that is long ago is no contact: after auth_stale_max the snapshot
// serves nobody.
func TestSnapshotGrowsOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	s, _ := openSnapshot(t, path, sealKey)
	old := time.Now().Add(-2 * time.Hour).UnixNano()
	k := &identity.Key{Token: digest("sk-from-long-ago")}
	id := sum("sk-from-long-ago")
	head := first()
	if b, err := s.seal.append(nil, &frame{kind: head.kind, id: head.id, at: old}, time.Now()); err != nil || os.WriteFile(path, b, 0o600) != nil {
		t.Fatal(err)
	}
	if err := s.append([]frame{{kind: frameKey, id: id, at: old, value: savedKey{Key: k}}}); err != nil {
		t.Fatal(err)
	}
	src := newSource()
	src.fails(errAway)
	withSnapshot(t, src, path).refused("sk-from-long-ago", 503, "db_unavailable")
	if last := s.lastContact(); time.Since(last) < time.Hour {
		t.Errorf("last contact %v", last)
	}
	if err := s.append([]frame{{kind: frameContact, at: time.Now().UnixNano()}}); err != nil {
		t.Fatal(err)
	}
	withSnapshot(t, src, path).good("sk-from-long-ago")
}

func TestSnapshotOfSomebodyElse(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"another salt key": func(t *testing.T, path string) {
			s, _ := openSnapshot(t, path, [32]byte{9})
			if err := s.Put("x", []byte("secret of another")); err != nil {
				t.Fatal(err)
			}
		},
		"no snapshot at all": func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("nonsense "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), SnapshotFile)
			spoil(t, path)
			s, said := openSnapshot(t, path, sealKey)
			for range 3 {
				if _, ok := s.Get("x"); ok {
					t.Error("it was read")
				}
			}
			if n := strings.Count(said.String(), "not used"); n != 1 {
				t.Errorf("said %d times: %s", n, said)
			}
			if err := s.Put("x", []byte("ours")); err != nil {
				t.Fatal(err)
			}
			if v, ok := s.Get("x"); !ok || string(v) != "ours" {
				t.Errorf("%q %v", v, ok)
			}
		})
	}
}

// Every frame that was changed in any byte is passed over; the others stay.
func TestSnapshotTampered(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	s, _ := openSnapshot(t, path, sealKey)
	if err := s.append([]frame{
		{kind: frameNamed, id: objectID(0, "a"), value: []byte("first")},
		{kind: frameNamed, id: objectID(0, "b"), value: []byte("second")},
		{kind: frameNamed, id: objectID(0, "c"), value: []byte("third")},
	}); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := nextFrame(good, firstSize)
	b, ok := nextFrame(good, a.from+a.size)
	if !ok {
		t.Fatal("no second frame")
	}
	for i := b.from; i < b.from+b.size; i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		fresh, _ := openSnapshot(t, path, sealKey)
		if v, ok := fresh.Get("b"); ok {
			t.Fatalf("byte %d changed: read %q", i, v)
		}
		for name, want := range map[string]string{"a": "first", "c": "third"} {
			if v, ok := fresh.Get(name); !ok || string(v) != want {
				t.Fatalf("byte %d changed: %s is %q", i, name, v)
			}
		}
		fresh.Close()
	}
	// A frame under another id, its checksum made right.
	other := bytes.Clone(good[b.from : b.from+b.size])
	id := objectID(0, "a")
	copy(other[frameHead+1:], id[:])
	fixChecksum(other)
	if err := os.WriteFile(path, append(bytes.Clone(good), other...), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, _ := openSnapshot(t, path, sealKey)
	if v, ok := fresh.Get("a"); ok && string(v) != "first" {
		t.Errorf("a moved frame was taken: %q", v)
	}
}

// A process that dies while it writes leaves a part of a frame; what others
// append behind it is found.
func TestSnapshotTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	s, _ := openSnapshot(t, path, sealKey)
	if err := s.Put("a", []byte("first")); err != nil {
		t.Fatal(err)
	}
	whole, err := s.seal.append(nil, &frame{kind: frameNamed, id: objectID(0, "torn"), value: bytes.Repeat([]byte{7}, 500)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 3, 4, 11, 12, 13, 60, len(whole) - 1} {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		want := fmt.Sprintf("after %d bytes", n)
		if err := s.Put("b", []byte(want)); err != nil {
			t.Fatal(err)
		}
		fresh, _ := openSnapshot(t, path, sealKey)
		if v, ok := fresh.Get("b"); !ok || string(v) != want {
			t.Errorf("%d bytes of a frame: %q %v", n, v, ok)
		}
		if _, ok := fresh.Get("torn"); ok {
			t.Errorf("%d bytes of a frame were taken for it", n)
		}
		fresh.Close()
	}
}

// Several processes write while one of them compacts: nothing that is newest is
// lost, and the file stays within its bound.
func TestSnapshotCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	const writers, each = 4, 300
	var all sync.WaitGroup
	for w := range writers {
		s, _ := openSnapshot(t, path, sealKey)
		s.most = 2 << 20
		all.Go(func() {
			for i := range each {
				s.mu.Lock()
				s.after = 1 << 20 // as if it were full long before
				s.mu.Unlock()
				value := bytes.Repeat([]byte{byte(w)}, 8<<10)
				if err := s.Put(fmt.Sprintf("w%d-%d", w, i%20), append(value, byte(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("show: %d KB were written, the file has %d KB", writers*each*8, st.Size()>>10)
	if st.Size() > 2<<20 {
		t.Errorf("%d bytes", st.Size())
	}
	s, _ := openSnapshot(t, path, sealKey)
	for w := range writers {
		for i := each - 20; i < each; i++ {
			v, ok := s.Get(fmt.Sprintf("w%d-%d", w, i%20))
			if !ok || v[len(v)-1] != byte(i) {
				t.Errorf("writer %d, value %d: %v", w, i, ok)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".snapshot-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzSnapshotReader(f *testing.F) {
	seal, err := newSealer([][32]byte{sealKey})
	if err != nil {
		f.Fatal(err)
	}
	head := first()
	b, _ := seal.append(nil, &head, time.Unix(1, 0))
	b, _ = seal.append(b, &frame{kind: frameNamed, id: objectID(0, "a"), value: []byte("x")}, time.Unix(2, 0))
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(frameMagic + frameMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		for at := 0; ; {
			found, ok := nextFrame(b, at)
			if !ok {
				break
			}
			if found.from < at || found.size < frameHead+frameFixed || found.from+found.size > len(b) {
				t.Fatalf("frame at %d of %d bytes, looked from %d in %d", found.from, found.size, at, len(b))
			}
			_, _ = seal.open(&found)
			at = found.from + found.size
		}
	})
}

func FuzzIdentify(f *testing.F) {
	for _, s := range []string{"", "sk-", "sk-a", master, "Bearer sk-x", "sk-' OR 1=1 --", "sk-\x00\xff", strings.Repeat("sk-", 2000)} {
		f.Add([]byte(s))
	}
	src := newSource()
	r := newRig(f, src, nil)
	f.Fuzz(func(t *testing.T, key []byte) {
		who, err := r.Identify(key)
		if string(key) == master {
			return
		}
		if err == nil || who.Known {
			t.Fatalf("%q is let in", key)
		}
		if s := err.HTTPStatus(); s != 401 && s != 503 {
			t.Fatalf("%q: %d", key, s)
		}
		if len(key) > 8 && strings.Contains(err.Message, string(key)) {
			t.Fatalf("%q is in the message", key)
		}
	})
}

// A file that is longer than what is read at once, with values and rubbish of
// every length in it.
func TestSnapshotIsReadInPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	s, _ := openSnapshot(t, path, sealKey)
	for i, size := range []int{10, 700 << 10, 3 << 20, 0, 900 << 10, 5 << 20, 100} {
		if err := s.Put(fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, size)); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(bytes.Repeat([]byte(frameMagic), size/16)); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		fresh, _ := openSnapshot(t, path, sealKey)
		for j := range i + 1 {
			if v, ok := fresh.Get(fmt.Sprint(j)); !ok || len(v) > 0 && v[len(v)-1] != byte(j) {
				t.Errorf("after %d values: value %d %v, %d bytes", i+1, j, ok, len(v))
			}
		}
		fresh.Close()
	}
}
