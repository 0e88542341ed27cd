package gateway

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/limit"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// However a client writes how many answers it wants: a budget has room for all of
// them, or the call is not made.
func TestAllAnswersAreReserved(t *testing.T) {
	for n, want := range map[string]int{"5": 200, `"5"`: 200, "10": 429, "1e1": 429, "1.0E+1": 429, "10.0": 429, `"10"`: 429, "null": 200, `"ten"`: 200} {
		ring := &keyring{}
		ring.add("sk-poor", func(k *identity.Key) { k.MaxBudget = ptr(money.Dollar) })
		b, _, _ := boundedBench(t, ring, nil, "mine=echo")
		body := strings.Replace(request("mine", "", false, false), "{", `{"max_tokens":100,"n":`+n+`,`, 1)
		if status, typ, _ := b.answer(t, "sk-poor", body); status != want || want == 429 && typ != "budget_exceeded" {
			t.Errorf("n %s: %d %s, want %d", n, status, typ, want)
		}
	}
}

// A second try that may not be made holds nothing more of the deployment: the
// next attempt may go to the same one.
func TestRefusedSecondTryGivesBack(t *testing.T) {
	table, d := hostTable(t), &diary{}
	l := limit.New(limit.Config{Table: table, Holders: fleet.NewRecordHolders(table, 0)})
	budgets := budgetsOf(t, budget.Config{Table: table, Leaser: &bank{}, HostID: "h"})
	x := &Exchange{g: &Gateway{journal: d, limiter: l, budgets: budgets, now: fleet.Now, metrics: NewMetrics(nil)}}
	s := &x.spending
	own := func(most money.Nano) []*budget.Limit {
		return []*budget.Limit{budget.NewLimit(bill.KindKey, "k", most, budget.None, "", time.Time{}, nil)}
	}
	rules := []*limit.Rule{limit.NewRule(limit.ScopeDeployment, "d", 2, 100, 1)}
	if r := l.Reserve(&s.held, rules, 60); r != nil {
		t.Fatalf("%+v", r)
	}
	now := time.Now().UnixNano()
	s.limits, s.open, x.Attempts = own(money.Dollar), true, 1
	if r := budgets.Reserve(&s.hold, s.limits, money.Dollar, s.id, 0, now, now+int64(time.Minute)); r != nil {
		t.Fatalf("%+v", r)
	}
	s.limits = own(0) // it was changed meanwhile
	if err := x.TryAgain(); err == nil || s.open || d.said() != "settle 0 failure" {
		t.Fatalf("%v %s", err, d.said())
	}
	var next limit.Hold
	if r := l.Reserve(&next, rules, 60); r != nil {
		t.Errorf("the deployment is still held: %s, %d left of %d", r.Type, r.Left, r.Limit)
	}
	if r := l.Reserve(new(limit.Hold), []*limit.Rule{limit.NewRule(limit.ScopeDeployment, "d", 2, -1, -1)}, 0); r == nil {
		t.Error("a call that was made does not count as a request")
	}
}

// A caller with several tags or places in an organization gets each header once:
// that of which the least is left.
func TestEachLimitHeaderOnce(t *testing.T) {
	table := hostTable(t)
	x := &Exchange{g: &Gateway{limiter: limit.New(limit.Config{Table: table, Holders: fleet.NewRecordHolders(table, 0)})}}
	rules := []*limit.Rule{
		limit.NewRule(limit.ScopeTag, "a", 10, -1, 7), limit.NewRule(limit.ScopeTag, "b", 3, 900, -1), limit.NewRule(limit.ScopeTag, "c", 50, 500, 9),
	}
	if r := x.g.limiter.Reserve(&x.held, rules, 100); r != nil {
		t.Fatalf("%+v", r)
	}
	x.limitHeaders()
	var got []string
	for _, h := range x.Header {
		if strings.HasPrefix(string(h.Name), "x-ratelimit-tag-") {
			got = append(got, strings.TrimPrefix(string(h.Name), "x-ratelimit-tag-")+"="+string(h.Value))
		}
	}
	want := "limit-max_parallel_requests=7 remaining-max_parallel_requests=6 limit-requests=3 remaining-requests=2 limit-tokens=500 remaining-tokens=400"
	if strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", strings.Join(got, " "), want)
	}
}

// Who waits as long as a refusal says is not refused for being early.
func TestResetIsNotEarly(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-limited", func(k *identity.Key) { k.RPMLimit = ptr(int64(1)) })
	b, _, _ := boundedBench(t, ring, nil, "mine=ok")
	b.answer(t, "sk-limited", request("mine", "", false, false))
	before := time.Now()
	status, _, h := b.answer(t, "sk-limited", request("mine", "", false, false))
	wait, err := time.ParseDuration(h["x-ratelimit-reset-requests"])
	at, e := strconv.ParseInt(h["reset_at"], 10, 64)
	if status != 429 || err != nil || e != nil || wait < 50*time.Second {
		t.Fatalf("%d %v", status, h)
	}
	if due := before.Add(wait - time.Millisecond); time.Unix(at, 0).Before(due) {
		t.Errorf("reset_at is %s before there is room", due.Sub(time.Unix(at, 0)))
	}
	if text := time.Unix(at, 0).UTC().Format("2006-01-02 15:04:05"); !strings.Contains(h["message"], "Limit resets at: "+text+" UTC") {
		t.Errorf("%s, and reset_at is %s", h["message"], text)
	}
	for d, want := range map[time.Duration]string{1500 * time.Microsecond: "0.002s", 0: "0s", 59*time.Second + 999_999_999: "60s", 1500 * time.Millisecond: "1.5s"} {
		if got := strings.Replace(string(appendSeconds(nil, d)), "00s", "s", 1); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

// Who may be named as long as a client likes is not repeated whole.
func TestLongNamesInRefusals(t *testing.T) {
	x := &Exchange{}
	r := limit.NewRule(limit.ScopeCustomer, strings.Repeat("c", 1<<20), 1, -1, -1)
	if e := x.limited(&limit.Refusal{Rule: r, Limit: 1}); len(e.Message) > 1000 {
		t.Errorf("%d bytes", len(e.Message))
	}
}

// Where no deployment has room the client may come again as soon as one of them
// has, whichever was asked last.
func TestRetryAfterOfTheSoonestDeployment(t *testing.T) {
	b, _, _ := boundedBench(t, &keyring{}, func(c *Config) {
		c.Models[0].RPM, c.Models[1].RPM = 100, 1
		c.Models[0].Terms.Enforced, c.Models[1].Terms.Enforced = true, true
	}, "mine=ok|slow,for=1ms")
	refused := 0
	for range 130 {
		status, typ, _ := b.answer(t, master, request("mine", "", false, false))
		if status == 200 {
			continue
		}
		refused++
		if e := b.last.Err; status != 429 || typ != "throttling_error" || e.RetryAfter > 2*time.Second {
			t.Fatalf("%d %s, to come again after %s", status, typ, e.RetryAfter)
		}
	}
	if refused == 0 {
		t.Error("nobody was refused")
	}
}
