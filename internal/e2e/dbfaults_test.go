//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// Four hosts on a server that has far too few connections for them, and is
// started anew under them: good keys are never called wrong, what cannot be
// known is 503, the server is not stormed, and with room all is normal.
func TestConnectionStorm(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	url := db.Database(t)
	boss := identityAppliance(t, url)
	boss.Start()
	boss.allReady()
	var keys []string
	for range 40 {
		keys = append(keys, boss.generate(`{}`))
	}
	db.Stop(t)
	db.Configure("max_connections=10")
	db.Start(t)
	hosts := []*Appliance{boss}
	for range 3 {
		a := identityAppliance(t, url)
		a.Start()
		hosts = append(hosts, a)
	}
	log := filepath.Join(db.Dir, "log")
	refusals := func() int {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "too many clients")
	}
	before, began := refusals(), time.Now()
	lasts := length(6*time.Second, time.Minute)
	counts := starve(t, hosts, keys, lasts, func() { db.Kill(t); db.Start(t) })
	rate := float64(refusals()-before) / time.Since(began).Seconds()
	t.Logf("show 2: storm: 4 hosts on 10 connections, started anew in between: %v, %.1f connections refused a second", counts, rate)
	if counts[http.StatusOK] == 0 || counts[http.StatusOK]+counts[http.StatusServiceUnavailable]+counts[0] != counts[-1] {
		t.Errorf("good keys were answered with %v", counts)
	}
	if rate > 40 {
		t.Errorf("%.1f connections were refused a second", rate)
	}
	db.Stop(t)
	db.Configure()
	db.Start(t)
	for _, a := range hosts {
		took := a.soon("with room enough", keys[0], "mock", http.StatusOK, 10*time.Second)
		t.Logf("show 2: storm: with room enough a host is normal after %v", took)
	}
}

