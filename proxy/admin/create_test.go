package admin

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sluice/proxy/access"
	"sluice/proxy/identity"
)

// creation is a noun that can be made and read. Every field that its route
// takes is given, so a new one is in the test from its first day.
type creation struct {
	route string
	given M        // values that mean something; the others get one of their type
	left  string   // fields that are not given: they exclude others
	reads []string // of the answer's {fields}
	// hidden are fields that no answer says as they were given: secrets, orders
	// to do something, and what is read elsewhere or changed on purpose.
	hidden string
	silent bool // the answer says that it was made, and no more
}

func creations() []creation {
	budget := "temp_budget_expiry budget_reset_at" // times are normalised
	return []creation{
		{
			route: "POST /team/new", left: "members admins",
			given: M{
				"team_id": "t-new", "organization_id": "o1", "models": []string{"mock"}, "access_group_ids": []string{"g1"},
				"members_with_roles":      []M{{"role": "user", "user_id": "u-int"}},
				"team_member_permissions": []string{"/key/info"}, "default_team_member_models": []string{"mock"}, "team_alias": "a team",
			},
			reads: []string{"/team/info?team_id={team_id}", "/team/list", "/v2/team/list?team_id={team_id}"},
			// The budget of members is an object of its own, team_member_budget_table.
			hidden: "members_with_roles team_member_budget team_member_budget_duration team_member_rpm_limit team_member_tpm_limit",
		},
		{
			route: "POST /user/new",
			given: M{
				"user_id": "u-new", "user_email": "new@example.org", "user_role": "internal_user", "teams": []string{"t1"}, "organizations": []string{"o1"},
				"team_id": "t1", "models": []string{"mock"}, "password": "a long password", "send_invite_email": false,
			},
			reads:  []string{"/user/info?user_id={user_id}", "/user/list?user_ids={user_id}", "/v2/user/info?user_id={user_id}"},
			hidden: "password auto_create_key key_alias duration team_id send_invite_email organizations",
		},
		{
			route: "POST /organization/new", left: "budget_id",
			given:  M{"organization_id": "o-new", "models": []string{"mock"}},
			reads:  []string{"/organization/info?organization_id={organization_id}", "/organization/list"},
			hidden: budget,
		},
		{
			route: "POST /project/new", left: "budget_id",
			given:  M{"project_id": "p-new", "team_id": "t1", "models": []string{"mock"}},
			reads:  []string{"/project/info?project_id={project_id}", "/project/list"},
			hidden: budget,
		},
		{
			route: "POST /customer/new", left: "budget_id",
			given:  M{"user_id": "c-new", "allowed_model_region": "eu", "default_model": "mock"},
			reads:  []string{"/customer/info?end_user_id={user_id}", "/customer/list"},
			hidden: budget,
		},
		{
			route: "POST /budget/new", given: M{"budget_id": "b-new"},
			reads: []string{"/budget/list"}, hidden: budget,
		},
		{
			route: "POST /tag/new", left: "budget_id", given: M{"name": "tag-new", "models": []string{"mock"}, "model_info": M{"mock": "mock"}},
			reads: []string{"/tag/list"}, hidden: budget,
		},
		{
			route: "POST /v1/access_group",
			given: M{"access_model_names": []string{"mock"}, "assigned_team_ids": []string{"t1"}, "assigned_key_ids": []string{digestHex("sk-one-for-tests-0123456789")}},
			reads: []string{"/v1/access_group/{access_group_id}", "/v1/access_group"},
		},
		{
			route: "POST /jwt/key/mapping/new", left: "key", given: M{"token": digestHex("sk-one-for-tests-0123456789")},
			reads: []string{"/jwt/key/mapping/info?id={id}", "/jwt/key/mapping/list"}, hidden: "token",
		},
		{
			route: "POST /invitation/new", given: M{"user_id": "u-int"},
			reads: []string{"/invitation/info?invitation_id={id}"},
		},
		{
			route: "POST /model/new",
			given: M{
				"model_name":     "made",
				"litellm_params": M{"model": "openai/made", "api_base": "https://example.org/v1", "rpm": 5, "timeout": 30, "custom": M{"a": 1}},
				"model_info":     M{"id": "m-new", "mode": "chat", "more": []int{1, 2}},
			},
			reads: []string{"/model/info?litellm_model_id=m-new", "/v2/model/info?modelId=m-new"}, hidden: "litellm_params model_info",
		},
		{
			route: "POST /credentials", left: "model_id",
			given: M{"credential_values": M{"api_key": "sk-secret-of-a-provider"}, "credential_info": M{"description": "d"}},
			reads: []string{"/credentials/by_name/{credential_name}", "/credentials"}, hidden: "credential_values", silent: true,
		},
	}
}

