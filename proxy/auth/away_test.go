package auth

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
)

// 100,000 distinct wrong keys a minute: few queries, and a good key that is not
// known yet is let in without waiting long.
func TestFloodOfWrongKeys(t *testing.T) {
	const seconds, perMinute = 4, 100_000
	src := newSource()
	for i := range 400 {
		src.key(name(i), nil)
	}
	src.before = func() { time.Sleep(3 * time.Millisecond) } // what a query of 1,000 takes
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Wait = 2 * time.Second })
	r.good(name(0))
	before, _ := src.asked()
	var flood sync.WaitGroup
	var wrong, other atomic.Int64
	began := time.Now()
	flood.Go(func() {
		tick := time.NewTicker(time.Minute / perMinute * 100) // a hundred at a time
		defer tick.Stop()
		for i := 0; time.Since(began) < seconds*time.Second; i++ {
			<-tick.C
			for j := range 100 {
				flood.Go(func() {
					if _, err := r.Identify(fmt.Appendf(nil, "sk-wrong-%d-%d", i, j)); err != nil && err.HTTPStatus() == 401 {
						wrong.Add(1)
					} else {
						other.Add(1)
					}
				})
			}
		}
	})
	var slowest time.Duration
	var cold []time.Duration
	for i := 0; time.Since(began) < seconds*time.Second; i++ {
		time.Sleep(10 * time.Millisecond)
		from := time.Now()
		r.good(name(0)) // hot
		slowest = max(slowest, time.Since(from))
		from = time.Now()
		r.good(name(1 + i%399)) // cold, once
		if i < 399 {
			cold = append(cold, time.Since(from))
		}
	}
	flood.Wait()
	after, _ := src.asked()
	took := time.Since(began).Seconds()
	slices.Sort(cold)
	t.Logf("show: %d wrong keys in %.1f s, %.1f queries a second, largest batch %d; cold key median %v, worst %v; hot key worst %v",
		wrong.Load(), took, float64(after-before)/took, src.largest, cold[len(cold)/2], cold[len(cold)-1], slowest)
	// Only queries that find nothing are held back; each cold key is found by one.
	if q := (float64(after-before) - float64(len(cold))) / took; q > 1.3*perSecond {
		t.Errorf("%.1f queries a second", q)
	}
	if wrong.Load() < perMinute/60*seconds/3 {
		t.Errorf("only %d wrong keys came", wrong.Load())
	}
	// One of a machine that is not ours alone may wait longer: the end-to-end test measures them all.
	if median := cold[len(cold)/2]; median > 200*time.Millisecond {
		t.Errorf("good cold keys took %v", median)
	}
	if other.Load() > 0 {
		t.Errorf("%d wrong keys were not answered with 401", other.Load())
	}
}

