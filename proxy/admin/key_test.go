package admin

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// people are the users and the team of the recorded story.
func people(w *world) {
	w.Helper()
	for id, role := range map[string]identity.Role{
		"u-int": identity.RoleInternalUser, "u-two": identity.RoleInternalUser, "u-view": identity.RoleInternalViewer,
		"u-pav": identity.RoleProxyAdminViewer, "u-adm": identity.RoleProxyAdmin, "u-ta": identity.RoleInternalUser,
		"u-tm": identity.RoleInternalUser, "u-key": identity.RoleNone,
	} {
		w.user(id, role)
	}
	w.team("t1", "", "u-ta:admin", "u-tm")
}

func TestKeyStory(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.key("first", func(k *identity.Key) { k.UserID, k.Type = "u-key", "" }) // the key that /user/new makes in the story
		pick := func(s *scene) bool {
			// What the calling key's routes allow is judged before a call comes here.
			return (strings.Contains(s.Do, " /key/") || strings.Contains(s.Do, " /v2/key/")) && s.As != "k_llm"
		}
		w.tell(pick, map[string]string{
			"key/generate duplicate value": "status 409", "key/generate unknown team": "status 404",
			"key/generate unknown user": "status 404", "key/generate bad duration": "status 400",
			"key/generate as k_int": ".expires is string", // it ends with the key that made it
			// The field that is wrong is named.
			"key/generate negative budget": ".error.param is string", "key/generate bad budget_duration": ".error.param is string",
		})
	})
}

// create makes a key as the master key and remembers it under the name.
func (w *world) create(name string, body M) map[string]any {
	w.Helper()
	doc := w.ok("master", "POST", "/key/generate", body)
	w.remember(name, doc["key"].(string))
	return doc
}

func TestKeyCreateIsWhatReadsShow(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.insert(&identity.Budget{ID: "b1"}, &identity.AccessGroup{ID: "g1", Name: "g1", Models: []string{"mock"}},
			&identity.Project{ID: "p1", TeamID: "t1"})
		given := M{
			"key_alias": "full", "models": []string{"mock", "m2"}, "spend": 1.5, "max_budget": 20, "user_id": "u-tm",
			"budget_duration": "7d", "max_parallel_requests": 2, "tpm_limit": 10, "rpm_limit": 20, "duration": "30d",
			"metadata": M{"a": M{"b": []int{1, 2}}}, "aliases": M{"x": "mock"}, "permissions": M{"get_spend_routes": true},
			"model_max_budget": M{"mock": M{"budget_limit": 1, "time_period": "1d"}}, "model_rpm_limit": M{"mock": 3},
			"tags": []string{"t"}, "guardrails": []string{"g"}, "enforced_params": []string{"user"}, "blocked": true,
			"allowed_routes": []string{"/chat/completions"}, "allowed_cache_controls": []string{"no-cache"},
			"router_settings": M{"num_retries": 2}, "config": M{"c": 1}, "policies": []string{"p"}, "access_group_ids": []string{"g1"},
			"object_permission": M{"vector_stores": []string{"v"}}, "budget_limits": []M{{"budget_duration": "1d", "max_budget": 3}},
			"project_id": "p1", "budget_id": "b1", "agent_id": "a1", "auto_rotate": true, "rotation_interval": "30d",
			"rpm_limit_type": "best_effort_throughput",
		}
		made := w.create("full", given)
		info := w.ok("master", "GET", "/key/info?key="+made["token"].(string), nil)["info"].(map[string]any)
		for name, v := range made {
			switch name {
			case "key", "token", "token_id", "duration", "created_at", "updated_at", "expires", "router_settings", "litellm_budget_table":
				continue
			}
			read, ok := info[name]
			if !ok {
				read, ok = info["metadata"].(map[string]any)[name]
			}
			if ok && string(quoted(read)) != string(quoted(v)) || !ok && v != nil {
				t.Errorf("%s was made as %s and reads as %s", name, quoted(v), quoted(read))
			}
		}
		for name, v := range given {
			if name == "duration" || name == "router_settings" || name == "object_permission" || name == "metadata" ||
				name == "auto_rotate" || name == "rotation_interval" {
				continue
			}
			if got := made[name]; !sameJSON(quoted(v), quoted(got)) {
				t.Errorf("%s was asked as %s and made as %s", name, quoted(v), quoted(got))
			}
		}
		if made["team_id"] != "t1" {
			t.Errorf("a key of a project has the team %v", made["team_id"])
		}
		if s := info["status"]; s != "revoked" {
			t.Errorf("a blocked key is %v", s)
		}
	})
}

