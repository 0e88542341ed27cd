//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
)

// TestMoveIn does what a new user does who has run LiteLLM until now: the old
// database, configuration file and environment, and one command. Then every key
// works on its first request, the management API shows what the old one showed,
// and LiteLLM's tables are what they were.
func TestMoveIn(t *testing.T) {
	for name, version := range map[string]string{"pinned": schemaPinned, "newest": schemaNewest} {
		t.Run(name, func(t *testing.T) {
			p := fakeprovider.Start(t)
			l := seeded(t, version, p.URL(""))
			before := l.print()
			a := New(t, Options{Config: oldConfig, Env: map[string]string{
				"DATABASE_URL": prisma(l.url), "LITELLM_MASTER_KEY": oldMaster, "LITELLM_SALT_KEY": oldSalt, "OPENAI_API_KEY": "sk-canary-file", "STORE_MODEL_IN_DB": "True",
			}})
			a.Key = oldMaster
			began := time.Now()
			a.Start()
			a.WaitReady(60 * time.Second)
			a.allReady()
			t.Logf("show: ready %.1f s after the one command", time.Since(began).Seconds())
			m := &movedIn{t: t, a: a, l: l, p: p}
			m.keysWork()
			m.l.unchanged("after the first requests", before)
			if version == schemaPinned {
				m.shows()
				m.newOnesWork()
			}
			if code := a.Stop(); code != 0 {
				t.Errorf("stopped with %d", code)
			}
			if n := strings.Count(a.Log(), "import is done"); n != 1 {
				t.Errorf("the log says %d times that an import is done", n)
			}
			m.nothingPlain()
			changes := pgtest.Number(t, l.url, "SELECT count(*) FROM sluice.changes WHERE object_type = 'import'")
			a.Start()
			a.allReady()
			if n := pgtest.Number(t, l.url, "SELECT count(*) FROM sluice.changes WHERE object_type = 'import'"); n != changes {
				t.Errorf("a second start has imported: %d changes, %d before", n, changes)
			}
			m.chat(seededKeys()[0])
			l.unchanged("at the end", before)
			l.goBack(p.URL(""))
		})
	}
}

// movedIn is an appliance on the database of a LiteLLM proxy.
type movedIn struct {
	t *testing.T
	a *Appliance
	l *litellm
	p *fakeprovider.Provider
}

// chat asks once with a key, as its owner goes on doing.
func (m *movedIn) chat(k seededKey) {
	m.t.Helper()
	r, err := m.a.Do(http.MethodPost, "/v1/chat/completions", `{"model":`+strconv.Quote(k.model)+`,"messages":[{"role":"user","content":"x"}]}`,
		map[string]string{"Authorization": "Bearer " + k.secret, "Content-Type": "application/json"})
	if err != nil {
		m.t.Fatal(err)
	}
	if r.Status != k.status || !bytes.Contains(r.Body, []byte(k.says)) {
		m.t.Errorf("%s asks %s: %s, want %d with %q", k.secret, k.model, r.text(), k.status, k.says)
	}
}

// keysWork: the first request of every old key is answered as before, and the
// provider is called with what the old proxy had encrypted.
func (m *movedIn) keysWork() {
	m.t.Helper()
	for _, k := range seededKeys() {
		m.chat(k)
	}
	m.chat(seededKey{secret: "sk-old-now", model: "mock", status: 200, says: "from the file"})
	m.chat(seededKey{secret: "sk-old-before-grace", model: "mock", status: 200, says: "from the file"})
	m.chat(seededKey{secret: "sk-old-before-over", model: "mock", status: 401})
	m.chat(seededKey{secret: "sk-old-never-was", model: "mock", status: 401})
	m.chat(seededKey{secret: oldMaster, model: "by-alias", status: 200, says: "from the file"})
	for _, key := range []string{"box", "gcm", "derived", "credential", "team"} {
		found := false
		for _, e := range m.p.Ledger().All() {
			found = found || bytes.Contains(e.Head, []byte("Bearer sk-canary-"+key+"\r\n"))
		}
		if !found {
			m.t.Errorf("the provider was not called with the key of %s", key)
		}
	}
	r, err := m.a.Do(http.MethodPost, "/v1/chat/completions", `{"model":"mock","user":"c-blocked","messages":[]}`,
		map[string]string{"Authorization": "Bearer sk-old-plain", "Content-Type": "application/json"})
	if err != nil || r.Status == 200 {
		m.t.Errorf("a blocked customer: %v %s", err, r.text())
	}
}