// starve asks all hosts with all keys, and lets something happen in the middle.
// It counts statuses; those of -1 are all.
func starve(t *testing.T, hosts []*Appliance, keys []string, lasts time.Duration, middle func()) map[int]int {
	t.Helper()
	var mu sync.Mutex
	counts := map[int]int{}
	var all sync.WaitGroup
	end := time.Now().Add(lasts)
	for h, a := range hosts {
		for n := range 2 {
			all.Go(func() {
				for i := 0; time.Now().Before(end); i++ {
					r, err := a.Do(http.MethodPost, "/v1/chat/completions", `{"model":"mock","messages":[]}`,
						map[string]string{"Authorization": "Bearer " + keys[(i+17*n+5*h)%len(keys)], "Content-Type": "application/json"})
					mu.Lock()
					if counts[-1]++; err == nil {
						counts[r.Status]++
					} else {
						counts[0]++ // it is starting
					}
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	time.Sleep(lasts / 2)
	middle()
	all.Wait()
	return counts
}

// The password is changed under a running host: known keys are served, nothing
// else is, the log says what is wrong without the password, and the right one
// makes it normal.
func TestPasswordChanged(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := db.Database(t)
	const secret = "Secret-of-the-database"
	pgtest.Exec(t, admin, "CREATE ROLE app LOGIN PASSWORD '"+secret+"'; GRANT ALL ON DATABASE "+admin[strings.LastIndex(admin, "/")+1:strings.Index(admin, "?")]+" TO app")
	hba := filepath.Join(db.Dir, "data", "pg_hba.conf")
	text, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hba, append([]byte("host all app 127.0.0.1/32 scram-sha-256\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, admin, "SELECT pg_reload_conf()")
	a := identityAppliance(t, strings.Replace(admin, "postgres@", "app:"+secret+"@", 1))
	a.Start()
	a.allReady()
	key := a.generate(`{}`)
	if got := a.eachWorker(key, "mock"); !all(got, http.StatusOK) {
		t.Fatalf("before: %v", got)
	}
	pgtest.Exec(t, admin, "ALTER ROLE app PASSWORD 'another'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
	for range 20 {
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusOK) {
			t.Fatalf("a known key: %v", got)
		}
		if got := a.eachWorker("sk-nobody-has-this-key", "mock"); !all(got, http.StatusServiceUnavailable) {
			t.Fatalf("an unknown key: %v", got)
		}
		if r := a.bearer(http.MethodPost, "/key/generate", a.Key, `{}`); r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Fatalf("a management call: %d %s", r.Status, r.Body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	a.readinessIs(t, 5*time.Second, http.StatusOK, "degraded")
	if said := a.Log(); !strings.Contains(said, "password authentication failed") || strings.Contains(said, secret) {
		t.Errorf("the log names no wrong password, or says it:\n%s", a.Tail(20))
	}
	pgtest.Exec(t, admin, "ALTER ROLE app PASSWORD '"+secret+"'")
	took := a.soon("the right password again", "sk-nobody-has-this-key", "mock", http.StatusUnauthorized, 10*time.Second)
	t.Logf("show 2: normal %v after the password was right again", took)
}

// A server that only reads: keys are checked, nothing is written, and once it
// is the primary everything goes on.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	url := db.Database(t)
	a := identityAppliance(t, url)
	a.Start()
	a.allReady()
	key := a.generate(`{}`)
	standby := db.Standby(t)
	db.CaughtUp(t, 10*time.Second)
	b := identityAppliance(t, strings.Replace(url, fmt.Sprintf(":%d/", db.Port), fmt.Sprintf(":%d/", standby.Port), 1))
	b.Start()
	b.allReady()
	if got := b.eachWorker(key, "mock"); !all(got, http.StatusOK) {
		t.Errorf("a good key: %v", got)
	}
	if got := b.eachWorker("sk-nobody-has-this-key", "mock"); !all(got, http.StatusUnauthorized) {
		t.Errorf("an unknown key: %v", got)
	}
	for range 3 {
		if r := b.bearer(http.MethodPost, "/key/generate", b.Key, `{}`); r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("a write: %d %s", r.Status, r.Body)
		}
	}
	if r := b.bearer(http.MethodGet, "/key/list", b.Key, ""); r.Status != http.StatusOK {
		t.Errorf("a management call that reads: %d %s", r.Status, r.Body)
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	db.Kill(t)
	standby.Promote(t)
	since := time.Now()
	for {
		r := b.bearer(http.MethodPost, "/key/generate", b.Key, `{}`)
		if r.Status == http.StatusOK {
			break
		}
		if time.Since(since) > 10*time.Second {
			t.Fatalf("writes are refused %v after the promotion: %d %s", time.Since(since), r.Status, r.Body)
		}
	}
	t.Logf("show 2: writes go on %v after the promotion", time.Since(since))
}

// Connections that hang without an end, while new ones would be answered: no
// request waits past its deadline, and within 10 s all is normal.
func TestHalfOpenConnections(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	url := db.Database(t)
	h := pgtest.NewHole(t, fmt.Sprintf("127.0.0.1:%d", db.Port))
	a := identityAppliance(t, strings.Replace(url, fmt.Sprintf("127.0.0.1:%d", db.Port), h.Addr(), 1))
	a.Start()
	a.allReady()
	key := a.generate(`{}`)
	var many sync.WaitGroup // as many connections as a pool may have
	for range 24 {
		many.Go(func() { _ = a.bearer(http.MethodGet, "/key/list", a.Key, "") })
	}
	many.Wait()
	if got := a.eachWorker(key, "mock"); !all(got, http.StatusOK) {
		t.Fatalf("before: %v", got)
	}
	open := h.Hang()
	since := time.Now()
	var slowest time.Duration
	normal := map[string]bool{}
	for i := 0; len(normal) < 2; i++ {
		from := time.Now()
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusOK) {
			t.Errorf("a known key: %v", got)
		}
		got := a.eachWorker(fmt.Sprintf("sk-nobody-has-this-key-%d", i), "mock")
		if all(got, http.StatusUnauthorized) {
			normal["keys"] = true
		}
		slowest = max(slowest, time.Since(from))
		from = time.Now()
		if r := a.bearer(http.MethodPost, "/key/generate", a.Key, `{}`); r.Status == http.StatusOK {
			normal["writes"] = true
		} else if r.Status != http.StatusServiceUnavailable {
			t.Errorf("a management call: %d %s", r.Status, r.Body)
		}
		if took := time.Since(from); took > 11*time.Second {
			t.Errorf("a management call took %v", took)
		}
		if time.Since(since) > 20*time.Second {
			t.Fatalf("not normal after %v: %v\n%s", time.Since(since), normal, a.Tail(20))
		}
	}
	took := time.Since(since)
	t.Logf("show 2: %d connections hang: normal after %v, model calls on two workers waited %v at most", open, took, slowest)
	if took > 10*time.Second || slowest > 3*time.Second {
		t.Errorf("normal after %v, model calls on two workers waited %v", took, slowest)
	}
}
