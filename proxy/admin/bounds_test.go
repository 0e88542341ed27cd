package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/access"
	"sluice/proxy/identity"
)

// One call is about so many objects and no more, and what it names in a list is
// bounded whatever the route: nothing is written where there are too many.
func TestListBounds(t *testing.T) {
	each(t, func(w *world) {
		before := w.changes()
		many := make([]string, 501)
		members := make([]M, 501)
		for i := range many {
			many[i] = fmt.Sprint("x", i)
			members[i] = M{"role": "user", "user_id": many[i]}
		}
		for _, c := range []struct {
			method, path string
			body         M
		}{
			{"POST", "/customer/block", M{"user_ids": many}},
			{"POST", "/customer/unblock", M{"user_ids": many}},
			{"POST", "/customer/delete", M{"user_ids": many}},
			{"DELETE", "/organization/delete", M{"organization_ids": many}},
			{"POST", "/organization/info", M{"organizations": many}},
			{"DELETE", "/project/delete", M{"project_ids": many}},
			{"POST", "/user/delete", M{"user_ids": many}},
			{"POST", "/team/delete", M{"team_ids": many}},
			{"POST", "/team/new", M{"members_with_roles": members}},
			{"POST", "/team/member_add", M{"team_id": "t", "member": members}},
			{"POST", "/user/new", M{"teams": many}},
		} {
			w.refused(400, "1 to 500", "master", c.method, c.path, c.body)
		}
		w.refused(422, "at most 10000 items", "master", "POST", "/key/generate", M{"models": make([]string, 10_001)})
		w.refused(422, "at most 10000 items", "master", "POST", "/v2/key/info", M{"keys": make([]string, 10_001)})
		w.refused(400, "metadata has", "master", "POST", "/key/generate", M{"metadata": M{"x": strings.Repeat("x", 1<<20)}})
		w.refused(400, "metadata has", "master", "POST", "/key/generate", `{"metadata":{"x":[`+strings.Repeat("1e300,", 4000)+`1]}}`)
		w.refused(400, "out of range", "master", "POST", "/key/generate", `{"metadata":{"x":1e100000}}`)
		w.refused(400, "metadata holds the character U+0000", "master", "POST", "/key/generate", `{"metadata":{"x":"\u0000"}}`)
		if w.changes() != before {
			w.Error("something was written")
		}
	})
}

// A number in a text is decimal, and long values are not repeated whole.
func TestOddValues(t *testing.T) {
	each(t, func(w *world) {
		for _, n := range []string{`"0x10"`, `"0x1p4"`, `"1_000"`, `"1e"`, `"-"`, `"١"`, `1.5`, `"NaN"`, `"inf"`} {
			w.refused(422, "int", "master", "POST", "/key/generate", `{"tpm_limit":`+n+`}`)
		}
		for _, n := range []string{`"0x1p4"`, `"NaN"`, `"Infinity"`, `"1e400"`} {
			w.refused(422, "number", "master", "POST", "/key/generate", `{"max_budget":`+n+`}`)
		}
		for _, n := range []string{`1e300`, `-1`, `9223372036854775808`} {
			w.refused(400, "tpm_limit", "master", "POST", "/key/generate", `{"tpm_limit":`+n+`}`)
		}
		for _, n := range []string{`-0.1`, `1e300`, `9223372036.9`, `"-1"`} {
			w.refused(400, "max_budget must be", "master", "POST", "/key/generate", `{"max_budget":`+n+`}`)
		}
		for _, d := range []string{`9000000000d`, `0d`, `-5d`, `1.5d`, `99999999999999999999s`, `1y`, `d`} {
			w.refused(400, "duration", "master", "POST", "/key/generate", M{"duration": d})
		}
		for _, d := range []string{"0000-01-01T00:00:00Z", "10000-01-01", "2026-02-30", "2026-01-01T25:00:00Z", "yesterday"} {
			w.refused(422, "datetime", "master", "POST", "/budget/new", M{"budget_reset_at": d})
		}
		body := `{"model_name":"m","litellm_params":{"model":"openai/x"},"model_info":{"id":["` + strings.Repeat("9", 10_000) + `"]}}`
		if a := w.refused(400, "model_info.id", "master", "POST", "/model/new", body); len(a.Raw) > 500 {
			w.Errorf("%d bytes are repeated", len(a.Raw))
		}
	}, withModels(t, &catalog{}))
}