// get reads the API with the master key.
func (m *movedIn) get(call string) any {
	m.t.Helper()
	method, rest, _ := strings.Cut(call, " ")
	path, body, _ := strings.Cut(rest, " ")
	r, err := m.a.Do(method, path, body, map[string]string{"Authorization": "Bearer " + m.a.Key, "Content-Type": "application/json"})
	if err != nil {
		m.t.Fatal(err)
	}
	if r.Status != http.StatusOK {
		m.t.Errorf("%s: %s", call, r.text())
		return nil
	}
	var v any
	if err := r.JSON(&v); err != nil {
		m.t.Fatal(err)
	}
	return v
}

// at finds a value inside a document: names and numbers with dots between them.
// A name=value finds the entry of a list.
func at(v any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case obj:
			v = in[part]
		case []any:
			name, want, search := strings.Cut(part, "=")
			i, err := strconv.Atoi(part)
			switch {
			case search:
				v = nil
				for _, entry := range in {
					if e, ok := entry.(obj); ok && e[name] == want {
						v = e
					}
				}
			case err == nil && i < len(in):
				v = in[i]
			default:
				return nil
			}
		default:
			return nil
		}
	}
	return v
}

// shown are the calls of the management API and what their answers must hold.
func shown() map[string]values {
	key := func(secret string) string { return "GET /key/info?key=" + hashed(secret) }
	until := "2099-01-02T03:04:05.678"
	return map[string]values{
		key("sk-old-plain"): {
			"info.key_alias": oldUnicode, "info.spend": 0.3, "info.models": []any{}, "info.metadata.unicode": oldUnicode, "info.metadata.deep": obj{"n": nil, "f": 1e-9, "big": 9007199254740992.0},
			"info.max_budget": nil, "info.user_id": nil, "info.team_id": nil, "info.blocked": nil, "info.expires": nil,
		},
		key("sk-old-nulls"): {"info.models": []any{}, "info.spend": 0.0, "info.max_budget": nil, "info.tpm_limit": nil},
		key("sk-old-all"): {
			"info.key_alias": "all", "info.max_budget": 25.125, "info.budget_duration": "30d", "info.tpm_limit": 100000, "info.rpm_limit": 1000, "info.max_parallel_requests": 7,
			"info.models": []any{"mock", "db-box"}, "info.aliases": obj{"short": "mock"}, "info.metadata": obj{"cost_center": "7"}, "info.spend": 1.0, "info.user_id": "u-1",
			"info.model_max_budget": obj{"mock": obj{"budget_limit": 2.5, "time_period": "1d"}}, "info.permissions": obj{"allow_pii_controls": true}, "info.expires~": until,
			"info.budget_reset_at~": until, "info.budget_id": "b-full", "info.created_by": "u-admin", "info.auto_rotate": true, "info.rotation_interval": "90d", "info.rotation_count": 2,
			"info.tpd_limit": 5000000, "info.budget_limits": []any{obj{"budget_duration": "1d", "max_budget": 3}}, "info.object_permission_id": "op-1",
		},
		key("sk-old-access"):       {"info.access_group_ids": []any{"ag-1"}, "info.models": []any{"no-default-models"}},
		key("sk-old-blocked"):      {"info.blocked": true},
		key("sk-old-expired"):      {"info.expires~": "2025-01-02T03:04:05.678"},
		key("sk-old-route"):        {"info.allowed_routes": []any{"/v1/models"}},
		key("sk-old-team"):         {"info.team_id": "t-1", "info.user_id": "u-1", "info.models": []any{"all-team-models"}},
		key("sk-old-project"):      {"info.project_id": "p-1"},
		key("sk-old-organization"): {"info.organization_id": "o-1"},
		key("sk-old-orphan"):       {"info.user_id": "u-deleted", "info.key_alias": "orphan"},
		key("sk-old-nan"):          {"info.spend": 0.0},
		key("sk-old-infinite"):     {"info.spend": 0.0},
		key("sk-old-negative"):     {"info.spend": 0.0},
		"GET /key/info?key=hashed-jwt-" + hashed("of a claim"): {"info.key_alias": "virtual", "info.spend": 4.5},

		"GET /user/info?user_id=u-1": {
			"user_info.user_email": "One@Example.org", "user_info.user_role": "internal_user", "user_info.max_budget": 10, "user_info.spend": 0.3, "user_info.models": []any{"mock"},
			"user_info.metadata.unicode": oldUnicode, "user_info.tpm_limit": 500000, "user_info.rpm_limit": 600, "user_info.max_parallel_requests": 8, "user_info.budget_duration": "7d",
			"user_info.sso_user_id": "sso-1",
		},
		"GET /user/info?user_id=u-view":                         {"user_info.user_role": "internal_user_viewer", "user_info.max_budget": nil},
		"GET /user/info?user_id=u-odd":                          {"user_info.user_role": nil},
		"GET /user/info?user_id=u-zero":                         {"user_info.max_budget": 0, "user_info.tpm_limit": 0, "user_info.rpm_limit": 0},
		"GET /user/info?user_id=u-nan":                          {"user_info.spend": 0, "user_info.user_id": "u-nan"},
		"GET /user/info?user_id=u-negative":                     {"user_info.spend": 0},
		"GET /user/info?user_id=" + url.QueryEscape(oldUnicode): {"user_info.user_id": oldUnicode},
		"GET /user/info?user_id=default_user_id":                {"user_info.user_role": "proxy_admin", "user_info.spend": 0.25},
		"GET /team/info?team_id=t-1": {
			"team_info.team_alias": "Team " + oldUnicode, "team_info.organization_id": "o-1", "team_info.models": []any{"mock", "db-box", "ours"}, "team_info.max_budget": 100,
			"team_info.spend": 12.345678901, "team_info.metadata": obj{"m": "x"}, "team_info.tpm_limit": 1000000, "team_info.rpm_limit": 10000, "team_info.max_parallel_requests": 9,
			"team_info.budget_duration": "1mo", "team_info.team_member_permissions": []any{"/key/generate", "/key/info"}, "team_info.soft_budget": 90,
			"team_info.default_team_member_models": []any{"mock"}, "team_info.router_settings": obj{"num_retries": 1}, "team_info.object_permission_id": "op-1",
			"team_info.members_with_roles.user_id=u-admin.role": "admin", "team_info.members_with_roles.user_id=u-1.role": "user", "team_info.members_with_roles.user_id=u-gone": nil,
			"team_memberships.user_id=u-1.spend": 2.5, "team_memberships.user_id=u-1.budget_id": "b-full", "team_info.litellm_model_table.model_aliases": obj{"team-short": "mock"},
		},
		"GET /team/info?team_id=t-null":    {"team_info.max_budget": nil, "team_info.models": []any{}},
		"GET /team/info?team_id=t-blocked": {"team_info.blocked": true},
		"GET /organization/info?organization_id=o-1": {
			"organization_alias": "Org " + oldUnicode, "budget_id": "b-full", "metadata": obj{"o": 1}, "models": []any{"mock", "db-box", "ours"}, "spend": 1.25, "members.user_id=u-admin.user_role": "org_admin",
			"members.user_id=u-admin.spend": 0.5, "members.user_id=u-1.user_id": "u-1", "litellm_budget_table.max_budget": 12.5,
		},
		`POST /budget/info {"budgets":["b-full"]}`: {
			"0.max_budget": 12.5, "0.soft_budget": 10, "0.tpm_limit": 100000, "0.rpm_limit": 1000, "0.max_parallel_requests": 3, "0.budget_duration": "30d", "0.budget_reset_at~": until,
			"0.model_max_budget": obj{"mock": obj{"budget_limit": 3, "time_period": "1d"}},
		},
		`POST /budget/info {"budgets":["b-zero"]}`:  {"0.max_budget": 0},
		`POST /budget/info {"budgets":["b-none"]}`:  {"0.max_budget": nil, "0.budget_id": "b-none"},
		"GET /customer/info?end_user_id=c-1":        {"alias": "Customer " + oldUnicode, "spend": 0.125, "allowed_model_region": "eu", "default_model": "mock", "litellm_budget_table.max_budget": 12.5},
		"GET /customer/info?end_user_id=c-blocked":  {"blocked": true},
		`POST /tag/info {"names":["tag-1"]}`:        {"tag-1.description": "a tag", "tag-1.models": []any{"mock"}},
		"GET /project/info?project_id=p-1":          {"project_alias": "Project", "description": "d", "team_id": "t-1", "models": []any{"mock"}, "spend": 3.75, "metadata.p": true},
		"GET /v1/access_group/ag-1":                 {"access_group_name": "group one", "access_model_names": []any{"grouped"}, "access_mcp_server_ids": []any{"m-1"}},
		"GET /model/info?litellm_model_id=m-gcm":    {"data.0.model_name": "db-gcm", "data.0.litellm_params.model": "openai/x", "data.0.litellm_params.rpm": 1000, "data.0.model_info.input_cost_per_token": 0.000001},
		"GET /model/info?litellm_model_id=m-team":   {"data.0.model_info.team_id": "t-1", "data.0.model_info.team_public_model_name": "ours"},
		"GET /credentials/by_name/cr-1":             {"credential_name": "cr-1", "credential_info": obj{"custom_llm_provider": "openai"}},
		"GET /credentials":                          {"credentials.credential_name=cr " + oldUnicode + ".credential_name": "cr " + oldUnicode},
		"GET /invitation/info?invitation_id=i-open": {"user_id": "u-1", "is_accepted": false, "expires_at~": until},
		"GET /jwt/key/mapping/info?id=jm-1":         {"jwt_claim_value": oldUnicode, "is_active": true, "description": "first"},
		"GET /jwt/key/mapping/info?id=jm-2":         {"is_active": false},
	}
}

