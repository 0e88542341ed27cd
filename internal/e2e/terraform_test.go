//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sluice/internal/postgres/pgtest"
)

// TestTerraform manages a resource of each kind as the community Terraform
// provider for LiteLLM does: with its calls and bodies, its opinion of statuses
// (404 means gone, on a read and on a delete; anything else beyond 200 is a
// failure) and its reads, after which a plan must be empty.
func TestTerraform(t *testing.T) {
	for _, database := range []string{"postgres", "sqlite"} {
		t.Run(database, func(t *testing.T) {
			for _, problem := range apply(t, terraformAppliance(t, database), nil) {
				t.Error(problem)
			}
		})
	}
}

// TestTerraformKnownBad: each habit is checked. The answers on the way to the
// provider are spoiled in one respect, and something must be missed.
func TestTerraformKnownBad(t *testing.T) {
	a := terraformAppliance(t, "sqlite")
	cached := map[string]*Answer{}
	for name, spoil := range map[string]func(call string, r *Answer){
		"what is gone is a bad request": func(_ string, r *Answer) {
			if r.Status == http.StatusNotFound {
				r.Status = http.StatusBadRequest
			}
		},
		"what is made is 201": func(call string, r *Answer) {
			if strings.HasPrefix(call, "POST /credentials") {
				r.Status = http.StatusCreated
			}
		},
		"a read lacks a field":           replaced("GET ", `"budget_duration":`, `"budget_term":`),
		"a read has a text for a number": replaced("GET ", `"tpm_limit":2000`, `"tpm_limit":"2000"`),
		"a member's role is lost":        replaced("GET /team/info", `"role":"user"`, `"role":"admin"`),
		"a clear is forgotten":           replaced("GET /team/info", `"rpm_limit":null`, `"rpm_limit":100`),
		"one worker's reads are stale": func(call string, r *Answer) {
			if strings.HasPrefix(call, "GET /model/info") && r.Status == http.StatusOK {
				if cached[call] == nil {
					cached[call] = &Answer{Body: r.Body}
				}
				r.Body = cached[call].Body
			}
		},
	} {
		if problems := apply(t, a, spoil); len(problems) == 0 {
			t.Errorf("%s, and nothing was missed", name)
		} else {
			t.Logf("%s: %d problems, the first: %s", name, len(problems), problems[0])
		}
	}
}

func replaced(calls, was, is string) func(string, *Answer) {
	return func(call string, r *Answer) {
		if strings.HasPrefix(call, calls) {
			r.Body = bytes.ReplaceAll(r.Body, []byte(was), []byte(is))
		}
	}
}

func terraformAppliance(t *testing.T, database string) *Appliance {
	t.Helper()
	env := map[string]string{"LITELLM_SALT_KEY": "sk-salt-of-the-tests"}
	if database == "postgres" {
		env["DATABASE_URL"] = pgtest.Database(t)
	}
	a := New(t, Options{Config: managementConfig, Env: env})
	a.Start()
	a.allReady()
	return a
}

// terraform is one run of the provider.
type terraform struct {
	a        *Appliance
	run      string // prefix of names, so that runs do not meet
	spoil    func(call string, r *Answer)
	problems []string
}

// apply takes every kind of resource through its life and returns what would
// have failed.
func apply(t *testing.T, a *Appliance, spoil func(string, *Answer)) []string {
	t.Helper()
	var free struct {
		ID string `json:"team_id"`
	}
	r, err := a.Do(http.MethodPost, "/team/new", `{}`, map[string]string{"x-api-key": a.Key})
	if err != nil || r.JSON(&free) != nil || free.ID == "" {
		t.Fatalf("a name for the run: %v %+v", err, r)
	}
	p := &terraform{a: a, run: free.ID[:8], spoil: spoil}
	for _, r := range p.resources() {
		p.live(r)
	}
	p.member()
	p.members()
	return p.problems
}

