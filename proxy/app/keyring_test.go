package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/internal/logtest"
	"sluice/proxy/auth"
	"sluice/proxy/chain"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// host is one host of a database with one worker, as far as keys go.
type host struct {
	*testing.T
	d *data
	c *custody
	w *worker

	path string // of its SQLite file
	told int    // that there are other keys

	said logtest.Log
}

// newHost is a host whose ring is made of id:secret texts; without a colon the
// id is derived.
func newHost(t *testing.T, c store.Config, name string, entries ...string) *host {
	t.Helper()
	h := &host{T: t, path: c.SQLite}
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 1)
	_ = unix.Close(fd)
	if err != nil {
		t.Fatal(err)
	}
	area, err := table.Claim(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	log := h.said.Logger()
	h.d = &data{
		table: table, area: area, log: log, host: name, hostName: name, ringChanged: make(chan struct{}, 1),
		changes: fleet.NewChangeReader(table),
	}
	h.d.ctx, h.d.cancel = context.WithCancel(context.Background())
	dir := t.TempDir()
	h.d.otherKeys = func() { h.told++ }
	h.w = &worker{table: table, area: area, data: h.d, dir: fleet.Dir(dir), log: &boot.Log{Logger: log}}
	c.Chain, c.Log = h.d.chainKey, log
	if h.d.store, err = store.Open(c); err != nil {
		t.Fatal(err)
	}
	h.d.hold(nil, &keys{ring: ringOf(t, entries...), by: given{salt: true}})
	if h.d.snapshot, err = auth.OpenSnapshot(filepath.Join(dir, auth.SnapshotFile), h.d.ring().Keys(snapshotKey), log); err != nil {
		t.Fatal(err)
	}
	h.c = &custody{w: h.w, d: h.d, claim: &table.Header().Custody}
	h.c.resealer = resealer{store: h.d.store, log: log, broken: map[string]int64{}}
	t.Cleanup(h.stop)
	return h
}

func (h *host) stop() {
	h.d.cancel()
	h.d.done.Wait()
	h.d.snapshot.Close()
	h.d.store.Close()
}

func ringOf(t *testing.T, entries ...string) *seal.Ring {
	t.Helper()
	var all []seal.Entry
	for _, text := range entries {
		id, secret, ok := strings.Cut(text, ":")
		if !ok {
			id, secret = "", text
		}
		all = append(all, seal.Entry{ID: id, Secret: env.Secret(secret)})
	}
	r, err := seal.NewRing(all...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// check is what a start does.
func (h *host) check() error { return h.d.checkKeys(context.Background()) }

func (h *host) mustCheck() {
	h.Helper()
	if err := h.check(); err != nil {
		h.Fatal(err)
	}
}

// turn is one turn of who looks after the keys.
func (h *host) turn() {
	h.Helper()
	if !h.c.take() {
		h.Fatal("the turn is somebody else's")
	}
	if err := h.c.work(context.Background()); err != nil {
		h.Fatal(err)
	}
}

// reload is what HUP does with the keys.
func (h *host) reload(entries ...string) error {
	h.Helper()
	r := ringOf(h.T, entries...)
	err := h.d.mayUse(context.Background(), r, given{file: "/etc/keys"})
	if err == nil {
		h.d.replaceRing(r, given{file: "/etc/keys"})
	}
	return err
}

func (h *host) promoted() string {
	h.Helper()
	id, err := h.d.store.SealingKey(context.Background())
	if err != nil {
		h.Fatal(err)
	}
	return id
}

// add stores a model as the API does, sealed with the key in use.
func (h *host) add(id string) error {
	return h.d.store.Change(context.Background(), store.Actor{User: "admin"}, func(tx *store.Tx) error {
		return tx.Insert(sealedModel(h.T, h.d.sealing(), id))
	})
}

func (h *host) mustAdd(ids ...string) {
	h.Helper()
	for _, id := range ids {
		if err := h.add(id); err != nil {
			h.Fatal(err)
		}
	}
}

// opens wants every model to open here.
func (h *host) opens(n int) {
	h.Helper()
	found, err := readStored(context.Background(), h.d.store)
	if err != nil {
		h.Fatal(err)
	}
	raw, err := json.Marshal(found)
	if err != nil {
		h.Fatal(err)
	}
	o, err := newOverlay(raw, h.d.ring())
	if err != nil || len(o.broken) > 0 || len(o.config.Models) != n {
		h.Errorf("%d of %d models open, broken %v, %v", len(o.config.Models), n, o.broken, err)
	}
}

// wrong wants a sentence of one line that names these and no secret.
func wrong(t *testing.T, err error, names ...string) {
	t.Helper()
	var w *wrongKeyError
	if !errors.As(err, &w) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "sk-") {
		t.Errorf("got %v", err)
		return
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not say %q", err, name)
		}
	}
}