// shows: the management API shows what was there.
func (m *movedIn) shows() {
	m.t.Helper()
	for call, want := range shown() {
		answer := m.get(call)
		for path, value := range want {
			path, begins := strings.CutSuffix(path, "~")
			got := at(answer, path)
			if text, ok := got.(string); begins && ok && strings.HasPrefix(text, fmt.Sprint(value)) {
				continue
			}
			if !reflect.DeepEqual(got, plainJSON(value)) {
				m.t.Errorf("%s: %s is %#v, want %#v", call, path, got, value)
			}
		}
	}
	var history int
	for entity := range map[string]bool{"user": true, "team": true, "organization": true, "customer": true, "agent": true, "tag": true} {
		history += pgtest.Number(m.t, m.l.url, "SELECT count(*) FROM sluice.historic_daily_spend WHERE entity_type = $1 AND spend = 100000000", entity)
	}
	if history != 30 {
		m.t.Errorf("%d rows of daily spend, want 30", history)
	}
	if n := pgtest.Number(m.t, m.l.url, "SELECT count(*) FROM sluice.budget_windows WHERE entity_type = 'key' AND entity_id = $1 AND window_duration = '1d' AND spend >= 750000000",
		hashed("sk-old-all")); n != 1 {
		m.t.Errorf("%d budget windows, want 1", n)
	}
	if n := pgtest.Number(m.t, m.l.url, "SELECT count(*) FROM sluice.invitations"); n != 1 {
		m.t.Errorf("%d invitations, want the open one", n)
	}
}