func TestKeyTypes(t *testing.T) {
	each(t, func(w *world) {
		for typ, routes := range map[string]string{
			"llm_api": `["llm_api_routes"]`, "management": `["management_routes"]`, "read_only": `["info_routes"]`, "default": `[]`,
		} {
			doc := w.create(typ, M{"key_type": typ})
			if got := string(quoted(doc["allowed_routes"])); got != routes || doc["key_type"] != typ {
				t.Errorf("%s: %s %v", typ, got, doc["key_type"])
			}
		}
	})
}

func TestKeyWindows(t *testing.T) {
	now := time.Date(2026, 11, 21, 7, 19, 9, 0, time.UTC)
	each(t, func(w *world) {
		for duration, want := range map[string]string{
			"1d": "2026-11-22T00:00:00+00:00", "7d": "2026-11-23T00:00:00+00:00", "30d": "2026-12-01T00:00:00+00:00",
			"1mo": "2026-12-01T00:00:00+00:00", "1h": "2026-11-21T08:00:00+00:00",
		} {
			made := w.ok("master", "POST", "/key/generate", M{"budget_duration": duration})
			info := w.ok("master", "GET", "/key/info?key="+made["token"].(string), nil)["info"].(map[string]any)
			if got := info["budget_reset_at"]; got != want {
				t.Errorf("%s: %v, want %s", duration, got, want)
			}
		}
		for duration, want := range map[string]any{"1d": "2026-11-22T07:19:09Z", "-1": nil, "2mo": "2027-01-21T07:19:09Z"} {
			if got := w.ok("master", "POST", "/key/generate", M{"duration": duration})["expires"]; got != want {
				t.Errorf("duration %s: %v, want %v", duration, got, want)
			}
		}
	}, func(c *Config) { c.Now = func() time.Time { return now } })
}