// verifies wants the whole record to be chained, under keys that the ring has or
// that it can open.
func (h *host) verifies() {
	h.Helper()
	ctx := context.Background()
	kept, err := h.d.store.SealingKeys(ctx)
	if err != nil {
		h.Fatal(err)
	}
	var previous []byte
	n := 0
	err = h.d.store.Record(ctx, 0, func(r chain.Row) error {
		key, ok := h.d.ring().KeyOf(r.Key, chain.Purpose)
		for _, k := range kept {
			if !ok && k.ID == r.Key {
				var err error
				if key, err = h.d.ring().KeptAudit(k.ID, k.AuditKey); err != nil {
					return fmt.Errorf("row %d under key %s: %w", r.Number, r.Key, err)
				}
				ok = true
			}
		}
		if !ok || !bytes.Equal(chain.MAC(key, previous, &r), r.MAC) {
			return fmt.Errorf("row %d under key %q does not verify", r.Number, r.Key)
		}
		previous = r.MAC
		n++
		return nil
	})
	if err != nil || n == 0 {
		h.Errorf("%d rows, %v", n, err)
	}
}

// TestFirstStart: the workers of the first host of a database promote its key,
// and leave the mark of earlier releases.
func TestFirstStart(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		h := newHost(t, c, "a", "sk-right-secret")
		if h.d.sealing() != nil {
			t.Error("secrets can be sealed before the key is known")
		}
		if err := h.d.store.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.User{ID: "u"}) }); !errors.Is(err, errNoChain) {
			t.Errorf("a change that cannot be chained: %v", err)
		}
		var workers sync.WaitGroup
		for range 6 {
			workers.Go(func() {
				w := newHost(t, c, "a", "sk-right-secret")
				if err := w.check(); err != nil {
					t.Error(err)
				}
			})
		}
		workers.Wait()
		h.mustCheck()
		id := ringOf(t, "sk-right-secret").ID()
		if h.promoted() != id || h.d.sealing().ID() != id {
			t.Errorf("promoted is %q", h.promoted())
		}
		text, err := h.d.store.Meta(t.Context(), canary)
		if err != nil || !strings.HasPrefix(text, "sluice1:"+id) {
			t.Errorf("canary %q, %v", text, err)
		}
		h.mustAdd("m")
		h.opens(1)
		h.verifies()
		rows := 0
		_ = h.d.store.Record(t.Context(), 0, func(r chain.Row) error {
			if r.Action == string(store.Promoted) {
				rows++
			}
			return nil
		})
		if rows != 1 {
			t.Errorf("%d rows tell of the promotion", rows)
		}
	})
}

