package admin

import (
	"testing"

	"sluice/proxy/identity"
)

// TestUnserved: a limit that this release does not hold is refused by its name
// wherever it can be set, and nothing is written. What says nothing passes.
func TestUnserved(t *testing.T) {
	each(t, func(w *world) {
		w.team("t1", "")
		w.user("u1", identity.RoleInternalUser)
		w.insert(&identity.Project{ID: "p1", TeamID: "t1"}, &identity.EndUser{ID: "c1"}, &identity.Organization{ID: "o1"}, &identity.Budget{ID: "b1"})
		key := w.key("k", nil)
		models := M{"mock": M{"max_budget": 1, "budget_duration": "1d"}}
		day, tags, fallbacks := M{"tpd_limit": 5}, M{"tag_rpm_limit": M{"red": 1}}, M{"budget_fallbacks": M{"mock": []string{"m2"}}}
		for target, fields := range map[string][]M{
			"/key/generate": {
				day,
				{"tpd_limit": 0},
				tags, fallbacks,
				{"throttle_on_budget_exceeded": true},
				{"end_user_budget_id": "b1"},
				{"rpm_limit_type": "dynamic"},
				{"tpm_limit_type": "guaranteed_throughput"},
			},
			"/key/update":       {day, tags, fallbacks, {"tpm_limit_type": "dynamic"}},
			"/user/new":         {tags, fallbacks, {"model_max_budget": models, "auto_create_key": false}},
			"/user/update":      {{"model_max_budget": models}},
			"/team/new":         {day, {"model_max_budget": models}, {"rpm_limit_type": "guaranteed_throughput"}},
			"/team/update":      {day, {"model_max_budget": models}},
			"/organization/new": {day, {"model_max_budget": models}},
			"/project/new":      {day, {"model_max_budget": models}},
			"/budget/new":       {day},
			"/budget/update":    {day},
			"/customer/new":     {day, {"model_max_budget": models}},
			"/customer/update":  {day},
			"/tag/new":          {day, {"model_max_budget": models}},
		} {
			for _, f := range fields {
				body := M{"key": key, "user_id": "u1", "team_id": "t1", "project_id": "p1", "name": "x", "organization_alias": "x", "budget_id": "b1"}
				switch target {
				case "/key/generate", "/user/new", "/team/new", "/customer/new":
					body = M{}
				}
				name := ""
				for n, v := range f {
					body[n] = v
					if n != "auto_create_key" {
						name = n
					}
				}
				before := w.changes()
				if target == "/customer/new" {
					body["user_id"] = "c2"
				}
				w.refused(400, `"param":"`+name+`"`, "master", "POST", target, body)
				if w.changes() != before {
					t.Errorf("%s with %s was refused and written", target, name)
				}
			}
		}
		w.ok("master", "POST", "/key/generate", M{
			"tpd_limit": nil, "tag_rpm_limit": M{}, "budget_fallbacks": nil, "throttle_on_budget_exceeded": false, "end_user_budget_id": "",
			"rpm_limit_type": "best_effort_throughput", "model_max_budget": models,
		})
		w.ok("master", "POST", "/user/new", M{"model_max_budget": models})
	})
}

// TestContradictions: limits that cannot both be meant are refused by name, also
// where one of them is there already.
func TestContradictions(t *testing.T) {
	each(t, func(w *world) {
		w.insert(&identity.Budget{ID: "b1"})
		key := w.key("k", nil)
		w.ok("master", "POST", "/key/update", M{"key": key, "max_budget": 5})
		w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "max_budget": 5})
		before := w.changes()
		for target, bodies := range map[string][]M{
			"/budget/update": {{"soft_budget": 6}, {"model_max_budget": M{"m": M{}}}},
			"/key/update": {
				{"soft_budget": 6},
				{"model_max_budget": M{"m": nil}},
				{"model_max_budget": M{"m": M{"budget_duration": "1d"}}},
				{"model_max_budget": M{"": 1}},
				{"model_rpm_limit": M{"": 1}},
				{"budget_limits": []M{{"max_budget": 1, "budget_duration": "1d"}, {"max_budget": 2, "budget_duration": "1d"}}},
			},
		} {
			for _, body := range bodies {
				for name := range body {
					body["key"], body["budget_id"] = key, "b1"
					if target == "/key/update" {
						delete(body, "budget_id")
					}
					w.refused(400, `"param":"`+name+`"`, "master", "POST", target, body)
					break
				}
			}
		}
		if w.changes() != before {
			t.Error("a refused limit was written")
		}
		w.ok("master", "POST", "/key/update", M{"key": key, "soft_budget": 4})
		w.ok("master", "POST", "/key/update", M{"key": key, "model_max_budget": M{"m": M{"rpm_limit": 3}}})
	})
}
