package access

import (
	"testing"
	"time"

	"sluice/proxy/money"
)

func TestExcess(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	dollars := func(v money.Nano) *money.Nano { v *= money.Dollar; return &v }
	soon, later := time.Unix(1000, 0), time.Unix(2000, 0)
	groups := Granting{Members: func(id string) []string {
		return map[string][]string{"g1": {"a", "b"}, "g2": {"c"}, "g3": nil}[id]
	}}
	for _, c := range []struct {
		name       string
		given, own Grant
		want       string
	}{
		{"no bound on either side", Grant{}, Grant{}, ""},
		{"fewer models", Grant{Models: []string{"a"}}, Grant{Models: []string{"a", "b"}}, ""},
		{"one more model", Grant{Models: []string{"a", "c"}}, Grant{Models: []string{"a", "b"}}, "models"},
		{"cleared models", Grant{}, Grant{Models: []string{"a"}}, "models"},
		{"all by name", Grant{Models: []string{"all-proxy-models"}}, Grant{Models: []string{"a"}}, "models"},
		{"anything of one who has all", Grant{Models: []string{"x"}}, Grant{Models: []string{"all-proxy-models"}}, ""},
		{"nothing", Grant{Models: []string{"no-default-models"}}, Grant{Models: []string{"a"}}, ""},
		{"out of nothing", Grant{Models: []string{"a"}}, Grant{Models: []string{"no-default-models"}}, "models"},
		{"within a pattern", Grant{Models: []string{"openai/gpt-4o"}}, Grant{Models: []string{"openai/*"}}, ""},
		{"a wider pattern", Grant{Models: []string{"*"}}, Grant{Models: []string{"openai/*"}}, "models"},
		{"a pattern out of a name", Grant{Models: []string{"openai/*"}}, Grant{Models: []string{"openai/gpt-4o"}}, "models"},
		{"through a group of one's own", Grant{AccessGroups: []string{"g1"}}, Grant{Models: []string{"z"}, AccessGroups: []string{"g1"}}, ""},
		{"through a group whose models one has", Grant{AccessGroups: []string{"g1"}}, Grant{Models: []string{"a", "b"}}, ""},
		{"through a group with more", Grant{AccessGroups: []string{"g2"}}, Grant{Models: []string{"a"}}, "models"},
		{"a model of one's group", Grant{Models: []string{"b"}}, Grant{AccessGroups: []string{"g1"}}, ""},
		{"all of a group is not all", Grant{}, Grant{AccessGroups: []string{"g3"}}, "models"},
		{"routes", Grant{Routes: []string{"/key/info"}}, Grant{Routes: []string{"/key/*"}}, ""},
		{"more routes", Grant{Routes: []string{"/user/*"}}, Grant{Routes: []string{"/key/*"}}, "allowed_routes"},
		{"cleared routes", Grant{}, Grant{Routes: []string{"/key/*"}}, "allowed_routes"},
		{"budget", Grant{MaxBudget: dollars(1)}, Grant{MaxBudget: dollars(1)}, ""},
		{"more budget", Grant{MaxBudget: dollars(2)}, Grant{MaxBudget: dollars(1)}, "max_budget"},
		{"cleared budget", Grant{}, Grant{MaxBudget: dollars(1)}, "max_budget"},
		{"tpm", Grant{TPM: n(2)}, Grant{TPM: n(1)}, "tpm_limit"},
		{"rpm", Grant{RPM: n(2)}, Grant{RPM: n(1)}, "rpm_limit"},
		{"parallel", Grant{Parallel: n(2)}, Grant{Parallel: n(1)}, "max_parallel_requests"},
		{"a bound where one has none", Grant{TPM: n(2), RPM: n(1), Parallel: n(1)}, Grant{}, ""},
		{"longer", Grant{Expires: &later}, Grant{Expires: &soon}, "duration"},
		{"for ever", Grant{}, Grant{Expires: &soon}, "duration"},
		{"shorter", Grant{Expires: &soon}, Grant{Expires: &later}, ""},
	} {
		if got := groups.Excess(c.given, c.own); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