// TestRecordOfBefore: what the release before has recorded is chained by the first
// start, however much it is.
func TestRecordOfBefore(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		before, err := store.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		const rows = 1200
		for i := range rows / 100 {
			err := before.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
				for n := range 100 {
					if err := tx.Insert(&identity.User{ID: fmt.Sprint("u", 100*i+n)}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		h := newHost(t, c, "a", "sk-right-secret")
		h.mustCheck()
		h.mustAdd("m")
		h.verifies()
		if head, err := h.d.store.ChainHead(t.Context()); err != nil || head.Chained != head.Number || head.Number != rows+2 {
			t.Errorf("%+v %v", head, err)
		}
	})
}

// TestWrongKeys: each wrong key ends a start with a line that says which and
// what to do, and nothing is written.
func TestWrongKeys(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		h := newHost(t, c, "a", "main:sk-right-secret")
		h.mustCheck()
		h.mustAdd("m1", "m2")
		before, _ := h.d.store.Head(t.Context())
		for name, x := range map[string]struct {
			by    given
			ring  string
			names []string
		}{
			"salt":       {given{salt: true}, "sk-right-secre", []string{"2 rows", "main", "LITELLM_SALT_KEY"}},
			"master":     {given{}, "sk-other", []string{"2 rows", "main", "SLUICE_OLD_MASTER_KEY"}},
			"old master": {given{old: true}, "sk-other", []string{"main", "SLUICE_OLD_MASTER_KEY"}},
			"missing":    {given{file: "/etc/keys"}, "other:sk-other", []string{"2 rows", "main", "/etc/keys"}},
			"changed":    {given{file: "/etc/keys"}, "main:sk-other", []string{"main", "/etc/keys", "secret"}},
		} {
			other := newHost(t, c, "b", x.ring)
			other.d.hold(other.d.now.Load(), &keys{ring: other.d.ring(), by: x.by})
			wrong(t, other.check(), x.names...)
			if other.d.sealing() != nil {
				t.Errorf("%s: it seals", name)
			}
		}
		if after, _ := h.d.store.Head(t.Context()); after != before {
			t.Errorf("%d changes were made", after-before)
		}
		h.mustCheck()
		h.opens(2)
	})
}

// TestReplacedKey: with nothing sealed a key may be replaced, by the host that is
// alone, and what was recorded before is said to be lost to verification.
func TestReplacedKey(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		first := newHost(t, c, "a", "sk-first-secret")
		first.mustCheck()
		second := newHost(t, c, "b", "sk-second-secret")
		wrong(t, second.check(), "host a", "LITELLM_SALT_KEY") // which lives
		same := newHost(t, c, "a", "sk-second-secret")
		same.mustCheck()
		if same.promoted() != same.d.ring().First() || same.said.Count("can be verified only") == 0 {
			t.Errorf("promoted %s; said:\n%s", same.promoted(), same.said.String())
		}
		same.mustAdd("m")
		back := newHost(t, c, "a", "sk-first-secret")
		wrong(t, back.check(), "1 row of the database (1 model)")
	})
}

// TestRotation: a new first key is promoted when every host has it, not before;
// what is stored is sealed anew; then the old one can go, and the record still
// verifies.
func TestRotation(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		const oldKey, newKey = "old:sk-old-secret", "new:sk-new-secret"
		a, b := newHost(t, c, "a", oldKey), newHost(t, c, "b", oldKey)
		a.mustCheck()
		b.mustCheck()
		for i := range 2*resealBatch + 5 {
			a.mustAdd(fmt.Sprint("m", i))
		}
		all := 2*resealBatch + 5
		a.credential("c")
		a.turn()
		b.turn()
		if err := a.reload(newKey, oldKey); err != nil {
			t.Fatal(err)
		}
		a.turn()
		a.turn()
		if a.promoted() != "old" || a.said.Count("not every host has it: b") == 0 {
			t.Fatalf("promoted %s while b lacks it; said:\n%s", a.promoted(), a.said.String())
		}
		if err := b.reload(newKey, oldKey); err != nil {
			t.Fatal(err)
		}
		// B tells of it, and promotes, and dies before it seals anything anew.
		if err := errors.Join(b.c.sawHost(t.Context(), b.d.ring(), true), b.c.promote(t.Context(), b.d.ring())); err != nil {
			t.Fatal(err)
		}
		if b.promoted() != "new" {
			t.Fatalf("promoted %s; said:\n%s", b.promoted(), b.said.String())
		}
		// A has not heard: what it seals is refused, until it has.
		if err := a.add("late"); !errors.Is(err, store.ErrStaleSeal) {
			t.Fatalf("sealed with the old key: %v", err)
		}
		if err := a.d.takePromoted(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.mustAdd("late")
		a.opens(all + 1)
		wrong(t, a.reload(newKey), "47 rows", "old", "/etc/keys")
		a.turn()
		if n := a.d.rowsLeft.Load(); n != 0 || a.said.Count("re-encrypted") == 0 {
			t.Errorf("%d rows are left; said:\n%s", n, a.said.String())
		}
		a.opens(all + 1)
		b.opens(all + 1)
		for _, h := range []*host{a, b} {
			if err := h.reload(newKey); err != nil {
				t.Fatalf("the old key cannot go: %v", err)
			}
		}
		a.opens(all + 1)
		a.verifies()
		wrong(t, a.reload(newKey, "old:sk-another-secret"), "key old", "secret")
		b.turn()
		a.d.resealDue.Store(true)
		a.turn()
		a.d.resealDue.Store(true)
		a.turn()
		kept, err := a.d.store.SealingKeys(t.Context())
		if err != nil || len(kept) != 2 || kept[0].RetiredAt == nil || kept[1].RetiredAt != nil {
			t.Errorf("keys %+v, %v; said:\n%s", kept, err, a.said.String())
		}
		if strings.Contains(a.said.String()+b.said.String(), "sk-") {
			t.Error("a secret was said")
		}
	})
}

