package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/logtest"
	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/limit"
	"sluice/proxy/money"
)

func ref[T any](v T) *T { return &v }

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// held writes rules as "scope:id requests/tokens/parallel".
func held(rules []*limit.Rule) string {
	var out []string
	for _, r := range rules {
		out = append(out, fmt.Sprintf("%s:%s %d/%d/%d", r.Scope.Descriptor(), r.ID, r.Requests, r.Tokens, r.Parallel))
	}
	return strings.Join(out, ", ")
}

// charged writes accounts as "kind:id max/window".
func charged(limits []*budget.Limit) string {
	var out []string
	for _, l := range limits {
		top := "-"
		if l.Max >= 0 {
			top = l.Max.String()
		}
		id := l.ID
		if l.Kind == bill.KindKey || l.Kind == bill.KindKeyModel {
			id = id[64:]
		}
		out = append(out, fmt.Sprintf("%s:%s %s/%s", l.Kind, id, top, l.Duration))
	}
	return strings.Join(out, ", ")
}

// everyone is a database in which each object has limits.
func everyone() *source {
	src := newSource()
	src.change(func(r *identity.Resolved) {
		r.Users = []*identity.User{{
			ID: "u", Caps: identity.Caps{RPMLimit: ref(int64(2)), MaxBudget: ref(2 * money.Dollar), BudgetDuration: "7d"},
			Metadata: identity.Fields{"model_rpm_limit": raw(map[string]int{"gpt": 44})}, Settings: identity.Fields{"model_tpm_limit": raw(map[string]int{"gpt": 55})},
		}}
		r.Teams = []*identity.Team{{
			ID: "t", OrganizationID: "o", BudgetID: "b-team",
			Metadata: identity.Fields{"team_member_budget_id": raw("b-members"), "model_tpm_limit": raw(map[string]int{"gpt": 33})},
		}}
		r.Members = []*identity.Member{{TeamID: "t", UserID: "u"}}
		r.Organizations = []*identity.Organization{{ID: "o", BudgetID: "b-org"}}
		r.OrganizationMembers = []*identity.OrganizationMember{{OrganizationID: "o", UserID: "u", BudgetID: "b-inorg"}}
		r.Projects = []*identity.Project{{ID: "p", BudgetID: "b-project", Settings: identity.Fields{"model_rpm_limit": raw(map[string]int{"gpt": 66})}}}
		for i, id := range []string{"b-team", "b-members", "b-org", "b-inorg", "b-project", "b-key", "b-customer"} {
			r.Budgets = append(r.Budgets, &identity.Budget{ID: id, Caps: identity.Caps{
				RPMLimit: ref(int64(10 + i)), MaxBudget: ref(money.Nano(10+i) * money.Dollar), BudgetDuration: "1d",
			}})
		}
	})
	src.key("sk-of-everything", func(k *identity.Key) {
		k.UserID, k.TeamID, k.ProjectID, k.BudgetID = "u", "t", "p", "b-key"
		k.TPMLimit, k.MaxParallelRequests = ref(int64(1000)), ref(int64(4))
		k.Metadata = identity.Fields{"model_rpm_limit": raw(map[string]int{"gpt": 5})}
		k.ModelMaxBudget = identity.Fields{"gpt": raw(map[string]any{"budget_limit": 0.5, "time_period": "1h"}), "other": raw(3)}
		k.Settings = identity.Fields{"budget_limits": raw([]any{
			map[string]any{"max_budget": 100, "budget_duration": "30d"}, map[string]any{"max_budget": 12, "budget_duration": "1d"},
		})}
	})
	return src
}

