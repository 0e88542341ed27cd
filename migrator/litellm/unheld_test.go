package litellm

import (
	"slices"
	"strings"
	"testing"
)

// TestUnheld: limits that nothing here holds are told by their names, one line
// each, and what limits nothing is not.
func TestUnheld(t *testing.T) {
	digest := strings.Repeat("0123456789abcdef", 4)
	const everything = `{"tag_rpm_limit":{"red":5},"rpm_limit_type":"dynamic","tpm_limit_type":"guaranteed_throughput","model_itpm_limit":{"m":1},` +
		`"model_otpm_limit":{"m":1},"throttle_on_budget_exceeded":true,"end_user_budget_id":"b"}`
	const nothing = `{"tag_rpm_limit":{},"rpm_limit_type":"best_effort_throughput","tpm_limit_type":null,"throttle_on_budget_exceeded":false,"end_user_budget_id":"",` +
		`"model_rpm_limit":{"m":1},"model_tpm_limit":{"m":1}}`
	inMetadata := []string{
		"tag_rpm_limit", "rpm_limit_type", "tpm_limit_type", "model_itpm_limit", "model_otpm_limit", "throttle_on_budget_exceeded", "end_user_budget_id",
	}
	for _, c := range []struct {
		name, table, doc string
		want             []string
	}{
		{
			"a key", tableKeys, `{"token":"` + digest + `","models":[],"spend":0,"tpd_limit":0,"budget_fallbacks":{"a":["b"]},"metadata":` + everything + `}`,
			append([]string{"tpd_limit", "budget_fallbacks"}, inMetadata...),
		},
		{"a key's budgets of models", tableKeys, `{"token":"` + digest + `","models":[],"spend":0,"model_max_budget":{"m":1},"budget_fallbacks":{},"tpd_limit":null,"metadata":` + nothing + `}`, nil},
		{
			"a team", tableTeams, `{"team_id":"t","tpd_limit":7,"model_max_budget":{"m":{"budget_limit":1}},"metadata":` + everything + `}`,
			append([]string{"tpd_limit", "model_max_budget"}, inMetadata...),
		},
		{"a team of none", tableTeams, `{"team_id":"t","model_max_budget":{},"metadata":` + nothing + `}`, nil},
		{"a user", tableUsers, `{"user_id":"u","model_max_budget":{"m":1},"metadata":{"tag_rpm_limit":{"red":1}}}`, []string{"model_max_budget", "tag_rpm_limit"}},
		{"a user of none", tableUsers, `{"user_id":"u","metadata":` + nothing + `}`, nil},
		{"an organization", tableOrgs, `{"organization_id":"o","metadata":{"rpm_limit_type":"dynamic"}}`, []string{"rpm_limit_type"}},
		{"a project", tableProjects, `{"project_id":"p","metadata":{"model_itpm_limit":{"m":1}},"model_rpm_limit":{"m":1}}`, []string{"model_itpm_limit"}},
		{"a budget", tableBudgets, `{"budget_id":"b","tpd_limit":9,"model_max_budget":{"m":1}}`, []string{"tpd_limit"}},
		{"a budget of none", tableBudgets, `{"budget_id":"b","tpd_limit":null}`, nil},
	} {
		s := convert(t, c.table, c.doc)
		var got []string
		for _, line := range s.reports {
			_, text, _ := strings.Cut(line, ": ")
			if field, _, found := strings.Cut(text, " is kept without effect: "); found {
				got = append(got, field)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) || len(s.objects) != 1 {
			t.Errorf("%s: told %q, want %q", c.name, s.reports, c.want)
		}
	}
}