func TestKeyBadInput(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.team("t2", "")
		w.insert(&identity.Project{ID: "p2", TeamID: "t2"})
		w.create("k", M{"key_alias": "taken"})
		before := w.changes()
		for _, c := range []struct {
			status int
			text   string
			body   any
		}{
			{400, "max_budget", M{"max_budget": -1}},
			{422, "list_type", M{"models": "x"}},
			{422, "int_parsing", M{"rpm_limit": "many"}},
			{400, "tpm_limit", M{"tpm_limit": -1}},
			{400, "soft_budget", M{"max_budget": 1, "soft_budget": 2}},
			{400, "duration", M{"duration": "soon"}},
			{400, "budget_duration", M{"budget_duration": "often"}},
			{400, "alias", M{"key_alias": "taken"}},
			{404, "Team \\\"nope\\\" does not exist", M{"team_id": "nope"}},
			{404, "user_id", M{"user_id": "nope"}},
			{404, "organization_id", M{"organization_id": "nope"}},
			{404, "project_id", M{"project_id": "nope"}},
			{404, "budget_id", M{"budget_id": "nope"}},
			{404, "access_group_ids", M{"access_group_ids": []string{"nope"}}},
			{400, "end_user_budget_id", M{"end_user_budget_id": "nope"}},
			{400, "belongs to team", M{"project_id": "p2", "team_id": "t1"}},
			{400, "sk-", M{"key": "my-own-key-of-some-length-000"}},
			{400, "24 to 512 characters", M{"key": "sk-short"}},
			{400, "spaces", M{"key": "sk-with spaces in it 0123456789"}},
			{400, "rotation_interval", M{"auto_rotate": true}},
			{400, "model_max_budget", M{"model_max_budget": M{"m": M{"budget_limit": -1}}}},
			{400, "model_rpm_limit", M{"model_rpm_limit": M{"m": -1}}},
			{400, "budget_limits", M{"budget_limits": []M{{"max_budget": 1, "budget_duration": "x"}}}},
			{422, "literal_error", M{"key_type": "king"}},
			{422, "allowed_cache_controls", M{"allowed_cache_controls": -1}},
			{400, "JSON object", `[1]`},
			{400, "not valid JSON", `{"a":1,"a":2}`},
		} {
			w.refused(c.status, c.text, "master", "POST", "/key/generate", c.body)
		}
		w.refused(404, "not found", "master", "POST", "/key/update", M{"key": "sk-nobody", "max_budget": 1})
		w.refused(422, "missing", "master", "POST", "/key/update", M{"max_budget": 1})
		w.refused(400, "temp_budget", "master", "POST", "/key/update", M{"key": w.plain("k"), "temp_budget_increase": 1})
		w.refused(404, "not found", "master", "POST", "/key/block", M{"key": "sk-nobody"})
		w.refused(404, "not found", "master", "POST", "/key/regenerate", M{"key": "sk-nobody"})
		w.refused(400, "key is missing", "master", "POST", "/key/regenerate", nil)
		w.refused(501, "master key", "master", "POST", "/key/regenerate", M{"key": w.plain("k"), "new_master_key": "sk-new"})
		w.refused(400, "grace_period", "master", "POST", "/key/regenerate", M{"key": w.plain("k"), "grace_period": "soon"})
		w.refused(404, "not found", "master", "POST", "/key/sk-nobody/reset_spend", M{"reset_to": 0})
		w.refused(400, "reset_to", "master", "POST", "/key/"+keyDigest(w.plain("k"))+"/reset_spend", M{"reset_to": 1})
		w.refused(404, "Nothing was deleted", "master", "POST", "/key/delete", M{"keys": []string{w.plain("k")}, "key_aliases": []string{"nope"}})
		w.refused(404, "not found", "master", "POST", "/key/delete", M{"keys": []string{w.plain("k"), "sk-nobody"}})
		w.refused(400, "1 to 500", "master", "POST", "/key/delete", M{})
		w.refused(400, "sort_by", "master", "GET", "/key/list?sort_by=password", nil)
		w.refused(422, "less_than_equal", "master", "GET", "/key/list?size=101", nil)
		if after := w.changes(); after != before {
			t.Errorf("refused calls made %d changes", after-before)
		}
	})
}

func TestKeyUpdate(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.create("k", M{
			"key_alias": "one", "user_id": "u-int", "models": []string{"mock"}, "max_budget": 5, "duration": "7d", "budget_duration": "1d",
			"rpm_limit": 6, "metadata": M{"a": 1}, "tags": []string{"t"}, "soft_budget": 3,
		})
		k := w.plain("k")
		// By its digest; what is not sent stays.
		got := w.ok("master", "POST", "/key/update", M{"key": keyDigest(k), "rpm_limit": 7})
		if got["key"] != keyDigest(k) || quotedText(got["rpm_limit"]) != "7" || got["key_alias"] != "one" || got["settings_updated_at"] == nil {
			t.Errorf("%v", got)
		}
		// Null clears.
		got = w.ok("master", "POST", "/key/update", M{
			"key": k, "key_alias": nil, "models": nil, "max_budget": nil, "duration": nil, "budget_duration": nil, "rpm_limit": nil, "user_id": nil,
		})
		for _, name := range []string{"key_alias", "max_budget", "expires", "budget_duration", "budget_reset_at", "rpm_limit", "user_id"} {
			if got[name] != nil {
				t.Errorf("%s is %v after it was cleared", name, got[name])
			}
		}
		if quotedText(got["models"]) != "[]" {
			t.Errorf("models are %v after they were cleared", got["models"])
		}
		// A proxy admin's metadata replaces; a field that lives there is laid over it.
		got = w.ok("master", "POST", "/key/update", M{"key": k, "metadata": M{"b": 2}, "model_rpm_limit": M{"mock": 1}})
		if s := quotedText(got["metadata"]); s != `{"b":2,"model_rpm_limit":{"mock":1}}` {
			t.Errorf("metadata is %s", s)
		}
		got = w.ok("master", "POST", "/key/update", M{"key": k, "temp_budget_increase": 5, "temp_budget_expiry": "2027-01-01"})
		if s := quotedText(got["metadata"]); !strings.Contains(s, `"temp_budget_increase":5`) {
			t.Errorf("metadata is %s", s)
		}
		info := w.ok("master", "GET", "/key/info?key="+k, nil)["info"].(map[string]any)
		if table := info["litellm_budget_table"].(map[string]any); quotedText(table["soft_budget"]) != "3.0" {
			t.Errorf("soft budget %v", table)
		}
		w.ok("master", "POST", "/key/update", M{"key": k, "soft_budget": 4})
		again := w.ok("master", "GET", "/key/info?key="+k, nil)["info"].(map[string]any)
		if table := again["litellm_budget_table"].(map[string]any); quotedText(table["soft_budget"]) != "4.0" || again["budget_id"] != info["budget_id"] {
			t.Errorf("soft budget %v", table)
		}
		w.ok("master", "POST", "/key/delete", M{"keys": []string{k}})
		if n, err := store.Count[identity.Budget](context.Background(), w.store); err != nil || n != 0 {
			t.Errorf("%d budgets are left of a deleted key: %v", n, err)
		}
	})
}