func TestWhatStandsOverAKey(t *testing.T) {
	r := newRig(t, everyone(), nil)
	who := r.good("sk-of-everything")
	m := &Model{Name: "alias", Target: "gpt"}
	rules := held(r.Limits(&who, m, nil))
	want := "api_key: 15/1000/4, model_per_key:/gpt 5/-1/-1, user:u 2/-1/-1, model_per_user:u/gpt 44/55/-1, team:t 10/-1/-1, model_per_team:t/gpt -1/33/-1, " +
		"team_member:t/u 11/-1/-1, organization:o 12/-1/-1, organization:o/u 13/-1/-1, project:p 14/-1/-1, model_per_project:p/gpt 66/-1/-1"
	if got := strings.ReplaceAll(rules, digest("sk-of-everything"), ""); got != want {
		t.Errorf("limits are\n%s\nwant\n%s", got, want)
	}
	// The window of budget_limits that is the key's own makes its budget smaller.
	want = "key: 12.0/1d, key: 100.0/30d, key_model:/gpt 0.5/1h, user:u -/7d, team:t 10.0/1d, team_member:t/u 11.0/1d, " +
		"organization:o 12.0/1d, organization_member:o/u 13.0/1d, project:p 14.0/1d"
	if got := charged(r.Budgets(&who, m, nil)); got != want {
		t.Errorf("budgets are\n%s\nwant\n%s", got, want)
	}
	if n := len(r.Limits(&who, &Model{Name: "else"}, nil)); n != 7 {
		t.Errorf("%d limits for another model", n)
	}
}

// The master key is not limited, and its user is charged.
func TestMasterIsNotLimited(t *testing.T) {
	r := newRig(t, newSource(), nil)
	who := r.good(master)
	if l := r.Limits(&who, &Model{Name: "m"}, nil); len(l) != 0 {
		t.Errorf("limited by %s", held(l))
	}
	if got := charged(r.Budgets(&who, &Model{Name: "m"}, nil)); got != "user:default_user_id -/" {
		t.Errorf("charged to %s", got)
	}
}

// A user's budget refuses where its key has no team.
func TestBudgetOfAUserWithoutTeam(t *testing.T) {
	src := everyone()
	src.key("sk-personal-key", func(k *identity.Key) { k.UserID = "u" })
	r := newRig(t, src, nil)
	who := r.good("sk-personal-key")
	if got := charged(r.Budgets(&who, &Model{}, nil)); got != "key: -/, user:u 2.0/7d" {
		t.Errorf("charged to %s", got)
	}
}

// What was prepared is given again, without a new object, until something that
// it follows from changes.
func TestLimitsArePreparedOnce(t *testing.T) {
	src := everyone()
	r := newRig(t, src, nil)
	who, m := r.good("sk-of-everything"), &Model{Name: "gpt"}
	rules, limits := r.Limits(&who, m, nil), r.Budgets(&who, m, nil)
	if n := testing.AllocsPerRun(100, func() {
		who, _ := r.Identify([]byte("sk-of-everything"))
		rules = r.Limits(&who, m, rules[:0])
		limits = r.Budgets(&who, m, limits[:0])
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	was := slices.Clone(rules)
	src.change(func(r *identity.Resolved) {
		for i, b := range r.Budgets {
			if b.ID == "b-team" {
				r.Budgets[i] = &identity.Budget{ID: "b-team", Caps: identity.Caps{RPMLimit: ref(int64(77))}, Stamp: identity.Stamp{ChangeNumber: 9}}
			}
		}
	})
	r.tab.PublishChange(uint8(identity.KindBudget), "b-team")
	eventually(t, "the new limit of the team's budget holds", func() bool {
		who := r.good("sk-of-everything")
		rules = r.Limits(&who, m, rules[:0])
		return strings.Contains(held(rules), "team:t 77/-1/-1")
	})
	if rules[0].Tag != was[0].Tag || rules[3].Tag != was[3].Tag {
		t.Error("a changed limit counts from the beginning")
	}
}

// A temporary increase ends by itself.
func TestTemporaryIncrease(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c := keyCaps(&identity.Key{
		Token: digest("x"), Caps: identity.Caps{MaxBudget: ref(money.Dollar)},
		Metadata: identity.Fields{"temp_budget_increase": raw(2.5), "temp_budget_expiry": raw("2026-05-02T00:00:00")},
	})
	top := func() money.Nano {
		return c.of(nil, nil, func() time.Time { return now }).accounts[0].Max
	}
	if top() != 3*money.Dollar+money.Dollar/2 {
		t.Errorf("raised to %s", top())
	}
	now = now.Add(12 * time.Hour)
	if top() != money.Dollar {
		t.Errorf("after its end: %s", top())
	}
	shared := &object{capped: budgetCaps(&identity.Budget{
		ID: "b", Settings: identity.Fields{"temp_budget_increase": raw(4), "temp_budget_expiry": raw("2026-05-03")},
	})}
	if got := c.of(shared, nil, func() time.Time { return now }).accounts[0].Max; got != 5*money.Dollar {
		t.Errorf("an increase that has ended hides that of the budget object: %s", got)
	}
}

// What is raised beyond what an amount can be is the most that one can be: no
// budget ends by being raised.
func TestRaisedBeyondAll(t *testing.T) {
	c := keyCaps(&identity.Key{
		Token: digest("x"), Caps: identity.Caps{MaxBudget: ref(money.Nano(math.MaxInt64 - 5))},
		Metadata: identity.Fields{"temp_budget_increase": raw(9e9), "temp_budget_expiry": raw("2026-05-02T00:00:00+00:00")},
	})
	p := c.of(nil, nil, func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) })
	if top := p.accounts[0].Max; top != math.MaxInt64 {
		t.Errorf("raised to %d", top)
	}
}

