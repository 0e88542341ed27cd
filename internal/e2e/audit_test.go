//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// auditors change things over the management API. Each call says a reason of its
// own, which its record has.
type auditors struct {
	t      *testing.T
	hosts  []*Appliance
	client *http.Client
	number atomic.Int64
	good   atomic.Int64 // calls that were answered with 200

	mu     sync.Mutex // guards what follows
	sent   map[string]bool
	acked  map[string]string // reason → what was done
	broken map[string]int    // how calls ended that were not answered with 200
}

func newAuditors(t *testing.T, hosts ...*Appliance) *auditors {
	return &auditors{
		t: t, hosts: hosts, sent: map[string]bool{}, acked: map[string]string{}, broken: map[string]int{},
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
}

// call makes one call, which changes one object, and returns its answer if that
// was 200.
func (w *auditors) call(a *Appliance, path, body string) (string, bool) {
	reason := fmt.Sprintf("call-%06d", w.number.Add(1))
	w.mu.Lock()
	w.sent[reason] = true
	w.mu.Unlock()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, a.URL()+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("x-sluice-reason", reason)
	status, text := 0, ""
	if resp, err := w.client.Do(req); err == nil {
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if text = string(b); err == nil {
			status = resp.StatusCode
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if status != http.StatusOK {
		w.broken[fmt.Sprint(status)]++
		if status != 0 && status != http.StatusServiceUnavailable {
			w.broken[fmt.Sprintf("%d %s %.200s", status, path, text)]++
		}
		return text, false
	}
	w.good.Add(1)
	w.acked[reason] = path
	return text, true
}

// life is that of a few objects, from one client.
func (w *auditors) life(a *Appliance) {
	name := fmt.Sprintf("%x", rand.Uint64())
	key := "sk-chosen-for-the-audit-" + name
	object := fmt.Sprintf(`{"key":%q`, key)
	if _, ok := w.call(a, "/key/generate", object+`,"key_alias":"`+name+`","max_budget":0.1}`); !ok {
		return
	}
	w.call(a, "/key/update", object+`,"metadata":{"of":"`+name+`","odd":"é\u0007\"\\ \u2028 1e400"},"models":["a","b"]}`)
	w.call(a, "/team/new", `{"team_id":"team-`+name+`","metadata":{"n":1.50}}`)
	w.call(a, "/key/block", object+`}`)
	w.call(a, "/user/new", `{"user_id":"user-`+name+`","auto_create_key":false}`)
	w.call(a, "/credentials", `{"credential_name":"cred-`+name+`","credential_info":{"x":"y"},"credential_values":{"api_key":"sk-`+name+`"}}`)
	w.call(a, "/key/unblock", object+`}`)
	if rand.IntN(2) == 0 {
		w.call(a, "/key/delete", `{"keys":["`+key+`"]}`)
	}
}

// work has 64 clients change things until so many calls were answered and
// enough has happened to the programs meanwhile.
func (w *auditors) work(most int64, enough func() bool) {
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			for w.good.Load() < most || !enough() {
				w.life(w.hosts[n%len(w.hosts)])
				if w.t.Failed() {
					return
				}
			}
		})
	}
	all.Wait()
	w.client.CloseIdleConnections()
}

// recorded compares what was answered with the record: each call that was
// answered is in it, none has changed an object twice, and no row is of a call
// that nobody made. It returns what does not fit.
func (w *auditors) recorded(d *recordDB) (rows int, wrong []string) {
	w.t.Helper()
	found := map[string]bool{}
	for _, row := range d.texts("SELECT reason, count(*), count(DISTINCT object_type || object_id) FROM sluice.changes WHERE reason LIKE 'call-%' GROUP BY reason") {
		found[row[0]] = true
		if row[1] != row[2] {
			wrong = append(wrong, fmt.Sprintf("%s has %s records of %s objects", row[0], row[1], row[2]))
		}
	}
	for reason, path := range w.acked {
		if !found[reason] {
			wrong = append(wrong, fmt.Sprintf("%s: %s was answered with 200 and has no record", reason, path))
		}
	}
	for reason := range found {
		if !w.sent[reason] {
			wrong = append(wrong, "nobody sent "+reason)
		}
	}
	return len(found), wrong
}