func (p *terraform) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// do makes a call of the provider on a connection of its own, so that workers
// take turns. It returns the body's object where the status is the wanted one.
func (p *terraform) do(status int, method, path string, body any) obj {
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			p.problem("%v", err)
			return nil
		}
		text = string(b)
	}
	r, err := p.a.Do(method, path, text, map[string]string{
		"x-api-key": p.a.Key, "Content-Type": "application/json", "Accept": "application/json", "litellm-changed-by": "terraform", "Connection": "close",
	})
	if err != nil {
		p.problem("%s %s: %v", method, path, err)
		return nil
	}
	if p.spoil != nil {
		p.spoil(method+" "+path, r)
	}
	if r.Status != status {
		p.problem("%s %s: %d %s, want %d", method, path, r.Status, r.Body, status)
		return nil
	}
	var out any
	if err := json.Unmarshal(r.Body, &out); err != nil {
		p.problem("%s %s: %v", method, path, err)
	}
	if list, ok := out.([]any); ok && len(list) > 0 {
		out = list[0]
	}
	o, _ := out.(obj)
	return o
}

// resource is one of those whose whole state the provider reads back.
type resource struct {
	kind           string
	create, update string // method and path
	first, then    obj    // bodies of the two
	remove         string
	removal        any
	absent         int // status of a removal of what is gone
	read           string
	inside         []string // where in the answer the object is; "0" is the first of a list
	secret         []string // fields that are kept from the configuration
	reads          obj      // what a read shows where it is not what was sent, after create
	rereads        obj      // the same after update
	unset          []string // fields that were not configured, and must not turn up
}

// live is create, refresh, update, refresh, destroy, refresh.
func (p *terraform) live(r resource) {
	p.gone(r)
	method, path, _ := strings.Cut(r.create, " ")
	if p.do(http.StatusOK, method, path, r.first) == nil {
		return
	}
	p.plan(r, r.first, r.reads)
	method, path, _ = strings.Cut(r.update, " ")
	p.do(http.StatusOK, method, path, r.then)
	p.plan(r, r.then, r.rereads)
	method, path, _ = strings.Cut(r.remove, " ")
	p.do(http.StatusOK, method, path, r.removal)
	p.gone(r)
	p.do(cmp.Or(r.absent, http.StatusNotFound), method, path, r.removal)
}

// readers is how many reads on connections of their own the provider believes.
const readers = 4

// gone: every worker says 404.
func (p *terraform) gone(r resource) {
	for range readers {
		p.do(http.StatusNotFound, http.MethodGet, r.read, nil)
	}
}

// plan refreshes, and reports what a plan would change.
func (p *terraform) plan(r resource, configured, reads obj) {
	for range readers {
		var got any = p.do(http.StatusOK, http.MethodGet, r.read, nil)
		for _, step := range r.inside {
			switch at := got.(type) {
			case obj:
				got = at[step]
			case []any:
				if got = nil; len(at) == 1 {
					got = at[0]
				}
			}
		}
		state, ok := got.(obj)
		if !ok {
			p.problem("%s: the read has no object in %v", r.kind, r.inside)
			return
		}
		want := obj{}
		for k, v := range configured {
			want[k] = v
		}
		for k, v := range reads {
			want[k] = v
		}
		for _, k := range r.secret {
			delete(want, k)
		}
		p.drift(r.kind, want, state)
		for _, k := range r.unset {
			if v := state[k]; v != nil && v != "" {
				p.problem("%s: %s is %v, and was not configured", r.kind, k, v)
			}
		}
	}
}

// drift compares what was configured with what is there; more may be there.
func (p *terraform) drift(at string, want, got any) {
	if fields, ok := want.(obj); ok {
		there, ok := got.(obj)
		if !ok {
			p.problem("%s is %v, configured %v", at, got, want)
			return
		}
		for k, v := range fields {
			p.drift(at+"."+k, v, there[k])
		}
		return
	}
	b, err := json.Marshal(want)
	var plain any
	if err == nil {
		err = json.Unmarshal(b, &plain)
	}
	if err != nil || !reflect.DeepEqual(plain, got) {
		p.problem("%s is %v, configured %v", at, got, want)
	}
}