// A limit for one model that cannot be read, as an import may bring it, takes
// none of the others away.
func TestOddModelLimits(t *testing.T) {
	c := teamCaps(&identity.Team{ID: "t", Metadata: identity.Fields{"model_rpm_limit": json.RawMessage(`{"gpt":5,"x":"abc","y":null,"z":-1}`)}})
	p := c.of(nil, nil, time.Now)
	if len(p.rules) != 1 || p.rules["gpt"].Requests != 5 {
		t.Errorf("%+v", p.rules)
	}
}

// Clients choose the names of customers: long ones are not remembered.
func TestLongNamesOfCustomers(t *testing.T) {
	k := New(Config{MasterKey: "sk-1234"})
	id := bytes.Repeat([]byte("c"), 1<<20)
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	for i := range 64 {
		id[0] = byte(i)
		if a := k.Customer(id); len(a.Budgets) != 1 {
			t.Fatalf("%+v", a)
		}
	}
	if after := used(); after > before+16<<20 {
		t.Errorf("%d MiB are kept of 64 customers", (after-before)>>20)
	}
	runtime.KeepAlive(k)
}

// Customers and tags have their own budgets, else what the configuration gives
// to all of them.
func TestSpenders(t *testing.T) {
	src := newSource()
	dear := func(n money.Nano) *identity.Budget {
		return &identity.Budget{ID: "b-dear", Caps: identity.Caps{MaxBudget: &n, RPMLimit: ref(int64(3))}}
	}
	src.spends = identity.Spenders{
		Customers: []identity.Spender{{ID: "c-own", BudgetID: "b-dear", Number: 4}},
		Tags:      []identity.Spender{{ID: "t-own", BudgetID: "b-dear"}},
		Budgets:   []*identity.Budget{dear(5 * money.Dollar), {ID: "b-all", Caps: identity.Caps{MaxBudget: ref(money.Dollar)}}},
	}
	r := newRig(t, src, func(_ *DirectoryConfig, c *Config) {
		c.CustomerBudget, c.TagBudgets = "b-all", map[string]TagBudget{"t-file": {Max: 7 * money.Dollar, Duration: "1d"}}
	})
	of := func(a *Account) string { return charged(a.Budgets) }
	eventually(t, "the budgets are known", func() bool { return of(r.Customer([]byte("c-own"))) == "customer:c-own 5.0/" })
	if a := r.Customer([]byte("c-own")); a.Rule == nil || a.Rule.Requests != 3 || a != r.Customer([]byte("c-own")) {
		t.Errorf("%+v", a.Rule)
	}
	for _, c := range []struct{ got, want string }{
		{of(r.Customer([]byte("c-any"))), "customer:c-any 1.0/"},
		{of(r.Tag([]byte("t-own"))), "tag:t-own 5.0/"},
		{of(r.Tag([]byte("t-file"))), "tag:t-file 7.0/1d"},
		{of(r.Tag([]byte("t-any"))), "tag:t-any -/"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
	// One more has a budget, another one's has changed, a third has none any more.
	src.mu.Lock()
	src.spends.Customers = []identity.Spender{{ID: "c-new", BudgetID: "b-dear", Number: 5}}
	src.spends.Budgets[0] = dear(6 * money.Dollar)
	src.mu.Unlock()
	r.tab.PublishChange(uint8(identity.KindEndUser), "c-own")
	r.tab.PublishChange(uint8(identity.KindEndUser), "c-new")
	eventually(t, "the changes are known", func() bool {
		return of(r.Customer([]byte("c-new"))) == "customer:c-new 6.0/" && of(r.Customer([]byte("c-own"))) == "customer:c-own 1.0/"
	})
	src.mu.Lock()
	last := src.asks[len(src.asks)-1]
	src.mu.Unlock()
	if last.After < 4 {
		t.Errorf("all were read again: %+v", last)
	}
	src.mu.Lock()
	src.spends.Budgets[0] = dear(8 * money.Dollar)
	src.mu.Unlock()
	r.tab.PublishChange(uint8(identity.KindBudget), "b-dear")
	eventually(t, "a changed budget object holds", func() bool { return of(r.Customer([]byte("c-new"))) == "customer:c-new 8.0/" })
}

// The budget of all customers may be made when the gateway runs already: until
// then the log says that there is none, and then it holds.
func TestBudgetOfAllThatComesLater(t *testing.T) {
	src, said := newSource(), &logtest.Log{}
	r := newRig(t, src, func(d *DirectoryConfig, c *Config) { d.Log, c.CustomerBudget = said.Logger(), "b-all" })
	eventually(t, "the log names the budget that is missing", func() bool { return said.Count("budget_id=b-all") == 1 })
	of := func() string { return charged(r.Customer([]byte("c")).Budgets) }
	if got := of(); got != "customer:c -/" {
		t.Errorf("before there is one: %s", got)
	}
	src.mu.Lock()
	src.spends.Budgets = []*identity.Budget{{ID: "b-all", Caps: identity.Caps{MaxBudget: ref(money.Dollar)}}}
	src.mu.Unlock()
	r.tab.PublishChange(uint8(identity.KindBudget), "b-all")
	eventually(t, "the new budget holds", func() bool { return of() == "customer:c 1.0/" })
	if n := said.Count("budget_id=b-all"); n != 1 {
		t.Errorf("the log says %d times that it is missing", n)
	}
}

// Customers with budgets are remembered by who is born in an outage.
func TestSpendersAreRemembered(t *testing.T) {
	src := newSource()
	src.spends = identity.Spenders{
		Customers: []identity.Spender{{ID: "c-own", BudgetID: "b"}},
		Budgets:   []*identity.Budget{{ID: "b", Caps: identity.Caps{MaxBudget: ref(money.Dollar)}}},
	}
	r := born(t, src)
	eventually(t, "the budget is remembered", func() bool {
		return charged(r.Customer([]byte("c-own")).Budgets) == "customer:c-own 1.0/"
	})
}

// Default limits of a deployment hold for keys that have none of their own.
func TestDefaultLimits(t *testing.T) {
	r := newRig(t, everyone(), nil)
	who := r.good("sk-of-everything")
	if l := r.DefaultLimits(&who, &Model{Name: "gpt"}, "gpt", 9, -1); l != nil {
		t.Errorf("over the key's own: %s", held([]*limit.Rule{l}))
	}
	l := r.DefaultLimits(&who, &Model{Name: "x"}, "x", 9, -1)
	if l == nil || l.Requests != 9 || l != r.DefaultLimits(&who, &Model{Name: "x"}, "x", 9, -1) {
		t.Fatalf("%+v", l)
	}
	if other := r.DefaultLimits(&who, &Model{Name: "x"}, "x", 8, -1); other.Requests != 8 || other.Tag != l.Tag {
		t.Errorf("after a reload: %+v", other)
	}
}

// Limits and budgets of single models: the key's maps, else what its own
// model_max_budget says, else that of the budget that it names.
func TestLimitsOfModels(t *testing.T) {
	of := func(k *identity.Key, b *identity.Budget) (rules, budgets string) {
		var o *object
		if b != nil {
			o = &object{capped: budgetCaps(b)}
		}
		p := keyCaps(k).of(o, time.UTC, time.Now)
		var r []*limit.Rule
		var l []*budget.Limit
		for _, model := range []string{"a", "b"} {
			if p.rules[model] != nil {
				r = append(r, p.rules[model])
			}
			if p.budgets[model] != nil {
				l = append(l, p.budgets[model])
			}
		}
		return strings.ReplaceAll(held(r), digest("k"), ""), charged(l)
	}
	own := identity.Fields{"a": raw(map[string]any{"max_budget": 1, "rpm_limit": 5}), "b": raw(map[string]any{"tpm_limit": 7})}
	shared := &identity.Budget{ID: "b", ModelMaxBudget: identity.Fields{"b": raw(map[string]any{"budget_limit": 2, "time_period": "1d", "rpm_limit": 9})}}
	for name, c := range map[string]struct {
		key            *identity.Key
		budget         *identity.Budget
		rules, budgets string
	}{
		"none":       {&identity.Key{Token: digest("k")}, nil, "", ""},
		"its own":    {&identity.Key{Token: digest("k"), ModelMaxBudget: own}, shared, "model_per_key:/a 5/-1/-1, model_per_key:/b -1/7/-1", "key_model:/a 1.0/"},
		"of budget":  {&identity.Key{Token: digest("k")}, shared, "model_per_key:/b 9/-1/-1", "key_model:/b 2.0/1d"},
		"of the map": {&identity.Key{Token: digest("k"), ModelMaxBudget: own, Settings: identity.Fields{"model_rpm_limit": raw(map[string]int{"b": 3})}}, nil, "model_per_key:/b 3/7/-1", "key_model:/a 1.0/"},
	} {
		if rules, budgets := of(c.key, c.budget); rules != c.rules || budgets != c.budgets {
			t.Errorf("%s: %q and %q, not %q and %q", name, rules, budgets, c.rules, c.budgets)
		}
	}
}

// TestSpendersAreWaitedFor: a budget that a customer or a tag was given, or that
// was changed, holds for the next call, whoever makes it.
func TestSpendersAreWaitedFor(t *testing.T) {
	src := newSource()
	src.reading = func() { time.Sleep(5 * time.Millisecond) }
	r := newRig(t, src, func(d *DirectoryConfig, _ *Config) { d.Wait = 5 * time.Second })
	holds := func() string {
		return charged(r.Customer([]byte("c")).Budgets) + " " + charged(r.Tag([]byte("t")).Budgets)
	}
	want := "customer:c -/ tag:t -/"
	for i := range 20 {
		if r.good(master); holds() != want {
			t.Fatalf("%d: %s, not %s", i, holds(), want)
		}
		most := money.Nano(i+1) * money.Dollar
		src.mu.Lock()
		src.spends = identity.Spenders{
			Customers: []identity.Spender{{ID: "c", BudgetID: "b", Number: 1}}, Tags: []identity.Spender{{ID: "t", BudgetID: "b"}},
			Budgets: []*identity.Budget{{ID: "b", Caps: identity.Caps{MaxBudget: &most}}},
		}
		src.mu.Unlock()
		want = fmt.Sprintf("customer:c %s/ tag:t %[1]s/", most)
		if i > 0 {
			r.tab.PublishChange(uint8(identity.KindBudget), "b")
			continue
		}
		r.tab.PublishChange(uint8(identity.KindTag), "t")
		r.tab.PublishChange(uint8(identity.KindEndUser), "c")
	}
	r.good(master)
	holds()
	src.fails(errAway)
	r.tab.PublishChange(uint8(identity.KindBudget), "b")
	r.good(master)
	if began := time.Now(); holds() != want || time.Since(began) > 3*time.Second {
		t.Errorf("the database is away: %s, not %s, after %v", holds(), want, time.Since(began))
	}
}