func quotedText(v any) string { return string(quoted(v)) }

func TestKeyBulkUpdate(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.create("a", M{})
		w.create("b", M{})
		before := w.changes()
		doc := w.ok("master", "POST", "/key/bulk_update", M{"keys": []M{
			{"key": w.plain("a"), "max_budget": 2, "tags": []string{"x"}},
			{"key": "sk-nobody", "max_budget": 2},
			{"key": keyDigest(w.plain("b")), "team_id": "nope"},
			{"key": w.plain("b"), "max_budget": -1},
			{"key": w.plain("b"), "team_id": "t1"},
		}})
		if quotedText(doc["total_requested"]) != "5" || len(doc["successful_updates"].([]any)) != 2 || len(doc["failed_updates"].([]any)) != 3 {
			t.Errorf("%v", doc)
		}
		if n := w.changes() - before; n != 2 {
			t.Errorf("%d audit rows for two changed keys", n)
		}
		many := make([]M, 501)
		for i := range many {
			many[i] = M{"key": "sk-nobody"}
		}
		w.refused(400, "1 to 500", "master", "POST", "/key/bulk_update", M{"keys": many})
		w.refused(422, "missing", "master", "POST", "/key/bulk_update", M{"keys": []M{{"max_budget": 1}}})
		w.userKey("int", "u-three", identity.RoleInternalUser)
		w.refused(401, "Only proxy admin", "int", "POST", "/key/bulk_update", M{"keys": []M{{"key": w.plain("a"), "max_budget": 9}}})
	})
}

