package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/auth"
	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/limit"
	"sluice/proxy/money"
	"sluice/proxy/price"
	"sluice/supervisor/fleet"
)

func hostTable(t testing.TB) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Claim(0, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close(); _ = syscall.Close(fd) })
	return table
}

// bank leases as a database does, to one host.
type bank struct {
	mu    sync.Mutex
	held  map[string]money.Nano
	away  bool
	spent money.Nano // of each budget, before
	asked int
}

func (b *bank) Lease(_ context.Context, _ string, asks []bill.LeaseAsk) ([]bill.Granted, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.away {
		return nil, errors.New("connection refused")
	}
	if b.held == nil {
		b.held = map[string]money.Nano{}
	}
	out := make([]bill.Granted, len(asks))
	for i, a := range asks {
		name := a.Kind.String() + a.ID + a.Window
		if room := a.Max - b.spent - b.held[name]; room >= a.Least {
			out[i].Amount = max(a.Least, min(a.Want, room/10))
		}
		b.held[name] += out[i].Amount
		out[i].Leased, out[i].Held, out[i].Spend = b.held[name], b.held[name], b.spent
	}
	return out, nil
}

func (b *bank) ReturnLeases(context.Context, string, []bill.Lease) error { return nil }

func (b *bank) EndLeases(_ context.Context, _ string, leases []bill.Lease) ([]bool, error) {
	return make([]bool, len(leases)), nil
}

func (b *bank) Leases(context.Context, string, time.Duration, bill.Lease, int) ([]bill.Lease, error) {
	return nil, nil
}
func (b *bank) Beat(context.Context, bill.Holder) (bool, error)                { return false, nil }
func (b *bank) Revive(context.Context, string) error                           { return nil }
func (b *bank) Holders(context.Context, string) ([]bill.Holder, error)         { return nil, nil }
func (b *bank) ReleaseHolder(context.Context, string) (money.Nano, int, error) { return 0, 0, nil }

// budgetsOf makes budgets that run.
func budgetsOf(t testing.TB, c budget.Config) *budget.Budgets {
	t.Helper()
	b := budget.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// boundedBench is a bench with a limiter and budgets of a host of its own.
func boundedBench(t testing.TB, ring *keyring, change func(*Config), models ...string) (*bench, *diary, *bank) {
	t.Helper()
	table, db := hostTable(t), &bank{}
	budgets := budgetsOf(t, budget.Config{Table: table, Leaser: db, HostID: "h"})
	b, d := account(t, func(c *Config) {
		c.Keys = auth.New(auth.Config{MasterKey: master, Directory: directory(t, ring)})
		c.Limiter = limit.New(limit.Config{Table: table, Holders: fleet.NewRecordHolders(table, 0)})
		c.Budgets = budgets
		if change != nil {
			change(c)
		}
	}, models...)
	return b, d, db
}

// answer does one exchange with a key and gives its headers too.
func (b *bench) answer(t testing.TB, key, body string) (status int, typ string, headers map[string]string) {
	t.Helper()
	headers = map[string]string{}
	_, status, typ = b.call(t, key, body, func(x *Exchange) { b.last = x })
	for _, h := range b.last.Header {
		headers[string(h.Name)] = string(h.Value)
	}
	if e := b.last.Err; e != nil {
		headers["message"] = e.Message
	}
	return status, typ, headers
}

// A key's requests a minute: so many pass, the next one gets 429 with what
// decided.
func TestRequestLimit(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-limited", func(k *identity.Key) {
		k.RPMLimit, k.TPMLimit = ptr(int64(3)), ptr(int64(100_000))
		k.Metadata = identity.Fields{"model_rpm_limit": json.RawMessage(`{"mine":50}`)}
	})
	b, d, _ := boundedBench(t, ring, nil, "mine=ok")
	body := request("mine", "", false, false)
	for i := range 3 {
		status, _, h := b.answer(t, "sk-limited", body)
		if status != 200 || h["x-ratelimit-limit-requests"] != "3" || h["x-ratelimit-remaining-requests"] != string(rune('2'-i)) {
			t.Fatalf("%d: %d %v", i, status, h)
		}
		if h["x-litellm-key-rpm-limit"] != "3" || h["x-ratelimit-api_key-limit-tokens"] != "100000" || h["x-litellm-key-remaining-requests-mine"] == "" {
			t.Errorf("%v", h)
		}
	}
	status, typ, h := b.answer(t, "sk-limited", body)
	if status != 429 || typ != "rate_limit_error" || h["rate_limit_type"] != "requests" || h["reset_at"] == "" || h["x-ratelimit-remaining-requests"] != "0" {
		t.Errorf("%d %s %v", status, typ, h)
	}
	if !strings.HasPrefix(h["message"], "Rate limit exceeded for api_key: "+ring.keys[0].Token+". Limit type: requests. Current limit: 3, Remaining: 0. Limit resets at: ") {
		t.Error(h["message"])
	}
	if e := b.last.Err; e.RetryAfter < time.Second || e.RetryAfter > 21*time.Second {
		t.Errorf("Retry-After %v", e.RetryAfter)
	}
	if len(d.intents) != 3 || len(d.rejects) != 1 {
		t.Errorf("%s", d.said())
	}
	if status, _, _ := b.answer(t, master, body); status != 200 {
		t.Errorf("the master key: %d", status)
	}
}

