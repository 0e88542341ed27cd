package auth

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// Source is the database, as far as the request path needs it. An error means
// that it cannot answer now, whatever the reason.
type Source interface {
	// Resolve finds keys by their hex SHA-256, and all that they refer to.
	Resolve(ctx context.Context, digests []string) (*identity.Resolved, error)
	// BlockedCustomers lists the ids of the end users that are blocked.
	BlockedCustomers(ctx context.Context) ([]string, error)
	// Spenders finds the end users and tags that have budgets.
	Spenders(ctx context.Context, q identity.SpendersQuery) (*identity.Spenders, error)
	// TouchKeys writes when keys were last used, by their hex SHA-256. It is no
	// change in the sense of the change feed.
	TouchKeys(ctx context.Context, used map[string]time.Time) error
	// Reached says that the database answers others of this host: what is asked
	// next is to be tried at once.
	Reached()
}

// DirectoryConfig is what a Directory is made from. Zero values mean the
// defaults in the comments.
type DirectoryConfig struct {
	Source   Source       // required
	Table    *fleet.Table // required
	Snapshot *Snapshot    // nil: none is read or written
	Journal  *Journal     // nil: what is served unchecked is in the log alone
	Log      *slog.Logger // nil discards

	// AdminUser is the user that the master key acts as; it needs no row.
	AdminUser string

	Records int           // keys that are remembered at most; 65,536
	Bytes   int64         // and their size together; 64 MiB
	Wait    time.Duration // how long a request waits for a lookup; 1 s
	Query   time.Duration // how long a query may take; 2 s
}