func TestKeyRegenerate(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		first := w.create("k", M{
			"key_alias": "one", "user_id": "u-int", "spend": 2, "max_budget": 5, "soft_budget": 4, "metadata": M{"a": 1},
		})
		old := first["token"].(string)
		w.insert(&identity.JWTMapping{ID: "j1", ClaimName: "c", ClaimValue: "v", Token: old, Active: true})
		second := w.ok("master", "POST", "/key/"+old+"/regenerate", M{"grace_period": "1h"})
		for _, name := range []string{"key_alias", "user_id", "spend", "max_budget", "metadata", "budget_id", "created_at"} {
			if quotedText(first[name]) != quotedText(second[name]) {
				t.Errorf("%s was %v and is %v", name, first[name], second[name])
			}
		}
		if second["key"] == first["key"] || second["token"] != keyDigest(second["key"].(string)) {
			t.Errorf("%v", second)
		}
		w.refused(404, "not found", "master", "GET", "/key/info?key="+old, nil)
		// Once more, the other form, with fields: both old secrets lead to the newest.
		third := w.ok("master", "POST", "/key/regenerate", M{"key": second["key"], "grace_period": "2h", "max_budget": 7, "new_key": "sk-chosen-by-an-admin-00001"})
		if third["key"] != "sk-chosen-by-an-admin-00001" || quotedText(third["max_budget"]) != "7.0" {
			t.Errorf("%v", third)
		}
		retired, err := store.Find[identity.RetiredKey](context.Background(), w.store, store.Query{})
		if err != nil || len(retired) != 2 {
			t.Fatalf("%v %v", retired, err)
		}
		for _, r := range retired {
			if r.Active != third["token"] {
				t.Errorf("an old secret leads to %s", r.Active)
			}
		}
		m, err := store.Get[identity.JWTMapping](context.Background(), w.store, "j1")
		if err != nil || m.Token != third["token"] {
			t.Errorf("the mapping leads to %+v: %v", m, err)
		}
		w.refused(409, "exists already", "master", "POST", "/key/generate", M{"key": first["key"]})
		// Who calls with an old secret calls with the key that replaced it.
		w.remember("third", third["key"].(string))
		who := w.caller("third")
		copy(who.KeyHash[:], old)
		if a := w.callAs(who, "GET", "/key/info", nil); a.Status != 200 || !strings.Contains(string(a.Raw), third["token"].(string)) {
			t.Errorf("%d %s", a.Status, a.Raw)
		}
		info := w.ok("master", "GET", "/key/info?key="+third["token"].(string), nil)["info"].(map[string]any)
		if quotedText(info["rotation_count"]) != "2" || info["last_rotation_at"] == nil || quotedText(info["litellm_budget_table"]) == "null" {
			t.Errorf("%v", info)
		}
		// Without a grace period the old secret opens nothing, and may be chosen again;
		// what was called with it until now is known to be this key's.
		fourth := w.ok("master", "POST", "/key/regenerate", M{"key": third["key"]})
		r, err := store.Get[identity.RetiredKey](context.Background(), w.store, third["token"].(string))
		if err != nil || r.Active != fourth["token"] || time.Since(r.RevokeAt) < time.Hour {
			t.Errorf("%+v: %v", r, err)
		}
		third = w.ok("master", "POST", "/key/regenerate", M{"key": fourth["key"], "new_key": third["key"]})
		w.ok("master", "POST", "/key/delete", M{"keys": []any{third["key"]}})
		for _, kind := range []string{"retired", "mapping", "budget"} {
			var n int
			switch kind {
			case "retired":
				n, err = store.Count[identity.RetiredKey](context.Background(), w.store)
			case "mapping":
				n, err = store.Count[identity.JWTMapping](context.Background(), w.store)
			default:
				n, err = store.Count[identity.Budget](context.Background(), w.store)
			}
			if err != nil || n != 0 {
				t.Errorf("%d of %s are left of a deleted key: %v", n, kind, err)
			}
		}
	})
}

func TestKeyDeleteAllOrNothing(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.userKey("int", "u-three", identity.RoleInternalUser)
		mine := w.key("mine", func(k *identity.Key) { k.UserID = "u-three" })
		theirs := w.key("theirs", func(k *identity.Key) { k.UserID = "u-two" })
		before := w.changes()
		w.refused(403, "", "int", "POST", "/key/delete", M{"keys": []string{mine, theirs}})
		if n := w.changes(); n != before {
			t.Errorf("a refused delete made %d changes", n-before)
		}
		doc := w.ok("int", "POST", "/key/delete", M{"keys": []string{mine, w.plain("mine")}})
		if n := len(doc["deleted_keys"].([]any)); n != 2 {
			t.Errorf("%v", doc)
		}
		if n := w.changes() - before; n != 1 {
			t.Errorf("%d audit rows for one deleted key", n)
		}
	})
}

func TestKeyResetSpend(t *testing.T) {
	each(t, func(w *world) {
		token := w.key("k", func(k *identity.Key) { k.Spend = 5 * money.Dollar })
		doc := w.ok("master", "POST", "/key/"+token+"/reset_spend", M{"reset_to": 1.25})
		if quotedText(doc["spend"]) != "1.25" || quotedText(doc["previous_spend"]) != "5.0" {
			t.Errorf("%v", doc)
		}
		w.refused(400, "between 0 and", "master", "POST", "/key/"+token+"/reset_spend", M{"reset_to": 1.5})
		w.refused(400, "reset_to", "master", "POST", "/key/"+token+"/reset_spend", M{"reset_to": -1})
	})
}