// resources are a team, keys, models and a credential.
func (p *terraform) resources() []resource {
	team, key, chosen := p.run+"-team", "sk-chosen-"+p.run+"-0123456789", "sk-hash#tag/"+p.run+"?&+=%2F"
	model, teams := p.run+"-model", p.run+"-of-a-team"
	credential := p.run + "-my.credential/eu"
	out := []resource{
		{
			kind: "team", create: "POST /team/new", update: "POST /team/update", remove: "POST /team/delete",
			removal: obj{"team_ids": []string{team}}, read: "/team/info?team_id=" + team, inside: []string{"team_info"},
			first: teamBody(team, false), then: teamBody(team, true),
			secret: []string{"model_aliases", "tags", "model_rpm_limit", "team_member_budget", "team_member_rpm_limit"},
			reads: obj{
				"metadata":                 obj{"env": "prod", "n": 7, "tags": []string{"x", "y"}, "model_rpm_limit": obj{"mock": 3}},
				"litellm_model_table":      obj{"model_aliases": obj{"fast": "mock"}},
				"team_member_budget_table": obj{"max_budget": 20, "rpm_limit": 5},
			},
			rereads: obj{"metadata": obj{"env": "staging"}, "litellm_model_table": obj{"model_aliases": obj{"fast": "gpt-4o-mini"}}},
			unset:   []string{"organization_id"},
		},
		p.model(model, nil),
		p.model(teams, obj{"team_id": p.shared("of-models")}),
		{
			kind: "credential", create: "POST /credentials", update: "PATCH /credentials/" + dotted(credential), remove: "DELETE /credentials/" + dotted(credential),
			read:   "/credentials/by_name/" + dotted(credential),
			first:  obj{"credential_name": credential, "credential_info": obj{"custom_llm_provider": "openai", "note": "a"}, "credential_values": obj{"api_key": "sk-canary", "api_base": "https://a.example"}},
			then:   obj{"credential_name": credential, "credential_info": obj{"custom_llm_provider": "openai", "note": "b"}, "credential_values": obj{"api_key": "sk-canary-2", "api_base": "https://b.example"}},
			secret: []string{"credential_values"},
		},
	}
	for _, k := range []string{key, chosen} {
		out = append(out, resource{
			kind: "key", create: "POST /key/generate", update: "POST /key/update", remove: "POST /key/delete",
			removal: obj{"keys": []string{k}}, read: "/key/info?key=" + url.QueryEscape(k), inside: []string{"info"},
			first: keyBody(k, p.run, false), then: keyBody(k, p.run, true),
			secret: []string{"key", "duration", "tags", "guardrails", "enforced_params", "model_rpm_limit", "model_tpm_limit", "soft_budget"},
			reads: obj{
				"metadata":             obj{"env": "prod", "logging": []any{obj{"a": 1}}, "tags": []string{"t"}, "enforced_params": []string{"user"}, "model_rpm_limit": obj{"mock": 4}},
				"litellm_budget_table": obj{"soft_budget": 5},
			},
			unset: []string{"user_id", "team_id", "organization_id", "duration", "tpm_limit_type", "rpm_limit_type"},
		})
	}
	return out
}

func teamBody(id string, later bool) obj {
	if later {
		return obj{
			"team_id": id, "team_alias": "platform two", "models": []string{"mock", "gpt-4o-mini"}, "metadata": obj{"env": "staging"}, "blocked": true,
			"tpm_limit": 2000, "rpm_limit": nil, "max_budget": nil, "budget_duration": nil, "model_aliases": obj{"fast": "gpt-4o-mini"}, "router_settings": obj{},
		}
	}
	return obj{
		"team_id": id, "team_alias": "platform", "models": []string{"mock"}, "metadata": obj{"env": "prod", "n": 7}, "blocked": false,
		"tpm_limit": 1000, "rpm_limit": 100, "max_budget": 100.5, "budget_duration": "30d", "model_aliases": obj{"fast": "mock"},
		"tags": []string{"x", "y"}, "model_rpm_limit": obj{"mock": 3}, "team_member_budget": 20, "team_member_rpm_limit": 5,
		"team_member_permissions": []string{"/key/generate"},
		"router_settings":         obj{"fallbacks": []any{obj{"mock": []string{"gpt-4o-mini"}}}},
	}
}