// Directory is what a process knows of the keys in the database. It outlives
// the generations of the configuration and is safe for concurrent use.
type Directory struct {
	c    DirectoryConfig
	log  *slog.Logger
	ring *fleet.ChangeReader
	head *fleet.Header
	base time.Time // with mono: turns time.Now into fleet.Now without a system call
	mono int64
	stat *counters

	records *cache
	misses  *misses

	mu      sync.Mutex // guards what follows, and writing to records and boxes
	boxes   map[change][]weak.Pointer[box]
	purgeAt int                   // size of boxes at which the dead ones are taken out
	retired map[uint64][][32]byte // hash of an active digest → old digests that lead to it
	tidyAt  int                   // size of retired at which the dead ones are taken out
	flights map[[32]byte]*flight
	queues  [3][]*flight // by urgency
	waiting int          // unknown digests in the queues
	recent  map[change]struct{}
	overran bool // while the running query was under way, everything may have changed
	running bool // a query is under way

	saved     savedLately // guarded by mu
	customers customers
	spenders  spenders
	touches   touches
	outbox    outbox
	failures  atomic.Int32 // queries that failed in a row
	failedAt  atomic.Int64 // when the last of them did, on fleet.Now's scale
	answers   atomic.Bool  // a query was answered, ever
	wake      chan struct{}
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// change is an entry of the ring: an object, by the hash of its id.
type change struct {
	kind uint8
	hash uint64
}

// Bounds of a directory.
const (
	maxBatch   = 1000        // digests in a query
	maxWaiting = 4096        // unknown digests that wait
	perSecond  = 10          // queries, under pressure
	burst      = 3           // queries at once after a pause
	missFor    = int64(5e9)  // how long a digest is known to be missing, nanoseconds
	justUsed   = int64(60)   // seconds: what was used since is read again as soon as it has changed
	touchEvery = int64(60e9) // a key's last_active moves this often
	justHeard  = int64(5e8)  // nanoseconds: what failed is asked again where the host has heard of the database since
	againSoon  = 10 * time.Millisecond
	drainEvery = time.Second / 4  // the ring is followed this often where nobody calls
	tidyEvery  = 10 * time.Second // last_active is written this often
)

// NewDirectory makes a directory and starts following the ring and looking up.
// Close ends both.
func NewDirectory(c DirectoryConfig) (*Directory, error) {
	if c.Source == nil || c.Table == nil {
		return nil, errors.New("auth: a directory needs a database and a host table")
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.Wait, time.Second)
	set(&c.Query, 2*time.Second)
	if c.Records <= 0 {
		c.Records = 65_536
	}
	if c.Bytes <= 0 {
		c.Bytes = 64 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &Directory{
		c: c, log: c.Log, ring: fleet.NewChangeReader(c.Table), head: c.Table.Header(), base: time.Now(), mono: fleet.Now(),
		records: newCache(c.Records, c.Bytes), misses: newMisses(8192),
		boxes: map[change][]weak.Pointer[box]{}, purgeAt: 1024, tidyAt: 1024, retired: map[uint64][][32]byte{}, flights: map[[32]byte]*flight{},
		recent: map[change]struct{}{}, wake: make(chan struct{}, 1), stop: stop,
	}
	d.stat = newCounters(d)
	d.saved = make(savedLately, 16_384)
	d.customers.init()
	d.spenders.init()
	d.recall()
	if d.failing() {
		d.recallCustomers()
		d.recallSpenders()
	}
	d.done.Go(func() { d.look(ctx) })
	d.done.Go(func() { d.tidy(ctx) })
	return d, nil
}

// Close ends the directory's goroutines. What was noted for last_active and for
// the snapshot is written before, as far as the database answers at once.
func (d *Directory) Close() {
	d.stop()
	d.done.Wait()
}

// at is an instant on fleet.Now's scale.
func (d *Directory) at(t time.Time) int64 { return d.mono + int64(t.Sub(d.base)) }

func (d *Directory) now() int64 { return d.at(time.Now()) }

// Contact notes that the database has answered somebody: known keys are served
// for so long after it.
func (d *Directory) Contact() { d.head.IdentityContact.Store(fleet.Now()) }

// Invalidate marks objects that have changed as the ring would: what is known
// of them is read again before it is used. The id is that of a change.
func (d *Directory) Invalidate(kind identity.Kind, id string) {
	d.mu.Lock()
	d.changed(change{uint8(kind), fleet.HashID(id)})
	d.mu.Unlock()
	d.poke()
}

// Known reports whether a key's digest is remembered, as good or as refused.
func (d *Directory) Known(digest [32]byte) bool { return d.records.find(&digest) != nil }

// errChanged marks the refusal of a key that is known to have changed, nobody
// knows how.
var errChanged = errors.New("the key has changed and the database is away")

// identify fills who for a digest.
func (d *Directory) identify(k *Keys, digest *[32]byte, who *Identity) *llm.Error {
	now := time.Now()
	if d.ring.Pending() {
		d.follow()
	}
	r := d.records.find(digest)
	if r == nil || !d.ready(k, r, d.at(now), who) {
		return d.wait(k, digest, who)
	}
	return d.verdict(r, now, who)
}

// ready fills who.view from a record and reports whether it may be used as it
// is. A record that is old is read again in the background.
func (d *Directory) ready(k *Keys, r *record, now int64, who *Identity) bool {
	if r.stale.Load() {
		return false
	}
	if r.facts == nil {
		return now-r.fetched < missFor
	}
	who.view = view{}
	if r.facts.load(&who.view) != nil {
		return false
	}
	if second := now / 1e9; r.used.Load() != second {
		r.used.Store(second)
	}
	if now-r.fetched < k.fresh {
		return true
	}
	if now-d.head.IdentityContact.Load() > k.staleMax {
		return false
	}
	if r.asked.CompareAndSwap(false, true) {
		d.stat.stale.Inc()
		d.ask(r)
	}
	return true
}

// verdict judges a record that is ready, and fills who where it is good.
func (d *Directory) verdict(r *record, now time.Time, who *Identity) *llm.Error {
	v, wall := who.view, now.UnixNano()
	f := r.facts
	if f == nil || r.until != 0 && wall >= r.until {
		return unknown(&r.digest)
	}
	if err := v.refuses(f, now, wall); err != nil {
		return err
	}
	*who = f.fixed
	who.view = v
	v.describe(who)
	if at := d.at(now); at-r.touched.Load() >= touchEvery {
		d.touch(r, at, now)
	}
	return nil
}

// refuses says why a key that is known may do nothing at all.
func (v *view) refuses(f *keyFacts, now time.Time, wall int64) *llm.Error {
	if f.key.Blocked {
		return blockedKey()
	}
	if f.expires != 0 && wall >= f.expires {
		return expired(f, now)
	}
	for _, o := range [...]*object{v.team, v.user, v.org, v.project} {
		if o == nil {
			continue
		}
		if o.missing {
			return missingObject(o)
		}
		if o.blocked {
			return blockedObject(o)
		}
	}
	return nil
}

// describe fills what follows from the shared objects.
func (v *view) describe(who *Identity) {
	if v.user != nil {
		who.Role, who.UserEmail = v.user.role, v.user.email
	}
	if v.team != nil {
		who.TeamAlias = v.team.alias
	}
	if v.org != nil {
		who.Organization, who.OrganizationAlias = v.org.id, v.org.alias
	}
}

// wait looks a digest up and waits for the answer, at most until the deadline
// of a lookup. It returns what the answer says.
func (d *Directory) wait(k *Keys, digest *[32]byte, who *Identity) *llm.Error {
	timer := time.NewTimer(d.c.Wait)
	defer timer.Stop()
	var read *record // just now; it need not be in the cache any more
	began := fleet.Now()
	for {
		now := time.Now()
		if d.ring.Pending() {
			d.follow()
		}
		r := d.records.find(digest)
		if r == nil {
			r = read
		}
		if r != nil && d.ready(k, r, d.at(now), who) {
			return d.verdict(r, now, who)
		}
		if r == nil && d.misses.has(digest, d.at(now)) {
			return unknown(digest)
		}
		f, err := d.join(digest, r)
		if err != nil {
			return err
		}
		if f == nil {
			refused := d.helpless(k, digest, who)
			if refused == nil || !errors.Is(refused.Err, errChanged) || !d.worthwhile(began) {
				return refused
			}
			time.Sleep(againSoon)
			continue
		}
		select {
		case <-f.done:
			if f.err != nil {
				if d.worthwhile(began) {
					time.Sleep(againSoon)
					continue
				}
				return d.helpless(k, digest, who)
			}
			if f.none && f.digest == *digest {
				return unknown(digest)
			}
			if f.digest == *digest {
				read = f.record
			}
		case <-timer.C:
			d.stat.late.Inc()
			return d.helpless(k, digest, who)
		}
	}
}

// worthwhile reports whether a lookup that failed is tried once more: the host
// has heard of the database just now, and whoever began then may wait.
func (d *Directory) worthwhile(began int64) bool {
	now := fleet.Now()
	return now-began < int64(d.c.Wait) && now-d.head.IdentityContact.Load() < justHeard
}

// helpless is the answer where the database does not give one: what the
// snapshot of the host knows, else a refusal.
func (d *Directory) helpless(k *Keys, digest *[32]byte, who *Identity) *llm.Error {
	r := d.records.find(digest)
	if r == nil {
		if r = d.remember(digest); r == nil {
			return away()
		}
	}
	// Also where it was known: somebody else who waited may have found it in the
	// snapshot just now.
	if now := time.Now(); d.ready(k, r, d.at(now), who) {
		return d.verdict(r, now, who)
	}
	return d.stays(r)
}

// stays judges a record that may not be used as it is. A key that was refused
// stays refused; of others nobody can say anything now.
func (d *Directory) stays(r *record) *llm.Error {
	now := time.Now()
	if r.facts == nil || r.until != 0 && now.UnixNano() >= r.until {
		return unknown(&r.digest)
	}
	var v view
	changed := r.facts.load(&v) != nil || r.stale.Load()
	if err := v.refuses(r.facts, now, now.UnixNano()); err != nil {
		return err
	}
	err := away()
	if changed {
		err.Err = errChanged
	}
	return err
}

func hexOf(digest *[32]byte) string { return hex.EncodeToString(digest[:]) }