// plainJSON is a value as JSON has it.
func plainJSON(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		return err
	}
	return out
}

// newOnesWork: what is new here works beside what came over.
func (m *movedIn) newOnesWork() {
	m.t.Helper()
	key := m.a.generate(`{"team_id":"t-1"}`)
	m.chat(seededKey{secret: key, model: "team-short", status: 200, says: "from the file"})
	m.a.manage("/key/block", fmt.Sprintf(`{"key":%q}`, hashed("sk-old-plain")))
	m.chat(seededKey{secret: "sk-old-plain", model: "mock", status: 401})
	m.a.manage("/key/unblock", fmt.Sprintf(`{"key":%q}`, hashed("sk-old-plain")))
	m.chat(seededKey{secret: "sk-old-plain", model: "mock", status: 200, says: "from the file"})
}

// nothingPlain: no secret of the old proxy stands anywhere as it is.
func (m *movedIn) nothingPlain() {
	m.t.Helper()
	find := func(where string, b []byte) {
		for _, word := range []string{"canary", oldSalt, oldMaster} {
			if i := bytes.Index(b, []byte(word)); i >= 0 {
				m.t.Errorf("%s holds a secret: %q", where, b[max(0, i-60):min(len(b), i+20)])
			}
		}
	}
	find("the log", []byte(m.a.Log()))
	for _, table := range pgtest.Rows(m.t, m.l.url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'sluice' AND table_type = 'BASE TABLE'") {
		for _, row := range pgtest.Rows(m.t, m.l.url, "SELECT t::text FROM sluice."+table[0]+" AS t") {
			find("table "+table[0], []byte(row[0]))
		}
	}
	err := filepath.WalkDir(m.a.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		find(strings.TrimPrefix(path, m.a.Dir), b)
		return err
	})
	if err != nil {
		m.t.Error(err)
	}
}

// goBack: LiteLLM finds its history of migrations complete and opens every
// secret that it had encrypted.
func (l *litellm) goBack(address string) {
	l.t.Helper()
	if n := pgtest.Number(l.t, l.url, `SELECT count(*) FROM "_prisma_migrations" WHERE finished_at IS NULL OR rolled_back_at IS NOT NULL`); n != 0 {
		l.t.Errorf("%d migrations of LiteLLM are not finished", n)
	}
	row := pgtest.Rows(l.t, l.url, `SELECT litellm_params->>'api_key', litellm_params->>'api_base' FROM "LiteLLM_ProxyModelTable" WHERE model_id = 'm-box'`)[0]
	if key, base := l.open(row[0]), l.open(row[1]); key != "sk-canary-box" || base != address {
		l.t.Errorf("LiteLLM would open %q and %q", key, base)
	}
}
