package auth

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/supervisor/fleet"
)

// born has a snapshot with one key, and a directory on it that was made while
// the database is away.
func born(t *testing.T, src *source) *rig {
	t.Helper()
	path := filepath.Join(t.TempDir(), SnapshotFile)
	src.data.Users = []*identity.User{{ID: "u"}}
	src.key("sk-of-before-the-outage", func(k *identity.Key) { k.UserID = "u" })
	first := withSnapshot(t, src, path)
	first.good("sk-of-before-the-outage")
	first.dir.Close()
	src.fails(errAway)
	return withSnapshot(t, src, path)
}

// Many who come at once with a key that only the snapshot knows: all are
// served, not only the one who looks there first.
func TestSnapshotServesManyAtOnce(t *testing.T) {
	src := newSource()
	r := born(t, src)
	src.mu.Lock()
	src.before = func() { time.Sleep(20 * time.Millisecond) }
	src.mu.Unlock()
	var all sync.WaitGroup
	var refused atomic.Int64
	for range 64 {
		all.Go(func() {
			if _, err := r.Identify([]byte("sk-of-before-the-outage")); err != nil {
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d of 64 were refused", n)
	}
}

// A process that was born in an outage which its host has seen does not make
// anybody wait to find it out; once the database has answered it, it judges for
// itself.
func TestBornInAnOutageThatIsKnown(t *testing.T) {
	src := newSource()
	r := born(t, src)
	hold := make(chan struct{})
	src.mu.Lock()
	src.before = func() { <-hold }
	src.mu.Unlock()
	r.dir.head.Database.Store(uint32(fleet.DependencyDown))
	from := time.Now()
	r.good("sk-of-before-the-outage")
	r.refused("sk-never-seen", 503, "db_unavailable")
	if took := time.Since(from); took > 100*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	src.fails(nil)
	close(hold)
	eventually(t, "unknown keys are checked, though the host has not seen it yet", func() bool {
		_, err := r.Identify([]byte("sk-never-seen"))
		return err.HTTPStatus() == 401
	})
}

// An end user that was blocked before an outage stays so for who is born in it.
func TestBlockedCustomersAreRemembered(t *testing.T) {
	src := newSource()
	src.blocked = []string{"c-blocked", "c-two"}
	r := born(t, src)
	if err := r.MayServe([]byte("c-blocked")); err == nil || err.HTTPStatus() != 401 {
		t.Errorf("a blocked customer: %v", err)
	}
	if err := r.MayServe([]byte("c-good")); err != nil {
		t.Errorf("another customer: %v", err)
	}
	src.mu.Lock()
	src.err, src.blocked = nil, []string{"c-good"}
	src.mu.Unlock()
	eventually(t, "the database counts again", func() bool {
		return r.MayServe([]byte("c-blocked")) == nil && r.MayServe([]byte("c-good")) != nil
	})
}

// When the database is back everything may have changed. Who has not noticed
// yet hears it from the host, and refuses nobody meanwhile.
func TestBackIsHeardOfFromOthers(t *testing.T) {
	src := newSource()
	src.key("sk-known-good", nil)
	r := newRig(t, src, nil)
	r.good("sk-known-good")
	src.fails(errAway)
	for i := range 200 {
		r.refused(name(i), 503, "db_unavailable")
		time.Sleep(5 * time.Millisecond)
	}
	src.fails(nil)
	r.dir.Contact() // another process has had an answer, and tells
	r.dir.PublishAll()
	r.good("sk-known-good")
	if src.reached.Load() == 0 {
		t.Error("the source was not told that the database answers again")
	}
}

// A lookup that was under way when another process heard of the database, and
// failed, says nothing about the database of now: nobody is refused for it.
func TestFailureOfBeforeTheDatabaseCameBack(t *testing.T) {
	src := newSource()
	src.key("sk-known-good", nil)
	r := newRig(t, src, nil)
	r.good("sk-known-good")
	src.fails(errAway)
	eventually(t, "it is known to be away", func() bool {
		r.refused("sk-of-nobody", 503, "db_unavailable")
		return r.dir.failures.Load() >= 2
	})
	asks, fail := make(chan struct{}), make(chan struct{})
	var once sync.Once
	src.mu.Lock()
	src.before = func() { once.Do(func() { close(asks); <-fail }) }
	src.mu.Unlock()
	r.refused("sk-of-nobody-else", 503, "db_unavailable") // begins a lookup, and does not wait
	<-asks
	r.dir.Contact()
	r.dir.PublishAll()
	before := r.dir.failures.Load()
	close(fail)
	eventually(t, "it has failed", func() bool { return r.dir.failures.Load() > before })
	src.fails(nil)
	r.good("sk-known-good")
}

// While the blocked end users are being read nobody is judged by those of
// before.
func TestCustomersAreWaitedFor(t *testing.T) {
	src := newSource()
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Wait = 5 * time.Second })
	if err := r.MayServe([]byte("c1")); err != nil {
		t.Fatal(err)
	}
	begun, hold := make(chan struct{}, 1), make(chan struct{})
	src.mu.Lock()
	src.blocked, src.reading = []string{"c1"}, func() { begun <- struct{}{}; <-hold }
	src.mu.Unlock()
	r.tab.PublishChange(uint8(identity.KindEndUser), "c1")
	<-begun
	time.AfterFunc(50*time.Millisecond, func() { close(hold) })
	if err := r.MayServe([]byte("c1")); err == nil || err.HTTPStatus() != 401 {
		t.Errorf("blocked before it was asked for: %v", err)
	}
}