// More unknown keys than may wait: the rest is told to come again, and known
// keys do not notice.
func TestCrowd(t *testing.T) {
	src := newSource()
	src.key("sk-known-one", nil)
	hold := make(chan struct{})
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Wait, d.Query = 5*time.Second, 10*time.Second })
	r.good("sk-known-one")
	src.mu.Lock()
	src.before = func() { <-hold }
	src.mu.Unlock()
	var all sync.WaitGroup
	var full, wrong atomic.Int64
	for i := range maxWaiting + 3*maxBatch {
		all.Go(func() {
			_, err := r.Identify(fmt.Appendf(nil, "sk-crowd-%d", i))
			switch {
			case err != nil && err.HTTPStatus() == 503 && err.RetryAfter > 0:
				full.Add(1)
			case err != nil && err.HTTPStatus() == 401:
				wrong.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	eventually(t, "the rest is refused", func() bool { return full.Load() >= maxBatch })
	r.good("sk-known-one")
	close(hold)
	all.Wait()
	if full.Load() < maxBatch || wrong.Load() < maxWaiting {
		t.Errorf("%d told to come again, %d wrong", full.Load(), wrong.Load())
	}
	if src.largest > maxBatch {
		t.Errorf("%d digests in one query", src.largest)
	}
}

func TestDatabaseAway(t *testing.T) {
	src := newSource()
	k := src.key("sk-known-good", nil)
	src.key("sk-known-blocked", func(k *identity.Key) { k.Blocked = true })
	changed := src.key("sk-known-changed", nil)
	blockedChanged := src.key("sk-blocked-and-changed", func(k *identity.Key) { k.Blocked = true })
	deleted := src.key("sk-known-deleted", nil)
	r := newRig(t, src, func(_ *DirectoryConfig, c *Config) { c.Fresh = time.Millisecond })
	for _, key := range []string{"sk-known-good", "sk-known-changed", "sk-known-deleted"} {
		r.good(key)
	}
	r.refused("sk-known-blocked", 401, "auth_error")
	r.refused("sk-blocked-and-changed", 401, "auth_error")
	src.change(func(d *identity.Resolved) {
		d.Keys = slices.DeleteFunc(d.Keys, func(k *identity.Key) bool { return k == deleted })
	})
	r.dir.Publish(1, identity.KindKey, deleted.Token)
	r.refused("sk-known-deleted", 401, "token_not_found_in_db")

	src.fails(errAway)
	r.dir.Publish(2, identity.KindKey, changed.Token)
	r.dir.Publish(3, identity.KindKey, blockedChanged.Token)
	began := time.Now()
	for time.Since(began) < 300*time.Millisecond {
		r.good("sk-known-good")
		r.refused("sk-known-blocked", 401, "auth_error")
		r.refused("sk-known-deleted", 401, "token_not_found_in_db")
		r.refused("sk-never-seen", 503, "db_unavailable")
		r.refused("sk-known-changed", 503, "db_unavailable")
		r.refused("sk-blocked-and-changed", 401, "auth_error")
	}
	queries, _ := src.asked()
	time.Sleep(time.Second)
	if after, _ := src.asked(); after-queries > 5 {
		t.Errorf("%d queries a second of a database that is away", after-queries)
	}
	src.fails(nil)
	back := time.Now()
	eventually(t, "unknown keys are checked again", func() bool {
		_, err := r.Identify([]byte("sk-never-seen"))
		return err.HTTPStatus() == 401
	})
	if took := time.Since(back); took > 2*time.Second {
		t.Errorf("%v until keys were checked again", took)
	}
	r.good("sk-known-changed")
	_ = k
}

// A database that has stopped answering: no request waits past its deadline.
func TestDatabaseStalled(t *testing.T) {
	src := newSource()
	src.key("sk-known-good", nil)
	r := newRig(t, src, func(d *DirectoryConfig, c *Config) {
		d.Wait, d.Query, c.Fresh = 200*time.Millisecond, time.Second, time.Millisecond
	})
	r.good("sk-known-good")
	hold := make(chan struct{})
	src.mu.Lock()
	src.before = func() { <-hold }
	src.mu.Unlock()
	var worst time.Duration
	for i := range 20 {
		from := time.Now()
		r.refused(fmt.Sprintf("sk-stalled-%d", i), 503, "db_unavailable")
		worst = max(worst, time.Since(from))
		from = time.Now()
		r.good("sk-known-good")
		if took := time.Since(from); took > time.Second {
			t.Errorf("a known key took %v", took)
		}
	}
	close(hold)
	if worst > 2*time.Second { // beside other tests; the end-to-end tests judge times
		t.Errorf("a request waited for %v", worst)
	}
}

// Known keys are served for auth_stale_max after the last contact, and not
// longer.
func TestStaleMax(t *testing.T) {
	src := newSource()
	src.key("sk-known-good", nil)
	r := newRig(t, src, func(_ *DirectoryConfig, c *Config) { c.Fresh, c.StaleMax = time.Millisecond, 300*time.Millisecond })
	r.good("sk-known-good")
	src.fails(errAway)
	eventually(t, "the key is not served any more", func() bool {
		_, err := r.Identify([]byte("sk-known-good"))
		return err != nil && err.HTTPStatus() == 503
	})
	r.dir.Contact() // somebody else of the host had an answer
	r.good("sk-known-good")
}

func TestUnavailable(t *testing.T) {
	src := newSource()
	src.key("sk-known-and-blocked", func(k *identity.Key) { k.Blocked = true })
	changed := src.key("sk-known-and-changed", nil)
	path := filepath.Join(t.TempDir(), JournalFile)
	journal := OpenJournal(path, nil)
	t.Cleanup(journal.Close)
	const limit = 20
	r := newRig(t, src, func(d *DirectoryConfig, c *Config) {
		d.Journal = journal
		c.AllowUnavailable, c.UnavailableModels, c.UnavailableRPM = true, []string{"mock"}, limit
	})
	r.refused("sk-known-and-blocked", 401, "auth_error")
	r.good("sk-known-and-changed")
	r.refused("sk-unknown-unknown", 401, "token_not_found_in_db")
	src.fails(errAway)
	r.dir.Publish(1, identity.KindKey, changed.Token)
	r.refused("sk-known-and-blocked", 401, "auth_error")
	r.refused("sk-known-and-changed", 503, "db_unavailable")
	r.refused("sk-short", 503, "db_unavailable")
	r.refused("no-key-of-ours", 401, "auth_error")
	who := r.good("sk-never-seen-before")
	if !who.Unavailable || who.Master || who.Role != identity.RoleNone || who.Alias != "db-unavailable" || who.Key != nil {
		t.Errorf("%+v", who)
	}
	for _, g := range []access.Group{access.GroupManagement, access.GroupInfo, access.GroupSpend} {
		if err := r.MayCall(&who, &access.Route{Path: "/x", Group: g}); err == nil || err.HTTPStatus() != 503 {
			t.Errorf("%s: %v", g, err)
		}
	}
	if r.MayUse(&who, &Model{Name: "mock"}) != nil || r.MayUse(&who, &Model{Name: "other"}) == nil {
		t.Error("the models of db_unavailable_models do not count")
	}
	admitted := 0
	for range 3 * limit {
		if err := r.MayCall(&who, chat); err == nil {
			admitted++
		} else if err.HTTPStatus() != 503 {
			t.Fatal(err)
		}
	}
	if admitted != limit && admitted != 2*limit { // the minute may have ended meanwhile
		t.Errorf("%d requests were admitted, %d are allowed in a minute", admitted, limit)
	}
	r.Record(&who, "req-1", "mock")
	root := r.good(master)
	r.Record(&root, "req-2", "mock")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var lines []Admitted
	for s := bufio.NewScanner(f); s.Scan(); {
		var a Admitted
		if err := json.Unmarshal(s.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, a)
	}
	if len(lines) != 1 || lines[0].Digest != digest("sk-never-seen-before") || lines[0].Request != "req-1" || lines[0].Model != "mock" ||
		time.Since(lines[0].At) > time.Minute {
		t.Errorf("journal: %+v", lines)
	}
}

// The minute's requests are those of all processes of the host.
func TestUnavailableIsCountedOnce(t *testing.T) {
	h := newTable(t).Header()
	const limit = 600
	var all sync.WaitGroup
	var admitted atomic.Int64
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if spend(h, int64(time.Hour), limit) {
					admitted.Add(1)
				}
			}
		})
	}
	all.Wait()
	if admitted.Load() != limit {
		t.Errorf("%d of %d", admitted.Load(), limit)
	}
	if !spend(h, int64(time.Hour+time.Minute), limit) || spend(h, int64(time.Hour+2*time.Minute), 0) {
		t.Error("the next minute, and a limit of 0")
	}
}