// Tokens count as they are in the end: what was estimated too high comes back.
func TestTokensAreSettled(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-tokens", func(k *identity.Key) { k.TPMLimit = ptr(int64(2000)) })
	b, _, _ := boundedBench(t, ring, nil, "mine=ok,prompt=100")
	used := int64(0)
	for range 50 {
		status, _, _ := b.answer(t, "sk-tokens", request("mine", "", false, false))
		if status == 429 {
			break
		}
		used += b.last.Usage.Total
	}
	if used < 1200 || used > 2600 {
		t.Errorf("%d tokens passed, 2000 may", used)
	}
}

// Parallel requests: a place is held as long as a request, and comes back.
func TestParallelLimit(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-one", func(k *identity.Key) { k.MaxParallelRequests = ptr(int64(1)) })
	b, _, _ := boundedBench(t, ring, nil, "mine=ok,n=20")
	x := b.leaveOpen(t, "sk-one", request("mine", "", true, false))
	if status, _, h := b.answer(t, "sk-one", request("mine", "", false, false)); status != 429 || h["rate_limit_type"] != "max_parallel_requests" {
		t.Errorf("beside a stream: %d %v", status, h)
	}
	_ = x.answer.Stream.Close()
	x.Settle()
	if status, _, _ := b.answer(t, "sk-one", request("mine", "", false, false)); status != 200 {
		t.Errorf("after it: %d", status)
	}
}

// leaveOpen starts an exchange and leaves it open.
func (b *bench) leaveOpen(t testing.TB, key, body string) *Exchange {
	t.Helper()
	x := &Exchange{}
	x.Reset()
	copy(x.ID[:], "01900000-0000-7000-8000-000000000001")
	x.CallID, x.Route, x.Dialect, x.Start = x.ID[:], chatRoute.Path, speaker{}, b.now()
	if e := b.Identify(x, []byte(key)); e != nil {
		t.Fatal(e)
	}
	x.Body = []byte(body)
	decode(t, x)
	if _, e := b.Do(x); e != nil {
		t.Fatal(e)
	}
	return x
}

// A deployment's own limits lead to another deployment, and are no failure of it.
func TestDeploymentLimits(t *testing.T) {
	b, d, _ := boundedBench(t, &keyring{}, func(c *Config) {
		for i := range c.Models {
			c.Models[i].RPM, c.Models[i].Terms.Enforced = 2, true
		}
	}, "mine=ok|slow,for=1ms")
	for i := range 5 {
		status, typ, _ := b.answer(t, master, request("mine", "", false, false))
		if want := 200; i < 4 && status != want || i == 4 && (status != 429 || typ != "throttling_error") {
			t.Errorf("%d: %d %s", i, status, typ)
		}
	}
	if len(d.intents) != 4 || d.intents[0].ModelID == d.intents[3].ModelID {
		t.Errorf("%s", d.said())
	}
	for _, in := range d.intents {
		if in.Attempt != 0 {
			t.Errorf("attempt %d of a request that was called once", in.Attempt)
		}
	}
}