// sample is a value of a field's type.
func sample(f *access.Field) any {
	switch {
	case f.Served != "":
		return f.Served
	case f.Name == "model_max_budget":
		return M{"mock": M{"budget_limit": 1, "time_period": "1d"}}
	case f.Name == "budget_limits":
		return []M{{"budget_duration": "1d", "max_budget": 3}}
	case f.Name == "object_permission":
		return M{"vector_stores": []string{"v"}}
	case f.Name == "soft_budget":
		return 1.5
	case len(f.Enum) > 0:
		return f.Enum[0]
	}
	switch f.Type {
	case access.Integer:
		return 7
	case access.Number, access.Money:
		return 2.5
	case access.Boolean:
		return true
	case access.StringList:
		return []string{"one", "two"}
	case access.Object:
		return M{"mock": 3}
	case access.ObjectList, access.ObjectOrList:
		return []M{{"a": "b"}}
	case access.StringMap:
		return M{"a": "b"}
	case access.Duration:
		return "7d"
	case access.Time:
		return "2036-01-02T03:04:05Z"
	}
	return "text of " + f.Name
}

// shows says whether a field has a value anywhere in an answer.
func shows(doc any, field string, want json.RawMessage) bool {
	switch d := doc.(type) {
	case map[string]any:
		for name, v := range d {
			if name == field && within(quoted(v), want) || shows(v, field, want) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(d, func(v any) bool { return shows(v, field, want) })
	}
	return false
}

// within says whether a value is the wanted one, or an object with more in it.
func within(got, want json.RawMessage) bool {
	var has, wants map[string]json.RawMessage
	if json.Unmarshal(want, &wants) != nil || json.Unmarshal(got, &has) != nil {
		return sameJSON(got, want)
	}
	for name, v := range wants {
		if !sameJSON(has[name], v) {
			return false
		}
	}
	return has != nil
}

// TestCreateIsWhatReadsShow makes each noun with every field that there is:
// the answer says what was given, and so does every read after it. A client
// that compares what it asked for with what it reads finds no difference.
func TestCreateIsWhatReadsShow(t *testing.T) {
	each(t, func(w *world) {
		people(w)
		w.organization("o1", "u-int")
		w.insert(&identity.AccessGroup{ID: "g1", Name: "g1", Models: []string{"mock"}})
		w.key("one", nil)
		for _, c := range creations() {
			w.creates(&c)
		}
	}, withModels(t, &catalog{}))
}

func (w *world) creates(c *creation) {
	w.Helper()
	method, path, _ := strings.Cut(c.route, " ")
	route, _ := routeOf(method, path)
	if route == nil {
		w.Fatalf("%s is no route", c.route)
	}
	body := M{}
	left, hidden := strings.Fields(c.left), strings.Fields(c.hidden)
	for i := range route.Body {
		f := &route.Body[i]
		if v, ok := c.given[f.Name]; ok {
			body[f.Name] = v
		} else if !slices.Contains(left, f.Name) && (f.Unserved == "" || f.Served != "") {
			body[f.Name] = sample(f)
		}
	}
	made := w.call("master", method, path, body)
	doc, _ := made.Body.(map[string]any)
	if made.Status/100 != 2 || doc == nil {
		w.Errorf("%s %s: %d %s", c.route, quoted(body), made.Status, made.Raw)
		return
	}
	var pairs []string
	for name, v := range doc {
		if text, ok := v.(string); ok {
			pairs = append(pairs, "{"+name+"}", text)
		}
	}
	for name, v := range body {
		if text, ok := v.(string); ok {
			pairs = append(pairs, "{"+name+"}", strings.ReplaceAll(text, " ", "%20"))
		}
	}
	fill := strings.NewReplacer(pairs...)
	answers := map[string]any{}
	if !c.silent {
		answers[c.route] = made.Body
	}
	for _, read := range c.reads {
		got := w.call("master", "GET", fill.Replace(read), nil)
		if got.Status != 200 {
			w.Errorf("after %s, %s: %d %s", c.route, read, got.Status, got.Raw)
			continue
		}
		answers[read] = got.Body
	}
	for name, v := range body {
		for from, answer := range answers {
			if !slices.Contains(hidden, name) && !shows(answer, name, quoted(v)) {
				w.Errorf("after %s, %s does not show %s as %s: %.1500s", c.route, from, name, quoted(v), quoted(answer))
			}
		}
	}
}