// A limit that cannot be is refused wherever it stands: what cannot be read would
// be no limit, and nobody would know.
func TestLimitsThatCannotBe(t *testing.T) {
	each(t, func(w *world) {
		w.team("t1", "")
		w.user("u1", identity.RoleInternalUser)
		bad := []M{
			{"model_rpm_limit": M{"gpt": 5, "x": "abc"}},
			{"model_tpm_limit": M{"gpt": -1}},
			{"model_rpm_limit": []int{5}},
			{"model_tpm_limit": 5},
			{"temp_budget_increase": 1},
			{"temp_budget_increase": "much", "temp_budget_expiry": "2030-01-01"},
			{"temp_budget_increase": 1, "temp_budget_expiry": "soon"},
			{"budget_limits": []M{{"max_budget": -1, "budget_duration": "1d"}}},
		}
		for _, m := range bad {
			w.refused(400, "metadata.", "master", "POST", "/key/generate", M{"metadata": m})
			w.refused(400, "metadata.", "master", "POST", "/user/new", M{"user_id": "u2", "metadata": m})
			w.refused(400, "metadata.", "master", "POST", "/team/update", M{"team_id": "t1", "metadata": m})
			w.refused(400, "metadata.", "master", "PATCH", "/team/t1", M{"metadata": m})
			w.refused(400, "metadata.", "master", "POST", "/organization/new", M{"organization_alias": "o", "metadata": m})
			w.refused(400, "metadata.", "master", "POST", "/project/new", M{"team_id": "t1", "metadata": m})
		}
		good := M{
			"model_rpm_limit": M{"gpt": 5, "none": nil}, "model_tpm_limit": nil, "temp_budget_increase": 1, "temp_budget_expiry": "2030-01-01",
			"budget_limits": []M{{"max_budget": 1, "budget_duration": "1d"}},
		}
		w.ok("master", "POST", "/key/generate", M{"metadata": good})
		w.ok("master", "POST", "/team/update", M{"team_id": "t1", "metadata": good})
		// What an import has brought may be sent back as it is.
		odd := identity.Fields{"model_rpm_limit": json.RawMessage(`{"x":"abc"}`)}
		w.insert(&identity.Team{ID: "t2", Metadata: odd})
		w.ok("master", "POST", "/team/update", M{"team_id": "t2", "metadata": odd})
		w.ok("master", "PATCH", "/team/t2", M{"metadata": M{"x": 1}})
		w.key("k", func(k *identity.Key) { k.Metadata = odd })
		w.ok("master", "POST", "/key/update", M{"key": w.plain("k"), "metadata": M{"model_rpm_limit": M{"x": "abc"}, "y": 1}})

		w.refused(400, "belong together", "master", "POST", "/budget/new", M{"max_budget": 1, "temp_budget_increase": 3})
		w.refused(400, "belong together", "master", "POST", "/budget/new", M{"max_budget": 1, "temp_budget_expiry": "2030-01-01"})
		w.refused(400, "belong together", "master", "POST", "/customer/new", M{"user_id": "c1", "max_budget": 1, "temp_budget_increase": 3})
		w.refused(400, "belong together", "master", "POST", "/tag/new", M{"name": "tg", "max_budget": 1, "temp_budget_expiry": "2030-01-01"})
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b2", "max_budget": 1, "temp_budget_increase": 3, "temp_budget_expiry": "2030-01-01"})
		w.ok("master", "POST", "/budget/update", M{"budget_id": "b2", "temp_budget_increase": 4})
		w.ok("master", "POST", "/budget/update", M{"budget_id": "b2", "temp_budget_increase": nil, "temp_budget_expiry": nil})
		w.refused(400, "model_max_budget.gpt", "master", "POST", "/key/generate", M{"model_max_budget": M{"gpt": M{"budget_limit": 1, "max_budget": 2}}})
		w.ok("master", "POST", "/key/generate", M{"model_max_budget": M{"gpt": M{"budget_limit": 2, "max_budget": 2, "time_period": "1d", "budget_duration": "1d"}}})
	})
}

// A reference to the environment is one however it is spelled.
func TestNamesEnvironment(t *testing.T) {
	each(t, func(w *world) {
		for _, v := range []string{`"os.environ/X"`, `"os.environ\/X"`, `"os\u002eenviron/X"`, `["a",{"b":"os.environ\u002fX"}]`} {
			body := `{"config_type":"general_settings","field_name":"x","field_value":` + v + `}`
			w.refused(400, "environment", "master", "POST", "/config/field/update", body)
		}
	}, withModels(t, &catalog{}))
	if namesEnvironment([]byte(`"environ/X"`)) {
		t.Error("any text is one")
	}
}

// The name of a group of routes is no path that a pattern could stand for.
func TestRouteGroupsAreNoPaths(t *testing.T) {
	for _, c := range []struct {
		own, given string
		ok         bool
	}{
		{"l*", "llm_api_routes", false},
		{"management*", "management_routes", false},
		{"*", "llm_api_routes", true},
		{"/key/*", "/key/info", true},
		{"/key/*", "/team/info", false},
		{"llm_api_routes", "llm_api_routes", true},
	} {
		field := (access.Granting{}).Excess(access.Grant{Routes: []string{c.given}}, access.Grant{Routes: []string{c.own}})
		if (field == "") != c.ok {
			t.Errorf("%s within %s: %q", c.given, c.own, field)
		}
	}
}
