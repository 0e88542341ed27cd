//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// cent is what each of the calls costs that budgets are tried with.
const cent = int64(10_000_000)

// centModels say 200 tokens at 50,000 nano-dollars: a cent, which is also what
// a call that asks for 200 tokens at most can cost.
var centModels = []moneyModel{
	{group: "cent", id: "d-cent", script: "slow,for=40ms/ok,body=1000", out: cent / 200},
	{group: "drops", id: "d-drops", script: "ok,n=200,size=4,every=500us", out: cent / 200},
}

const centTokens = 200

var centKinds = []moneyKind{{group: "cent"}, {group: "drops", stream: true}}

// spendAll has so many clients make calls of a cent with one key until stop is
// closed, and returns the calls.
func (w *moneyWorld) spendAll(prefix string, clients int, stop <-chan struct{}) []moneyCall {
	w.t.Helper()
	l := w.newLoad(prefix)
	for range clients {
		l.done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := l.number.Add(1)
				c := moneyCall{id: fmt.Sprintf("%s-%d", prefix, n), kind: centKinds[n%2]}
				l.send(&c, w.url, w.keys[0].key, centTokens, -1)
				l.mu.Lock()
				l.calls = append(l.calls, c)
				l.mu.Unlock()
				if c.status != http.StatusOK {
					time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond))
				}
			}
		})
	}
	<-stop
	l.done.Wait()
	l.client.CloseIdleConnections()
	return l.calls
}

// admitted counts the calls that the provider has seen of a prefix.
func (w *moneyWorld) admitted(prefix string) (n int) {
	for _, e := range w.p.Ledger().All() {
		if strings.HasPrefix(e.ID, prefix+"-") {
			n++
		}
	}
	return n
}

// cheaper counts the rows of attempts that came to less than what they had
// reserved: those of processes that were killed, or of connections that broke.
func (w *moneyWorld) cheaper() (n int) {
	for _, rows := range w.rows() {
		for _, r := range rows {
			if r.status != "rejected" && r.cost < cent {
				n++
			}
		}
	}
	return n
}

// inBudget wants a budget not to be passed: never more calls at the provider than
// it has cents, but for those that came to less, and never a sum above it.
func (w *moneyWorld) inBudget(prefix string, cents int) (admitted int) {
	w.t.Helper()
	admitted, cheaper := w.admitted(prefix), w.cheaper()
	spent := w.db.number("SELECT coalesce(sum(cost), 0) FROM sluice.spend")
	w.t.Logf("%s: %d calls admitted, %d of them came to less than a cent, %s $ spent of %s", w.name, admitted, cheaper, dollars(int64(spent)), dollars(int64(cents)*cent))
	if admitted-cheaper > cents {
		w.t.Errorf("%d calls of a cent were admitted on a budget of %d", admitted-cheaper, cents)
	}
	if int64(spent) > int64(cents)*cent {
		w.t.Errorf("%s $ were spent of %s", dollars(int64(spent)), dollars(int64(cents)*cent))
	}
	return admitted
}

// purse makes the key of a budget, known to all hosts.
func (w *moneyWorld) purse(body string) {
	w.t.Helper()
	key := w.hosts[0].generate(body)
	w.keys = []moneyKey{{key: key, token: digest(key)}}
	for _, a := range w.hosts {
		w.known(a, w.keys[0])
	}
}

// M9: three hosts of four workers and 64 clients at a budget of one dollar, with
// crashes and a failover of the database. With a synchronous standby never more
// than a hundred cents are spent; with one that lacks the last commits at most
// what those said was spent and leased (docs/budgets.md).
func TestMoneyBudget(t *testing.T) {
	for name, lossy := range map[string]bool{"synchronous": false, "commits lost": true} {
		t.Run(name, func(t *testing.T) { budgetFailover(t, lossy) })
	}
}

// committed is what the database says that is spent and leased of the purse.
func (w *moneyWorld) committed() int {
	w.t.Helper()
	return w.db.number("SELECT coalesce(sum(spend + leased), 0) FROM sluice.budget_windows")
}