func TestKeyIgnoredFields(t *testing.T) {
	each(t, func(w *world) {
		a := w.call("master", "POST", "/key/generate", M{"zzz": 1, "rpm_limit": 1})
		if a.Status != http.StatusOK || a.Headers["x-sluice-ignored-fields"] != "zzz" {
			t.Errorf("%d %v", a.Status, a.Headers)
		}
		token := a.Body.(map[string]any)["token"]
		a = w.call("master", "POST", "/key/bulk_update", M{"keys": []M{{"key": token, "yyy": 1}, {"key": token, "yyy": 2}}})
		if a.Status != http.StatusOK || a.Headers["x-sluice-ignored-fields"] != "keys.yyy" {
			t.Errorf("%d %v", a.Status, a.Headers)
		}
	})
}

func TestKeyIgnoredFieldsStrict(t *testing.T) {
	each(t, func(w *world) {
		w.refused(400, "zzz", "master", "POST", "/key/generate", M{"zzz": 1})
		w.refused(400, "keys.yyy", "master", "POST", "/key/bulk_update", M{"keys": []M{{"key": "sk-nobody", "yyy": 1}}})
		if n := w.changes(); n != 0 {
			t.Errorf("%d changes", n)
		}
	}, func(c *Config) { c.Strict = true })
}

// TestKeySoftBudget: a soft budget of one key does not reach the others that
// share a budget with it.
func TestKeySoftBudget(t *testing.T) {
	each(t, func(w *world) {
		nine := dollars(9)
		w.insert(&identity.Budget{ID: "shared", Caps: identity.Caps{MaxBudget: &nine}})
		w.refused(400, "not both", "master", "POST", "/key/generate", M{"budget_id": "shared", "soft_budget": 1})
		made := w.ok("master", "POST", "/key/generate", M{"budget_id": "shared"})
		got := w.ok("master", "POST", "/key/update", M{"key": made["key"], "soft_budget": 3})
		if got["budget_id"] == "shared" {
			t.Error("the shared budget was changed through one key")
		}
		info := w.ok("master", "GET", "/key/info?key="+made["token"].(string), nil)["info"].(map[string]any)
		if table := info["litellm_budget_table"].(map[string]any); quotedText(table["soft_budget"]) != "3.0" || quotedText(table["max_budget"]) != "9.0" {
			t.Errorf("%v", table)
		}
		b, err := store.Get[identity.Budget](context.Background(), w.store, "shared")
		if err != nil || b.SoftBudget != nil {
			t.Errorf("%+v %v", b, err)
		}
		w.ok("master", "POST", "/key/update", M{"key": made["key"], "soft_budget": nil})
		again := w.ok("master", "POST", "/key/update", M{"key": made["key"], "budget_id": "shared"})
		if again["budget_id"] != "shared" {
			t.Errorf("%v", again["budget_id"])
		}
	})
}

// TestKeyPermission keeps what a key may use besides models.
func TestKeyPermission(t *testing.T) {
	each(t, func(w *world) {
		w.insert(&identity.AccessGroup{ID: "g1", Name: "g1"})
		made := w.ok("master", "POST", "/key/generate", M{"object_permission": M{"agents": []string{"a"}}, "access_group_ids": []string{"g1"}})
		id := made["object_permission"].(map[string]any)["object_permission_id"]
		got := w.ok("master", "POST", "/key/update", M{"key": made["key"], "object_permission": M{"agents": []string{"b"}}})
		if got["object_permission_id"] != id || !strings.Contains(quotedText(got["object_permission"]), `"agents":["b"]`) {
			t.Errorf("%v %v", got["object_permission_id"], got["object_permission"])
		}
		got = w.ok("master", "POST", "/key/update", M{"key": made["key"], "object_permission": nil})
		if got["object_permission_id"] != nil || got["object_permission"] != nil {
			t.Errorf("%v %v", got["object_permission_id"], got["object_permission"])
		}
		for group, want := range map[string]string{"g1": "1", "g2": "0"} {
			if doc := w.ok("master", "GET", "/key/list?access_group_id="+group, nil); quotedText(doc["total_count"]) != want {
				t.Errorf("%s: %v", group, doc)
			}
		}
	})
}

func dollars(n int64) money.Nano { return money.Nano(n) * money.Dollar }