func keyBody(key, run string, later bool) obj {
	body := obj{
		"key": key, "key_alias": run + "-ci-" + key[len(key)-3:], "models": []string{"mock"}, "max_budget": 10.5, "budget_duration": "30d", "tpm_limit": 1000, "rpm_limit": 100,
		"max_parallel_requests": 3, "metadata": obj{"env": "prod", "logging": []any{obj{"a": 1}}}, "duration": "30d", "aliases": obj{"fast": "mock"},
		"config": obj{"x": "y"}, "permissions": obj{"p": "true"}, "model_max_budget": obj{"mock": 2.5}, "model_rpm_limit": obj{"mock": 4},
		"model_tpm_limit": obj{"mock": 40}, "tags": []string{"t"}, "enforced_params": []string{"user"}, "soft_budget": 5, "guardrails": []string{},
		"allowed_routes": []string{"/chat/completions"}, "allowed_cache_controls": []string{"no-cache"}, "blocked": false,
		"router_settings": obj{"num_retries": 3},
	}
	if later {
		for k, v := range (obj{"models": []string{"gpt-4o-mini", "mock"}, "max_budget": 0.000001, "tpm_limit": 2000, "blocked": true, "metadata": obj{"env": "staging"}, "budget_duration": "7d"}) {
			body[k] = v
		}
		for _, k := range []string{"tags", "guardrails", "enforced_params", "model_rpm_limit", "model_tpm_limit", "soft_budget"} {
			delete(body, k)
		}
	}
	return body
}

// model is a deployment, of a team where info says so.
func (p *terraform) model(id string, info obj) resource {
	body := func(base string, cost float64) obj {
		m := obj{
			"model_name": id + "-name",
			"litellm_params": obj{
				"custom_llm_provider": "openai", "model": "openai/" + base, "api_key": "sk-canary", "api_base": "https://a.example/v1", "tpm": 5000, "rpm": 50,
				"input_cost_per_token": cost, "output_cost_per_token": 3 * cost, "merge_reasoning_content_in_choices": false, "mock_response": "tf", "tags": []string{"eu"},
			},
			"model_info": obj{"id": id, "db_model": true, "base_model": base, "tier": "free", "mode": "chat", "access_groups": []string{p.run + "-ag"}},
		}
		for k, v := range info {
			m["model_info"].(obj)[k] = v
			m["model_info"].(obj)["team_public_model_name"] = id + "-name"
		}
		return m
	}
	r := resource{
		kind: "model", create: "POST /model/new", update: "PATCH /model/" + id + "/update", remove: "POST /model/delete", removal: obj{"id": id}, absent: http.StatusBadRequest,
		read: "/model/info?litellm_model_id=" + id, inside: []string{"data", "0"}, first: body("gpt-4o-mini", 1e-6), then: body("gpt-4o", 1.75e-7),
	}
	visible := func(m obj) obj {
		params := obj{}
		for k, v := range m["litellm_params"].(obj) {
			if k != "api_key" {
				params[k] = v
			}
		}
		return obj{"litellm_params": params}
	}
	r.reads, r.rereads = visible(r.first), visible(r.then)
	if info != nil {
		r.secret = []string{"model_name"} // it is in team_public_model_name
	}
	return r
}

// dotted writes a name for a path as the provider does.
func dotted(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }

// shared makes a team that other resources hang on.
func (p *terraform) shared(name string) string {
	id := p.run + "-" + name
	p.do(http.StatusOK, http.MethodPost, "/team/new", obj{"team_id": id, "team_alias": id, "router_settings": obj{}})
	return id
}