// A budget is reserved before and settled after: so many calls pass as it has
// room for, the answer is capped at what was reserved, and the refusal says why.
func TestBudget(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-poor", func(k *identity.Key) { k.Alias, k.MaxBudget = "poor", ptr(money.Dollar) })
	b, d, _ := boundedBench(t, ring, func(c *Config) { c.Models[0].Info.MaxOutput = 500 }, "mine=echo")
	body := strings.Replace(request("mine", "", false, false), "{", `{"max_tokens":100,`, 1)
	passed := 0
	for range 5000 {
		status, typ, h := b.answer(t, "sk-poor", body)
		if status == 200 {
			passed++
			continue
		}
		if typ != "budget_exceeded" || h["x-should-retry"] != "false" || !strings.Contains(h["message"], "Budget has been exceeded! Key=poor Current cost: 0.") {
			t.Fatalf("%d %s %v", status, typ, h)
		}
		break
	}
	var spent money.Nano
	for _, s := range d.settles {
		spent += s.Cost
	}
	if passed < 2 || spent > money.Dollar {
		t.Errorf("%d passed and cost %s", passed, spent)
	}
	if len(d.rejects) == 0 || !strings.HasSuffix(d.said(), "reject 429 budget_exceeded") {
		t.Errorf("after %d calls the refusal is not written down as one of a budget: %s", passed, d.lines[len(d.lines)-1])
	}
	if in := d.intents[0]; in.Claim == 0 || in.Reserved < 100*money.Dollar/1000 || len(in.Accounts) != 1 || !in.Accounts[0].Leased {
		t.Errorf("%+v", in)
	}
}

// What a key has spent is told with what this process has added since the key
// was read, also by streams, which come in a later answer.
func TestKeySpend(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-counted", func(k *identity.Key) { k.Spend = 7 * money.Dollar })
	b, d, _ := boundedBench(t, ring, nil, "mine=ok|ok")
	want := 7 * money.Dollar
	for i, stream := range []bool{false, false, true, false} {
		_, _, h := b.answer(t, "sk-counted", request("mine", "", stream, false))
		cost := d.settles[i].Cost
		if !stream {
			want += cost
		}
		if got := h["x-litellm-key-spend"]; got != want.String() || cost <= 0 {
			t.Errorf("call %d: the key has spent %s, not %s", i, got, want)
		}
		if stream {
			want += cost
		}
	}
}

// Where the client says nothing of the length of an answer and a budget applies,
// the gateway caps it at what it has reserved; near the end of the budget at
// what is left. Without a budget nothing is capped.
func TestAnswersAreCapped(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-rich", func(k *identity.Key) { k.MaxBudget = ptr(1000 * money.Dollar) })
	ring.add("sk-short", func(k *identity.Key) { k.MaxBudget = ptr(money.Dollar / 2) })
	ring.add("sk-free", func(*identity.Key) {})
	b, _, _ := boundedBench(t, ring, func(c *Config) { c.Models[0].Info.MaxOutput = 700 }, "mine=echo")
	sent := func(key string) string {
		answer, status, _ := b.call(t, key, request("mine", "", false, false), nil)
		if status != 200 {
			t.Fatalf("%s: %d", key, status)
		}
		var a struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(answer), &a); err != nil {
			t.Fatal(err)
		}
		_, asked, _ := strings.Cut(a.Choices[0].Message.Content, "\r\n\r\n")
		var body map[string]json.RawMessage
		if err := json.Unmarshal([]byte(asked), &body); err != nil {
			t.Fatalf("%v: %s", err, asked)
		}
		return string(body["max_tokens"])
	}
	if got := sent("sk-rich"); got != "700" {
		t.Errorf("capped at %q", got)
	}
	if got := sent("sk-free"); got != "" {
		t.Errorf("without a budget capped at %q", got)
	}
	if got := sent("sk-short"); len(got) != 3 || got < "400" || got >= "500" {
		t.Errorf("with half a dollar left capped at %q", got)
	}
}

// A database that is away is no exceeded budget.
func TestBudgetsWithoutDatabase(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-poor", func(k *identity.Key) { k.MaxBudget = ptr(money.Dollar) })
	b, _, db := boundedBench(t, ring, nil, "mine=ok")
	db.away = true
	status, typ, h := b.answer(t, "sk-poor", request("mine", "", false, false))
	if status != 503 || typ != "budget_unavailable" || b.last.Err.RetryAfter < time.Second {
		t.Errorf("%d %s %v", status, typ, h)
	}
}