// credential stores a credential and the variables of the API.
func (h *host) credential(name string) {
	h.Helper()
	ring := h.d.sealing()
	value, err := ring.Seal(seal.Place(identity.KindCredential.Table(), name, "api_key"), "sk-credential")
	if err != nil {
		h.Fatal(err)
	}
	variable, err := ring.SealJSON(identity.KindConfig.Table(), "environment_variables", "A_KEY", json.RawMessage(`"sk-variable"`))
	if err != nil {
		h.Fatal(err)
	}
	err = h.d.store.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
		if err := tx.Insert(&identity.Credential{ID: name, Name: name, Values: map[string]string{"api_key": value}, SealedWith: ring.ID()}); err != nil {
			return err
		}
		return tx.Insert(&identity.ConfigItem{Name: "environment_variables", Value: identity.Fields{"A_KEY": variable}, SealedWith: ring.ID()})
	})
	if err != nil {
		h.Fatal(err)
	}
}

// TestOrders: two hosts with the same keys in two orders do not promote in turns,
// and all hosts together can go back to a key that was replaced.
func TestOrders(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		const one, two = "one:sk-one-secret", "two:sk-two-secret"
		a, b := newHost(t, c, "a", one), newHost(t, c, "b", one)
		a.mustCheck()
		b.mustCheck()
		if err := errors.Join(a.reload(two, one), b.reload(one, two)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			a.turn()
			b.turn()
			for _, h := range []*host{a, b} {
				if err := h.d.takePromoted(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if a.promoted() != "two" {
			t.Fatalf("promoted %s", a.promoted())
		}
		if n := strings.Count(a.said.String()+b.said.String(), "key promoted"); n != 2 { // the first start is one
			t.Errorf("%d promotions:\n%s\n%s", n, a.said.String(), b.said.String())
		}
		if err := a.reload(one, two); err != nil {
			t.Fatal(err)
		}
		a.turn()
		b.turn()
		if a.promoted() != "one" {
			t.Errorf("promoted %s, all want one; said:\n%s", a.promoted(), b.said.String())
		}
	})
}

// TestMasterKey: what is sealed with the old master key is sealed anew, and the
// old one can go.
func TestMasterKey(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		was := newHost(t, c, "a", "sk-master-of-before")
		was.mustCheck()
		was.mustAdd("m1", "m2")
		is := newHost(t, c, "a", "sk-master-of-now", "sk-master-of-before")
		is.mustCheck()
		is.opens(2)
		is.turn()
		is.turn()
		if is.promoted() != is.d.ring().First() {
			t.Fatalf("promoted %s; said:\n%s", is.promoted(), is.said.String())
		}
		after := newHost(t, c, "a", "sk-master-of-now")
		after.mustCheck()
		after.opens(2)
		after.verifies()
	})
}