// member is one user in one team, with a budget that starts anew each month:
// the provider finds the budget in the team and changes it there.
func (p *terraform) member() {
	team, user, email := p.shared("of-one"), p.run+"-ann", p.run+"-ann@example.org"
	add := obj{"team_id": team, "member": []obj{{"role": "user", "user_id": user, "user_email": email}}, "max_budget_in_team": 12.5}
	p.do(http.StatusOK, http.MethodPost, "/team/member_add", add)
	if again := p.do(http.StatusBadRequest, http.MethodPost, "/team/member_add", add); again != nil {
		if b, _ := json.Marshal(again); !bytes.Contains(b, []byte("team_member_already_in_team")) {
			p.problem("a member that is added again: %s", b)
		}
	}
	budget := p.roster(team, user, email, "user", 12.5)
	id, _ := budget["budget_id"].(string)
	p.do(http.StatusOK, http.MethodPost, "/budget/update", obj{"budget_id": id, "budget_duration": "1mo", "max_budget": 12.5, "budget_reset_at": "2040-01-01T00:00:00Z"})
	budget = p.roster(team, user, email, "user", 12.5)
	if budget["budget_duration"] != "1mo" || budget["budget_reset_at"] == nil || budget["budget_id"] != id {
		p.problem("team member: the budget's term is not read back: %v", budget)
	}
	p.do(http.StatusOK, http.MethodPost, "/team/member_update", obj{"team_id": team, "user_id": user, "user_email": email, "max_budget_in_team": 20})
	p.roster(team, user, email, "user", 20)
	p.do(http.StatusOK, http.MethodPost, "/team/member_update", obj{"team_id": team, "user_id": user, "user_email": email, "max_budget_in_team": nil})
	p.roster(team, user, email, "user", nil)
	p.leave(team, user, email)
	p.do(http.StatusOK, http.MethodPost, "/team/delete", obj{"team_ids": []string{team}})
}

// members is a batch: each is added by a call, roles are changed, budgets too.
func (p *terraform) members() {
	team := p.shared("of-many")
	for _, name := range []string{"bob", "cec"} {
		user, email := p.run+"-"+name, p.run+"-"+name+"@example.org"
		p.do(http.StatusOK, http.MethodPost, "/team/member_add", obj{"team_id": team, "member": obj{"role": "user", "user_id": user, "user_email": email}, "max_budget_in_team": 3})
		p.roster(team, user, email, "user", 3)
		p.do(http.StatusOK, http.MethodPost, "/team/member_update", obj{"team_id": team, "user_id": user, "user_email": email, "role": "admin", "max_budget_in_team": 4.5})
		p.roster(team, user, email, "admin", 4.5)
	}
	p.do(http.StatusOK, http.MethodPost, "/team/member_add", obj{"team_id": team, "member": obj{"role": "user", "user_email": p.run + "-dan@example.org"}})
	for _, name := range []string{"bob", "cec"} {
		p.leave(team, p.run+"-"+name, p.run+"-"+name+"@example.org")
	}
	p.do(http.StatusOK, http.MethodPost, "/team/member_delete", obj{"team_id": team, "user_email": p.run + "-dan@example.org"})
	p.do(http.StatusOK, http.MethodPost, "/team/delete", obj{"team_ids": []string{team}})
}

// leave takes a member out, and wants nothing of it left in the team.
func (p *terraform) leave(team, user, email string) {
	body := obj{"team_id": team, "user_id": user, "user_email": email}
	p.do(http.StatusOK, http.MethodPost, "/team/member_delete", body)
	info := p.do(http.StatusOK, http.MethodGet, "/team/info?team_id="+team, nil)
	if b, _ := json.Marshal(info); bytes.Contains(b, []byte(user)) {
		p.problem("team member: %s is still in the team: %s", user, b)
	}
}

// roster wants a member once in the team and once among its memberships, and
// returns its budget.
func (p *terraform) roster(team, user, email, role string, limit any) obj {
	info := p.do(http.StatusOK, http.MethodGet, "/team/info?team_id="+team, nil)
	inner, _ := info["team_info"].(obj)
	people, _ := inner["members_with_roles"].([]any)
	memberships, _ := info["team_memberships"].([]any)
	find := func(list []any) obj {
		list = slices.DeleteFunc(slices.Clone(list), func(x any) bool { o, _ := x.(obj); return o["user_id"] != user })
		if len(list) != 1 {
			p.problem("team member: %s is %d times in the team", user, len(list))
			return obj{}
		}
		return list[0].(obj)
	}
	p.drift("team member", obj{"user_email": email, "role": role}, find(people))
	budget, _ := find(memberships)["litellm_budget_table"].(obj)
	if limit != nil || budget != nil {
		p.drift("team member", obj{"max_budget": limit}, budget)
	}
	return budget
}