// noticed shows that the comparison sees what it should, on a copy in which one
// more record, object or link of one to the other is falsified each time.
func (w *auditors) noticed(d *recordDB) {
	w.t.Helper()
	to, before := d.copy(), 0
	for _, forged := range []string{
		"DELETE FROM sluice.teams WHERE team_id = (SELECT min(team_id) FROM sluice.teams)",
		"UPDATE sluice.users SET change_number = change_number - 1 WHERE user_id = (SELECT max(user_id) FROM sluice.users)",
		"UPDATE sluice.changes SET reason = 'call-none' WHERE number = (SELECT min(number) FROM sluice.changes WHERE reason LIKE 'call-%')",
		"DELETE FROM sluice.changes WHERE number = (SELECT max(number) FROM sluice.changes WHERE reason LIKE 'call-%')",
	} {
		to.forge(forged)
		_, _, wrong := to.whole()
		_, more := w.recorded(to)
		if n := len(wrong) + len(more); n <= before {
			w.t.Errorf("nothing was noticed after %s", forged)
		} else {
			before = n
		}
	}
}

// crashes happens to workers, and to the database where there is one apart,
// until it is told to stop.
type crashes struct {
	kills, restarts atomic.Int64
}

func (c *crashes) run(t *testing.T, hosts []*Appliance, db *pgtest.Server, stop <-chan struct{}) {
	tables := make([]*fleet.Table, len(hosts))
	for h, a := range hosts {
		tables[h] = a.Table()
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(600 * time.Millisecond):
		}
		if db != nil && i%4 == 2 {
			if c.restarts.Load()%2 == 0 {
				db.Kill(t) // loses what was not synced; fsync is off, but the machine stays
			} else {
				db.Stop(t)
			}
			db.Start(t)
			c.restarts.Add(1)
			continue
		}
		for h := range hosts {
			if err := syscall.Kill(pick(t, tables[h]).pid, syscall.SIGKILL); err == nil {
				c.kills.Add(1)
			}
		}
	}
}

// TestAudit: while workers are killed and the database is started anew, 64
// clients change things. The chain verifies, every answered change has its
// record, and the record is that of the objects. Then every kind of tampering is
// found.
func TestAudit(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		db := pgtest.New(t)
		auditTrail(t, &recordDB{t: t, url: db.Database(t)}, db)
	})
	t.Run("sqlite", func(t *testing.T) { auditTrail(t, &recordDB{t: t}, nil) })
}

func auditTrail(t *testing.T, d *recordDB, db *pgtest.Server) {
	var hosts []*Appliance
	for len(hosts) < 2 && (len(hosts) == 0 || db != nil) {
		env := map[string]string{"LITELLM_SALT_KEY": "sk-salt-of-the-audit-7Gq2Zx9Wm4Rt6Yp", "LITELLM_LOG": "ERROR"}
		if d.url != "" {
			env["DATABASE_URL"] = d.url
		}
		a := New(t, Options{Config: identityConfig, Env: env})
		a.Start()
		a.allReady()
		hosts = append(hosts, a)
	}
	if db == nil {
		d.file = filepath.Join(hosts[0].Dir, "sluice.db")
	}
	w := newAuditors(t, hosts...)
	var c crashes
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // its failures end the test when it is waited for
		defer close(done)
		c.run(t, hosts, db, stop)
	}()
	began := time.Now()
	w.work(int64(length(750, 10_000)), func() bool {
		return c.kills.Load() >= int64(length(4, 20)) && (db == nil || c.restarts.Load() >= int64(length(2, 10)))
	})
	close(stop)
	<-done
	t.Logf("show 3: %d changes in %v beside %d kills of workers and %d restarts of the database",
		w.good.Load(), time.Since(began).Round(time.Millisecond), c.kills.Load(), c.restarts.Load())
	for _, a := range hosts {
		a.allReady()
	}
	w.life(hosts[0]) // the last change is after the last crash
	for _, a := range hosts {
		if code := a.Stop(); code != fleet.ExitOK {
			t.Errorf("stopped with %d", code)
		}
	}
	objects, changes, wrong := d.whole()
	rows, more := w.recorded(d)
	t.Logf("show 3: %d calls, %d answered with 200, %d in the record; the others ended so: %v", len(w.sent), len(w.acked), rows, w.broken)
	if wrong = append(wrong, more...); len(wrong) > 0 {
		t.Errorf("%d things do not fit, such as %q", len(wrong), few(wrong))
	}
	for what := range w.broken {
		if len(what) > len("503") {
			t.Errorf("a call ended with %s", what)
		}
	}
	w.noticed(d)
	said := hosts[0].audited(t)
	t.Logf("show 3: %d objects and %d changes fit each other; the verifier says:\n%s", objects, changes, said)
	for _, a := range hosts {
		if b, err := os.ReadFile(filepath.Join(a.Dir, "audit-head.jsonl")); err != nil || !strings.Contains(string(b), fmt.Sprint(changes)) {
			t.Errorf("the head is not kept in the state directory: %v %.500s", err, b)
		}
	}
	if !t.Failed() {
		tampered(t, d, hosts[0])
	}
}
