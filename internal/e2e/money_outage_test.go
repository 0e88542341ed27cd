//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// plainModels answer at once.
var plainModels = []moneyModel{
	{group: "plain", id: "d-plain", script: "ok,body=600", in: 3000, out: 15_000},
	{group: "drops", id: "d-drops", script: "ok,n=3-9", in: 1250, out: 5003},
}

var plainKinds = []moneyKind{{group: "plain"}, {group: "plain"}, {group: "plain"}, {group: "drops", stream: true}}

// behind counts the calls that were answered well more than two seconds ago and
// have no row yet.
func (w *moneyWorld) behind(l *moneyLoad) int {
	w.t.Helper()
	limit := time.Now().Add(-2 * time.Second)
	l.mu.Lock()
	answered := 0
	for i := range l.calls {
		if l.calls[i].whole && l.calls[i].ended.Before(limit) {
			answered++
		}
	}
	l.mu.Unlock()
	return answered - w.db.number("SELECT count(*) FROM sluice.spend WHERE status = 'success'")
}

// M8: PostgreSQL is away under full load. Every call is answered and has its row
// afterwards, and the rows are less than two seconds late within the length of
// the outage, the load going on.
func TestMoneyOutage(t *testing.T) {
	lasts, perSecond := length(time.Minute, 5*time.Minute), 1000
	db := pgtest.New(t)
	w := newMoney(t, moneyOptions{server: db, models: plainModels})
	w.plain()
	l := w.newLoad("out").rate(perSecond, plainKinds)
	time.Sleep(2 * time.Second)
	from, began := l.number.Load(), time.Now()
	db.Stop(t)
	time.Sleep(lasts)
	rate := float64(l.number.Load()-from) / time.Since(began).Seconds()
	rows := int64(0)
	db.Start(t)
	back := time.Now()
	for {
		late := w.behind(l)
		if rows == 0 {
			rows = int64(late)
		}
		if late <= 0 {
			break
		}
		if time.Since(back) > lasts+5*time.Second {
			t.Errorf("%d calls have no row %v after the database is back\n%s", late, time.Since(back), w.tail(20))
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	caught := time.Since(back)
	memory := w.hosts[0].PSS()
	calls := l.stop()
	v := w.settled(calls, 30*time.Second)
	t.Logf("show 4: %v without a database at %.0f requests a second (asked for %d): %d rows waited, less than 2 s late %v after it was back; %d MB; %v",
		lasts, rate, perSecond, rows, caught.Round(100*time.Millisecond), memory>>20, v)
	if caught > lasts {
		t.Errorf("%v of outage, and only %v after it less than 2 s late", lasts, caught)
	}
	if rate < float64(perSecond)/2 {
		t.Errorf("only %.0f requests a second were made", rate)
	}
	for status, n := range v.answers {
		if status != http.StatusOK {
			t.Errorf("%d calls were answered with %d", n, status)
		}
	}
}

// M8: the journal's bound is reached: calls get 503 that says when to come back,
// readiness too, nothing is lost, and service resumes by itself.
func TestMoneyJournalFull(t *testing.T) {
	db := pgtest.New(t)
	w := newMoney(t, moneyOptions{
		server: db, models: plainModels,
		settings: "general_settings: {proxy_batch_write_at: 1, journal_max_gb: 0.002}\n",
	})
	w.plain()
	a := w.hosts[0]
	db.Stop(t)
	// Slow enough that what comes between two batches is far below the bound.
	l := w.newLoad("full").start(32, 20*time.Millisecond, []moneyKind{{group: "plain", weight: 1}})
	refused := func() (n int, last moneyCall) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := range l.calls {
			if l.calls[i].status == http.StatusServiceUnavailable {
				n, last = n+1, l.calls[i]
			}
		}
		return n, last
	}
	began := time.Now()
	for {
		if n, _ := refused(); n > 50 {
			break
		}
		if time.Since(began) > 40*time.Second {
			t.Fatalf("the bound is not reached after %v and %d calls\n%s", time.Since(began), l.number.Load(), a.Tail(20))
		}
		time.Sleep(50 * time.Millisecond)
	}
	n, c := refused()
	t.Logf("show 4: the bound of the journal after %v and %d calls; %d refused: %s, Retry-After %q", time.Since(began).Round(100*time.Millisecond),
		l.number.Load(), n, c.body, c.header.Get("Retry-After"))
	var said struct {
		Error struct {
			Message string `json:"message"`
			Code    any    `json:"code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(c.body, &said); err != nil || !strings.Contains(string(c.body), "journal_full") || c.header.Get("Retry-After") == "" {
		t.Errorf("refused with %s, Retry-After %q", c.body, c.header.Get("Retry-After"))
	}
	if body, _ := a.readinessIs(t, 5*time.Second, http.StatusServiceUnavailable, "not_ready"); !strings.Contains(body, "the journal is at its bound") {
		t.Errorf("readiness does not say why: %s", body)
	}
	if r, err := a.Do(http.MethodGet, "/v1/models", "", bearer(w.keys[0].key)); err != nil || r.Status != http.StatusOK {
		t.Errorf("a call that costs nothing: %v %s", err, r.text())
	}
	db.Start(t)
	back := time.Now()
	for {
		l.mu.Lock()
		last := l.calls[len(l.calls)-1]
		l.mu.Unlock()
		if last.status == http.StatusOK && last.began.After(back) {
			break
		}
		if time.Since(back) > 30*time.Second {
			t.Fatalf("service has not resumed after %v: %d %s\n%s", time.Since(back), last.status, last.body, a.Tail(20))
		}
		time.Sleep(20 * time.Millisecond)
	}
	resumed := time.Since(back)
	a.readinessIs(t, 10*time.Second, http.StatusOK, "healthy")
	time.Sleep(time.Second)
	v := w.settled(l.stop(), 20*time.Second)
	t.Logf("show 4: served again %v after the database is back; %v", resumed.Round(10*time.Millisecond), v)
	for status, n := range v.answers {
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Errorf("%d calls were answered with %d", n, status)
		}
	}
}