// The budget of a provider or a deployment leads elsewhere; that of everything
// refuses.
func TestBudgetsOfDeployments(t *testing.T) {
	nothing := &Budget{Max: 0}
	b, d, _ := boundedBench(t, &keyring{}, func(c *Config) {
		c.Models[0].Terms.Budget = nothing
	}, "mine=ok|ok", "other=ok")
	if status, _, _ := b.answer(t, master, request("mine", "", false, false)); status != 200 || len(d.intents) != 1 {
		t.Errorf("%d: %s", status, d.said())
	}
	b, d, _ = boundedBench(t, &keyring{}, func(c *Config) { c.Terms.Providers = map[string]Budget{"openai": *nothing} }, "mine=ok|ok")
	if status, typ, h := b.answer(t, master, request("mine", "", false, false)); d.said() != "reject 429 budget_exceeded" || status != 429 || typ != "None" ||
		!strings.HasPrefix(h["message"], "No deployments available - crossed budget: Exceeded budget for provider openai") {
		t.Errorf("%d %s %v", status, typ, h)
	}
	b, _, _ = boundedBench(t, &keyring{}, func(c *Config) { c.Terms.Budget, c.Terms.BudgetStatus = nothing, 400 }, "mine=ok|ok")
	if status, typ, h := b.answer(t, master, request("mine", "", false, false)); status != 400 || typ != "budget_exceeded" {
		t.Errorf("%d %s %v", status, typ, h)
	}
}

// What a retry needs is reserved anew, and what failed comes back.
func TestFailuresGiveBack(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-poor", func(k *identity.Key) { k.MaxBudget, k.MaxParallelRequests = ptr(2*money.Dollar), ptr(int64(1)) })
	b, d, _ := boundedBench(t, ring, func(c *Config) { c.Retries = 3 }, "mine=s503|s503|ok")
	body := strings.Replace(request("mine", "", false, false), "{", `{"max_tokens":600,`, 1)
	for range 3 {
		d.settles = nil
		if status, _, h := b.answer(t, "sk-poor", body); status != 200 {
			t.Fatalf("%d %v", status, h)
		}
		if len(d.settles) != 3 || d.settles[2].Status != bill.StatusSuccess || d.settles[0].Cost != 0 {
			t.Fatalf("%s", d.said())
		}
	}
}

// An average is reserved where the operator prefers it, and nothing is capped.
func TestOptimisticBudgets(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-poor", func(k *identity.Key) { k.MaxBudget = ptr(money.Dollar) })
	b, d, _ := boundedBench(t, ring, func(c *Config) { c.Terms.Optimistic, c.Models[0].Info.MaxOutput = true, 100_000 }, "mine=ok")
	if status, _, h := b.answer(t, "sk-poor", request("mine", "", false, false)); status != 200 {
		t.Fatalf("%d %v", status, h)
	}
	if d.intents[0].Reserved > money.Dollar/2 || b.last.capped != 0 {
		t.Errorf("%s reserved, capped at %d", d.intents[0].Reserved, b.last.capped)
	}
}

// A model of unknown price, whose provider may say what a call cost: a budget that
// is used up refuses it. What is given away has a price, of 0. Where nobody knows
// what is left it is taken for free.
func TestBudgetsOfUnknownPrices(t *testing.T) {
	for name, c := range map[string]struct {
		price *price.Price
		used  money.Nano
		away  bool
		want  int
	}{
		"unknown, something left": {nil, money.Dollar - 1, false, 200},
		"unknown, nothing left":   {nil, money.Dollar, false, 429},
		"unknown, nobody knows":   {nil, 0, true, 200},
		"free, nothing left":      {perToken(t, "0"), money.Dollar, false, 200},
	} {
		ring := &keyring{}
		ring.add("sk-poor", func(k *identity.Key) { k.MaxBudget = ptr(money.Dollar) })
		b, d, db := boundedBench(t, ring, func(of *Config) { of.Models[0].Price = c.price }, "mine=usage,kind=cost")
		db.away, db.spent = c.away, c.used
		status, typ, h := b.answer(t, "sk-poor", request("mine", "", false, false))
		if status != c.want || status == 429 && typ != "budget_exceeded" {
			t.Errorf("%s: %d %s %v", name, status, typ, h)
		}
		if charged := status == 200 && c.price == nil; charged && d.settles[0].Cost != 400_000_000 {
			t.Errorf("%s: %s", name, d.said())
		}
	}
}