// What is remembered is bounded by number and by size, and what was used last
// stays.
func TestCacheIsBounded(t *testing.T) {
	src := newSource()
	const keys = 3000
	for i := range keys {
		src.key(name(i), nil)
	}
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) {
		d.Records, d.Bytes, d.Wait = 512, 300*(recordSize+factsSize), 5*time.Second
	})
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() { r.good(name(i)) })
	}
	all.Wait()
	r.dir.mu.Lock()
	count, bytes := r.dir.records.count, r.dir.records.bytes
	there := int64(0)
	r.dir.records.all(func(*record) { there++ })
	r.dir.mu.Unlock()
	if count > 300 || count < 200 || bytes > 300*(recordSize+factsSize) || there != count {
		t.Errorf("%d records counted, %d there, of %d bytes", count, there, bytes)
	}
	r.good(name(1))
	if !r.dir.Known(sum(name(1))) {
		t.Error("what was used last is not there")
	}
}

// Boxes of shared objects go when the last key that refers to them has gone.
func TestBoxesAreFreed(t *testing.T) {
	src := newSource()
	for i := range 4000 {
		id := name(i)
		src.data.Users = append(src.data.Users, &identity.User{ID: id})
		src.key(id, func(k *identity.Key) { k.UserID = id })
	}
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Records, d.Wait = 64, 5*time.Second })
	for from := 0; from < 4000; from += 500 {
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() { r.good(name(from + i)) })
		}
		all.Wait()
	}
	runtime.GC()
	runtime.GC()
	r.dir.mu.Lock()
	r.dir.purge()
	n := len(r.dir.boxes)
	r.dir.mu.Unlock()
	if n > 64 {
		t.Errorf("%d boxes for at most 64 records", n)
	}
}

// Good keys that are not known yet are looked up at once, one after the other:
// only queries that find nothing are held back. What nobody waits for is
// gathered.
func TestColdKeysInARow(t *testing.T) {
	const keys = 300
	src := newSource()
	for i := range keys {
		src.key(name(i), nil)
	}
	r := newRig(t, src, func(_ *DirectoryConfig, c *Config) { c.Fresh = 400 * time.Millisecond })
	r.good(name(0))
	took := make([]time.Duration, 0, keys)
	for i := 1; i < keys; i++ {
		from := time.Now()
		r.good(name(i))
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	t.Logf("show: a cold key takes %v in the median, %v at worst", took[keys/2], took[len(took)-1])
	if took[keys/2] > 5*time.Millisecond {
		t.Errorf("a cold key takes %v in the median", took[keys/2])
	}
	time.Sleep(400 * time.Millisecond)
	before, digests := src.asked()
	began := time.Now()
	for time.Since(began) < time.Second {
		for i := range keys {
			r.good(name(i)) // old by now: read again beside
		}
	}
	after, since := src.asked()
	if after-before > perSecond+3 || since-digests < keys {
		t.Errorf("%d queries for %d keys that nobody waited for", after-before, since-digests)
	}
}
