package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func table(t testing.TB, change func(c *Config), ds ...Deployment) *Table {
	t.Helper()
	c := Config{Deployments: ds, Retries: 2, Rand: rand.New(rand.NewPCG(1, 2)).Uint64N, Now: func() int64 { return 0 }}
	if change != nil {
		change(&c)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPlan(t *testing.T) {
	r := table(t, func(c *Config) {
		c.Aliases = map[string]Alias{"alias": {Model: "a"}, "hidden": {Model: "a", Hidden: true}}
		c.Rewrite = map[string]string{"old": "a"}
	},
		Deployment{Group: "a", Model: "up-a", ModelName: "openai/up-a", Retries: -1},
		Deployment{Group: "openai/*", Model: "*", ModelName: "openai/*", Retries: 5},
		Deployment{Group: "openai/gpt-4*", Model: "four-*", ModelName: "openai/four-*", Retries: -1},
		Deployment{Group: "openai/gpt-4o", Model: "exact", ModelName: "openai/exact", Retries: -1},
		Deployment{Group: "fo::*:static::*", Model: "*/x/*", ModelName: "openai/*/x/*", Retries: -1},
		Deployment{Group: "*", Model: "any-*", ModelName: "openai/any-*", Retries: -1},
	)
	for in, want := range map[string]string{
		"a": "up-a 2", "alias": "up-a 2", "hidden": "up-a 2", "old": "up-a 2", "openai/zzz": "zzz 5", "openai/gpt-4.1": "four-.1 2",
		"openai/gpt-4o": "exact 2", "fo::one:static::two": "one/x/two 2", "fo::one:static:two": "any-fo::one:static:two 2", "other": "any-other 2",
	} {
		var p Plan
		if !r.Plan([]byte(in), "", &p) {
			t.Errorf("%s: no plan", in)
			continue
		}
		got := fmt.Sprintf("%s %d", p.AppendModel(nil, p.Deployments[0]), p.Retries)
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	var names []string
	for _, m := range r.Models() {
		names = append(names, m.ID)
	}
	if got := strings.Join(names, " "); got != "a openai/* openai/gpt-4* openai/gpt-4o fo::*:static::* * alias" {
		t.Errorf("models: %s", got)
	}
	if m, ok := r.Model([]byte("openai/new")); !ok || m.Wildcard {
		t.Errorf("model %+v", m)
	}
}

func TestNobody(t *testing.T) {
	r := table(t, nil, Deployment{Group: "a", Model: "a"})
	var p Plan
	if r.Plan([]byte("b"), "", &p) || r.Plan(nil, "", &p) {
		t.Fatal("planned")
	}
	if _, ok := r.Model([]byte("b")); ok {
		t.Fatal("listed")
	}
}

func TestShares(t *testing.T) {
	for _, c := range []struct {
		name string
		ds   []Deployment
		want []float64
	}{
		{"uniform", []Deployment{{}, {}}, []float64{.5, .5}},
		{"weight", []Deployment{{Weight: 1}, {Weight: 3}}, []float64{.25, .75}},
		{"weight wins over rpm", []Deployment{{Weight: 1, RPM: 100}, {Weight: 1}}, []float64{.5, .5}},
		{"rpm", []Deployment{{RPM: 900}, {RPM: 100}}, []float64{.9, .1}},
		{"tpm", []Deployment{{TPM: 1000}, {TPM: 1000}}, []float64{.5, .5}},
		{"none for the second", []Deployment{{RPM: 10}, {TPM: 1000}}, []float64{1, 0}},
		{"order", []Deployment{{Order: 2}, {Order: 1}}, []float64{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.ds {
				c.ds[i].Group, c.ds[i].Model = "m", "m"
			}
			r := table(t, nil, c.ds...)
			const n = 20000
			first := make([]int, len(c.ds))
			var p Plan
			for range n {
				r.Plan([]byte("m"), "", &p)
				first[p.Deployments[0].Index]++
				if len(p.Deployments) != len(c.ds) {
					t.Fatal("a deployment is missing")
				}
			}
			for i, want := range c.want {
				if got := float64(first[i]) / n; got < want-.02 || got > want+.02 {
					t.Errorf("deployment %d was first in %.3f, want %.3f", i, got, want)
				}
			}
		})
	}
}

func TestPlanAllocatesNothing(t *testing.T) {
	r := table(t, nil, Deployment{Group: "m", Model: "m", Weight: 1}, Deployment{Group: "m", Model: "m", Weight: 2}, Deployment{Group: "x/*", Model: "*"})
	var p Plan
	name, wild := []byte("m"), []byte("x/y")
	if n := testing.AllocsPerRun(100, func() {
		if !r.Plan(name, "", &p) || !r.Plan(wild, "", &p) {
			t.Fatal("no plan")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestRetryBudget(t *testing.T) {
	var now int64
	r := table(t, func(c *Config) { c.Now = func() int64 { return now } }, Deployment{Group: "m", Model: "m"})
	var p Plan
	r.Plan([]byte("m"), "", &p)
	for range 100 {
		p.Group.Count()
	}
	allowed := 0
	for range 100 {
		if p.Group.Retry() {
			allowed++
		}
	}
	if allowed != budgetFree+20 {
		t.Fatalf("%d retries for 100 requests", allowed)
	}
	now += budgetWindow
	if !p.Group.Retry() {
		t.Fatal("no retry in the next window")
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []Config{
		{Deployments: []Deployment{{Model: "m"}}},
		{Deployments: []Deployment{{Group: "m", Model: "a-*"}}},
		{Deployments: []Deployment{{Group: "m", Model: "m"}}, Aliases: map[string]Alias{"a": {Model: "nope"}}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestStableID(t *testing.T) {
	a := StableID("m", []Pair{{"model", "openai/x"}, {"api_key", "k"}})
	b := StableID("m", []Pair{{"api_key", "k"}, {"model", "openai/x"}})
	if len(a) != 64 || a == b || a != StableID("m", []Pair{{"model", "openai/x"}, {"api_key", "k"}}) {
		t.Fatalf("%s %s", a, b)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b*c", "aXbYc")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		caught, ok := match(pattern, []byte(name), nil)
		if !ok {
			return
		}
		if got := string(expand(nil, pattern, caught)); got != name {
			t.Fatalf("%q against %q caught %q, which makes %q", name, pattern, caught, got)
		}
	})
}

// TestTeams: a deployment of a team serves nobody else, and comes before those
// of the same name that serve all.
func TestTeams(t *testing.T) {
	r := table(t, func(c *Config) { c.Aliases = map[string]Alias{"alias": {Model: "shared"}} },
		Deployment{Group: "shared", Model: "all"},
		Deployment{Group: "shared", Model: "of-one", Team: "one"},
		Deployment{Group: "private", Model: "p1", Team: "one"},
		Deployment{Group: "private", Model: "p2", Team: "two"},
	)
	for _, c := range []struct{ team, model, want string }{
		{"", "shared", "all"},
		{"one", "shared", "of-one"},
		{"one", "alias", "of-one"},
		{"two", "shared", "all"},
		{"three", "shared", "all"},
		{"one", "private", "p1"},
		{"two", "private", "p2"},
		{"", "private", ""},
		{"three", "private", ""},
	} {
		var p Plan
		got := ""
		if r.Plan([]byte(c.model), c.team, &p) {
			got = p.Deployments[0].Model
		}
		if got != c.want || got != "" && len(p.Deployments) != 1 {
			t.Errorf("team %q, model %s: %q of %d, want %q", c.team, c.model, got, len(p.Deployments), c.want)
		}
	}
	if n := len(r.Models()); n != 2 {
		t.Errorf("%d models are listed for all, want shared and its alias", n)
	}
	if own := r.OfTeam("one"); len(own) != 2 || len(r.OfTeam("three")) != 0 || len(r.OfTeam("")) != 0 {
		t.Errorf("of team one: %v", own)
	}
}