// TestAgreement: a key that one worker of a host lacks is not promised to the
// other hosts.
func TestAgreement(t *testing.T) {
	h := newHost(t, store.Config{SQLite: sqlitePath(t)}, "a", "old:sk-old-secret")
	h.mustCheck()
	h.turn()
	area, err := h.d.table.Claim(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	neighbour := h.d.table.Generation(area)
	neighbour.State.Store(uint32(fleet.StateReady))
	neighbour.Keys.Store(digestOf(h.d.ring()))
	if err := h.reload("new:sk-new-secret", "old:sk-old-secret"); err != nil {
		t.Fatal(err)
	}
	told := func() map[string]string {
		hosts, err := h.d.store.Hosts(t.Context(), time.Minute)
		if err != nil || len(hosts) != 1 {
			t.Fatalf("%v %v", hosts, err)
		}
		return hosts[0].Keys
	}
	h.c.sawAt = 0
	h.turn()
	if keys := told(); len(keys) != 1 || keys["old"] == "" || h.promoted() != "old" {
		t.Fatalf("told %v, promoted %s while a worker lacks it", keys, h.promoted())
	}
	neighbour.Keys.Store(digestOf(h.d.ring()))
	h.turn()
	if keys := told(); len(keys) != 2 || h.promoted() != "new" {
		t.Errorf("told %v, promoted %s", keys, h.promoted())
	}
}

// TestReloadWhileAway: without the database no key can go, and others can come.
func TestReloadWhileAway(t *testing.T) {
	h := newHost(t, store.Config{SQLite: filepath.Join(t.TempDir(), "none", "x.db")}, "a", "old:sk-old-secret", "older:sk-older-secret")
	if err := h.check(); err == nil || h.d.known() {
		t.Fatalf("it knows its keys: %v", err)
	}
	if err := h.reload("new:sk-new-secret", "old:sk-old-secret"); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("a key went: %v", err)
	}
	if err := h.reload("new:sk-new-secret", "older:sk-older-secret", "old:sk-old-secret"); err != nil {
		t.Errorf("a key cannot come: %v", err)
	}
}

// TestBrokenRow: a row that does not open is said once and does not keep the
// others from being sealed anew.
func TestBrokenRow(t *testing.T) {
	eachKind(t, func(t *testing.T, c store.Config) {
		h := newHost(t, c, "a", "old:sk-old-secret")
		h.mustCheck()
		h.mustAdd("a1", "z9")
		broken := sealedModel(t, h.d.sealing(), "source")
		broken.ID = "m-moved"
		insert(t, h.d.store, broken)
		if err := h.reload("new:sk-new-secret", "old:sk-old-secret"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			h.d.resealDue.Store(true)
			h.turn()
		}
		if n := h.d.rowsLeft.Load(); n != 1 || h.said.Count("model m-moved") != 1 {
			t.Errorf("%d rows are left; said:\n%s", n, h.said.String())
		}
		wrong(t, h.reload("new:sk-new-secret"), "1 model", "old")
	})
}

func sqlitePath(t *testing.T) string {
	t.Helper()
	return dbtest.SQLite(t)
}

// TestKeyThatComesLater: a host that lacks the key in use says so and stores
// nothing; when it gets the key, it opens again what it could not.
func TestKeyThatComesLater(t *testing.T) {
	h := newHost(t, store.Config{SQLite: dbtest.SQLite(t)}, "a", "one:sk-one-secret")
	h.mustCheck()
	other := newHost(t, store.Config{SQLite: h.path}, "b", "two:sk-two-secret", "one:sk-one-secret")
	other.mustCheck()
	two, _ := other.d.ring().Writing("two")
	check, err := two.Check()
	if err != nil {
		t.Fatal(err)
	}
	err = other.d.store.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Promote(store.SealingKey{ID: "two", Check: check}, nil) })
	if err = errors.Join(err, other.d.store.SawHost(t.Context(), other.d.hostRow(two))); err != nil {
		t.Fatal(err)
	}
	if err := h.d.takePromoted(t.Context()); err == nil || h.d.sealing() != nil {
		t.Fatalf("it seals with a key that is not in use: %v", err)
	}
	wrong(t, h.check(), "host b", "two")
	before := h.told
	if err := h.reload("two:sk-two-secret", "one:sk-one-secret"); err != nil {
		t.Fatal(err)
	}
	h.mustCheck()
	if h.d.sealing().ID() != "two" || h.told == before {
		t.Errorf("it seals with %s, told %d times", h.d.sealing().ID(), h.told-before)
	}
}