func budgetFailover(t *testing.T, lossy bool) {
	db := pgtest.New(t)
	url := db.Database(t)
	standby := db.Standby(t)
	if !lossy {
		pgtest.Exec(t, url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
		pgtest.Exec(t, url, "SELECT pg_reload_conf()")
	}
	both := strings.Replace(url, fmt.Sprintf("127.0.0.1:%d", db.Port), fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", db.Port, standby.Port), 1) +
		"&target_session_attrs=read-write"
	w := newMoney(t, moneyOptions{Options: Options{Workers: 4}, url: both, hosts: 3, models: centModels})
	w.purse(`{"max_budget":1.00}`)
	db.CaughtUp(t, 10*time.Second)
	stop, over := make(chan struct{}), make(chan struct{})
	var calls []moneyCall
	go func() { // ends with stop
		defer close(over)
		calls = w.spendAll("cent", 64, stop)
	}()
	faults := make(chan struct{})
	killed := make(chan int, 1)
	go func() { // ends with faults
		defer close(killed)
		killed <- w.killWorkers(100*time.Millisecond, 300*time.Millisecond, faults, w.hosts[:2]...)
	}()
	time.Sleep(300 * time.Millisecond)
	w.hosts[2].killAll()
	lost := 0
	if lossy {
		has := w.committed()
		standby.Stop(t)
		time.Sleep(300 * time.Millisecond)
		lost = w.committed() - has
	}
	w.hosts[2].Start()
	db.Kill(t)
	if lossy {
		standby.Start(t)
	}
	standby.Promote(t)
	if !lossy { // it has none of its own to wait for
		pgtest.Exec(t, standby.URL("postgres"), "ALTER SYSTEM RESET synchronous_standby_names")
		pgtest.Exec(t, standby.URL("postgres"), "SELECT pg_reload_conf()")
	}
	w.hosts[2].slotsReady(4)
	time.Sleep(length(5*time.Second, 2*time.Minute))
	close(faults)
	kills := <-killed
	time.Sleep(length(4*time.Second, 70*time.Second)) // what other hosts hold comes back, and is spent
	close(stop)
	<-over
	v := w.settled(calls, 30*time.Second)
	n := w.inBudget("cent", 100+(lost+int(cent)-1)/int(cent))
	t.Logf("M9: %d workers and a host killed, a failover that lost commits of %s $: %d calls of a cent admitted on 1.00 $; %v", kills, dollars(int64(lost)), n, v)
	if least := length(80, 99); v.statuses["success"] < least {
		t.Errorf("only %d calls could be made of 100", v.statuses["success"])
	}
	if v.answers[http.StatusTooManyRequests] == 0 {
		t.Error("nobody was refused: too little to prove anything")
	}
	w.refusals(calls)
}

// refusals wants what was refused to be refused as it should be.
func (w *moneyWorld) refusals(calls []moneyCall) {
	w.t.Helper()
	seen := map[string]int{}
	for i := range calls {
		c := &calls[i]
		switch c.status {
		case http.StatusTooManyRequests:
			if !strings.Contains(string(c.body), "budget_exceeded") {
				seen["429 that names no budget: "+string(c.body)]++
			}
		case http.StatusServiceUnavailable:
			if c.header.Get("Retry-After") == "" {
				seen["503 without Retry-After: "+string(c.body)]++
			}
		case 0, http.StatusOK, http.StatusBadGateway: // the balancer's word for a worker that was killed
		default:
			seen[fmt.Sprintf("%d: %.200s", c.status, c.body)]++
		}
	}
	for text, n := range seen {
		w.t.Errorf("%d calls were answered %s", n, text)
	}
}

// The same finds a host that counts after the call.
func TestMoneyBudgetKnownBad(t *testing.T) {
	w := newMoney(t, moneyOptions{
		Options: Options{Workers: 4, Variant: Bad, Env: map[string]string{"SLUICE_TEST_BAD": "check-then-count"}}, models: centModels,
	})
	w.purse(`{"max_budget":0.30}`)
	stop := make(chan struct{})
	time.AfterFunc(4*time.Second, func() { close(stop) })
	w.spendAll("cent", 64, stop)
	time.Sleep(3 * time.Second) // until the rows are there
	n, cheaper := w.admitted("cent"), w.cheaper()
	t.Logf("M9, known bad check-then-count: %d calls admitted on 0.30 $, %d of them less than a cent", n, cheaper)
	if n-cheaper <= 30 {
		t.Error("check-then-count: nothing was found: the test does not see what it should")
	}
}

// M9: what a host has leased is usable while the database is away, also by
// workers that are born meanwhile, and what a host held whose processes have all
// died comes back within a minute of its start.
func TestMoneyLease(t *testing.T) {
	db := pgtest.New(t)
	w := newMoney(t, moneyOptions{Options: Options{Workers: 4}, server: db, models: centModels})
	w.purse(`{"max_budget":100}`)
	a, l := w.hosts[0], w.newLoad("lease")
	one := func() moneyCall { return l.call(moneyKind{group: "cent"}, 0) }
	for range 20 {
		if c := one(); c.status != http.StatusOK {
			t.Fatalf("before: %d %s", c.status, c.body)
		}
	}
	db.Stop(t)
	if c := one(); c.status != http.StatusOK {
		t.Fatalf("on the lease, the database is away: %d %s", c.status, c.body)
	}
	for _, p := range a.Processes() {
		if p.Program == "proxy" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	began := time.Now()
	for {
		c := one()
		if c.status == http.StatusOK {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("on the lease, after all workers were killed: %d %s\n%s", c.status, c.body, a.Tail(30))
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("show 3: all workers of a host killed without a database: its lease is used again after %v", time.Since(began).Round(time.Millisecond))
	a.killAll()
	db.Start(t)
	held := w.db.texts("SELECT holder, sum(amount) FROM sluice.budget_leases GROUP BY holder")
	if len(held) == 0 || held[0][1] == "0" {
		t.Fatalf("nothing is leased: %v", held)
	}
	a.Start()
	began = time.Now()
	a.slotsReady(4)
	for {
		left := w.db.texts(fmt.Sprintf("SELECT coalesce(sum(amount), 0) FROM sluice.budget_leases WHERE holder = '%s'", held[0][0]))
		if left[0][0] == "0" {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%s nano-dollars are still held by the life before\n%s", left[0][0], a.Tail(30))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("show 3: all processes of a host killed: %s nano-dollars that it held are free %v after its start", held[0][1], time.Since(began).Round(100*time.Millisecond))
	if c := one(); c.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", c.status, c.body)
	}
	w.settled(l.stop(), 20*time.Second)
}

// M10: windows end under load. Each row is in one window, none has more than the
// budget, and each begins anew.
func TestMoneyWindows(t *testing.T) {
	const every, cents = 3 * time.Second, 20
	w := newMoney(t, moneyOptions{Options: Options{Workers: 4}, models: centModels})
	w.purse(fmt.Sprintf(`{"max_budget":0.%02d,"budget_duration":"%ds"}`, cents, int(every.Seconds())))
	stop, over := make(chan struct{}), make(chan struct{})
	var calls []moneyCall
	go func() { // ends with stop
		defer close(over)
		calls = w.spendAll("window", 24, stop)
	}()
	time.Sleep(length(13*time.Second, 5*time.Minute))
	close(stop)
	<-over
	time.Sleep(2 * time.Second) // until the rows are there
	v := w.compare(calls)
	for _, text := range append(append(v.lost, v.double...), v.wrong...) {
		t.Error(text)
	}
	reset := w.db.texts("SELECT CAST(extract(epoch FROM budget_reset_at) * 1000000 AS BIGINT) FROM sluice.keys WHERE budget_reset_at IS NOT NULL")
	if len(reset) != 1 {
		t.Fatalf("no key has a window: %v", reset)
	}
	query := fmt.Sprintf(`SELECT floor((CAST(extract(epoch FROM started_at) * 1000000 AS BIGINT) - %s) / %d.0), sum(cost), count(*),
		min(abs((CAST(extract(epoch FROM started_at) * 1000000 AS BIGINT) - %[1]s) %% %[2]d)) FROM sluice.spend GROUP BY 1 ORDER BY 1`, reset[0][0], every.Microseconds())
	windows := w.db.texts(query)
	t.Logf("M10: windows of %v with %d cents each: %v; %v", every, cents, windows, v)
	used := 0
	for _, row := range windows {
		var cost int64
		_, _ = fmt.Sscan(row[1], &cost)
		if cost > cents*cent {
			t.Errorf("window %s: %s $ were spent of 0.%02d", row[0], dollars(cost), cents)
		}
		if cost > cents*cent/2 {
			used++
		}
	}
	if used < 3 {
		t.Errorf("only %d windows were used", used)
	}
}
