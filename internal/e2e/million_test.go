//go:build e2e

package e2e

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver

	"sluice/internal/postgres/pgtest"
)

// What a million keys may cost.
const (
	coldGoal    = 2 * time.Millisecond
	knownMost   = 65_536   // records of a worker's cache
	recordsMost = 64 << 20 // and their bytes
	levelSlack  = 8 << 20
)

// insertKeysSQLite writes n keys beside the API, the first named of which are
// sk-cold-0 and so on.
func insertKeysSQLite(t *testing.T, file string, named, n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const columns = `INSERT INTO keys (token, key_name, models, created_at, updated_at) `
	one, err := tx.PrepareContext(t.Context(), columns+`VALUES (?, 'sk-...cold', '["mock"]', 1, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	for i := range named {
		digest := sha256.Sum256([]byte("sk-cold-" + strconv.Itoa(i)))
		if _, err := one.ExecContext(t.Context(), hex.EncodeToString(digest[:])); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.ExecContext(t.Context(), columns+fmt.Sprintf(`WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < %d)
		SELECT lower(hex(randomblob(32))), 'sk-...rest', '["mock"]', 1, 1 FROM g`, n-named)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// multitude is an appliance whose database holds many keys, beside one whose
// database holds a single one.
type multitude struct {
	big, small       *Appliance
	bigKey, smallKey string
	next             int // next key that nobody has asked with
}

// hotCosts compares the CPU of a request with a known key, in turns. What a busy
// machine adds it adds to both; the least of the rounds is what has least of it.
func (c *multitude) hotCosts(t *testing.T) {
	t.Helper()
	each := length(700*time.Millisecond, 5*time.Second)
	cost := func(a *Appliance, key string, least *float64) {
		before := a.workersCPU()
		r := hot(t, a, key, each)
		if got := float64(a.workersCPU()-before) / float64(r.Sent()); *least == 0 || got < *least {
			*least = got
		}
	}
	const warm = 500 * time.Millisecond
	hot(t, c.big, c.bigKey, warm)
	hot(t, c.small, c.smallKey, warm)
	var one, many float64
	for round := range length(6, 9) {
		if round%2 == 0 {
			cost(c.small, c.smallKey, &one)
			cost(c.big, c.bigKey, &many)
			continue
		}
		cost(c.big, c.bigKey, &many)
		cost(c.small, c.smallKey, &one)
	}
	t.Logf("show 5: CPU of a request with a known key: %.1f µs beside no other, %.1f µs beside many, × %.2f", one/1e3, many/1e3, many/one)
	most := 1 + float64(length(20, 5))/100 // a short run tells less
	if many > one*most {
		t.Errorf("a request with a known key costs × %.2f beside many others, want × %.2f at most", many/one, most)
	}
}

// coldTimes asks with keys that were never used, one after the other.
func (c *multitude) coldTimes(t *testing.T) {
	t.Helper()
	k := &asker{addr: c.big.Addr()}
	defer k.close()
	var took []time.Duration
	for range 200 {
		status, d, err := k.ask(fmt.Sprint("sk-cold-", c.next))
		c.next++
		if err != nil || status != http.StatusOK {
			t.Fatalf("a good key is answered with %d %v", status, err)
		}
		took = append(took, d)
		time.Sleep(5 * time.Millisecond)
	}
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("show 5: a key that was never used is answered in %v, nine in ten in %v, client and sockets included", median, took[len(took)*9/10])
	if median > coldGoal {
		t.Errorf("a cold key takes %v, want %v at most", median, coldGoal)
	}
}

// levels asks with so many different keys that the cache of the one worker
// cannot hold them, and looks where its memory stops growing.
func (c *multitude) levels(t *testing.T, keys int) {
	t.Helper()
	const askers, steps = 64, 10
	var sizes []int64
	for step := range steps {
		var wg sync.WaitGroup
		var failed atomic.Int64
		first := c.next + step*keys/steps
		for i := range askers {
			wg.Go(func() {
				k := &asker{addr: c.big.Addr()}
				defer k.close()
				for n := first + i; n < first+keys/steps; n += askers {
					if status, _, err := k.ask(fmt.Sprint("sk-cold-", n)); err != nil || status != http.StatusOK {
						failed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := failed.Load(); n > 0 {
			t.Fatalf("%d good keys were refused", n)
		}
		var rss int64
		for _, p := range c.big.Processes() {
			if p.Program == "proxy" {
				rss += c.big.memoryOf(p.PID, "Rss:")
			}
		}
		sizes = append(sizes, rss)
		t.Logf("show 5: %d keys asked with: the worker has %.1f MB", (step+1)*keys/steps, mega(rss))
	}
	known, bytes := c.big.metric(t, "sluice_auth_keys_known"), c.big.metric(t, "sluice_auth_known_bytes")
	t.Logf("show 5: %.0f keys are remembered, taken for %.1f MB", known, bytes/1e6)
	if known > knownMost || bytes > recordsMost || known < knownMost/4 {
		t.Errorf("%.0f keys of %.0f bytes are remembered", known, bytes)
	}
	// One look may fall before a collection of garbage and the next behind it.
	full := slices.Max(sizes[steps*4/10 : steps*7/10])
	if last := slices.Max(sizes[steps*7/10:]); last > full+full/10+levelSlack {
		t.Errorf("the worker grows from %.1f MB to %.1f MB when its cache is full", mega(full), mega(last))
	}
}

// metric reads a gauge of the appliance.
func (a *Appliance) metric(t *testing.T, name string) float64 {
	t.Helper()
	r, err := a.Health("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(r.Body)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != name && !strings.HasPrefix(f[0], name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found {
		t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// TestMillionKeys: what a request costs does not depend on how many keys there
// are, and a worker's memory is bounded by its cache. The short form has two
// hundred thousand keys.
func TestMillionKeys(t *testing.T) {
	n := length(200_000, 1_000_000)
	asked := length(100_000, 200_000)
	start := func(t *testing.T, env map[string]string) (*Appliance, string) {
		env["LITELLM_SALT_KEY"], env["LITELLM_LOG"] = "sk-salt-of-the-tests", "WARNING"
		a := New(t, Options{Workers: 1, Config: identityConfig, Env: env})
		a.Start()
		a.WaitReady(30 * time.Second)
		return a, a.generate(`{"models":["mock"]}`)
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		c := &multitude{}
		url := pgtest.Database(t)
		c.big, c.bigKey = start(t, map[string]string{"DATABASE_URL": url})
		c.small, c.smallKey = start(t, map[string]string{"DATABASE_URL": pgtest.Database(t)})
		insertKeys(t, url, n)
		c.hotCosts(t)
		c.coldTimes(t)
		c.levels(t, asked)
	})
	t.Run("SQLite", func(t *testing.T) {
		c := &multitude{}
		c.big, c.bigKey = start(t, map[string]string{})
		c.small, c.smallKey = start(t, map[string]string{})
		insertKeysSQLite(t, filepath.Join(c.big.Dir, "sluice.db"), 1000, n)
		c.hotCosts(t)
		c.coldTimes(t)
	})
}
