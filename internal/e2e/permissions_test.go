//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// permissionSample are calls that only some may make: the caller's column, the
// call and its body, the status. The whole matrix is tested in proxy/admin; here
// that a caller on the wire is the caller there.
var permissionSample = []struct {
	call, body string
	want       string // "caller status" pairs
}{
	{"POST /budget/new", `{"max_budget":1}`, "master 200 pa 200 av 403 oa 401 ta 401 tm 401 iu 401 iv 401 tk 401 bk 401 wrong 401 nobody 401"},
	{"GET /budget/list", "", "master 200 pa 200 av 200 oa 401 ta 401 tm 401 iu 401 iv 401 tk 401 bk 401 wrong 401 nobody 401"},
	{"POST /config/update", `{"general_settings":{"max_parallel_requests":9}}`, "av 403 oa 401 ta 401 iu 401 iv 401 tk 401 bk 401 nobody 401"},
	{"GET /user/list", "", "master 200 pa 200 av 200 oa 200 ta 403 iu 403 iv 403 tk 403 bk 403 nobody 401"},
	{"GET /team/info?team_id=t1", "", "pa 200 av 200 oa 200 ta 200 tm 200 iu 403 tk 200 bk 403 nobody 401"},
	{"GET /team/info?team_id=t3", "", "pa 200 av 200 oa 404 ta 404 tm 403 iu 403 tk 403 bk 403"},
	{"POST /team/update", `{"team_id":"t3","team_alias":"x"}`, "oa 404 ta 404 tm 403 iu 403 tk 403 bk 403 nobody 401"},
	{"POST /team/block", `{"team_id":"t3"}`, "av 403 oa 404 ta 401 tm 401 iu 401 tk 401 bk 401"},
	{"POST /user/update", `{"user_id":"iu","user_role":"proxy_admin"}`, "av 403 oa 401 ta 401 iu 401 iv 401 tk 401 bk 401"},
	{"POST /key/generate", `{}`, "pa 200 av 403 oa 200 ta 200 tm 200 iu 200 iv 401 tk 401 bk 401 wrong 401 nobody 401"},
	{"POST /key/generate", `{"allowed_routes":["/*"]}`, "oa 403 ta 403 tm 403 iu 403 iv 401 tk 401 bk 401"},
	{"POST /key/generate", `{"user_id":"pa"}`, "oa 403 ta 403 tm 403 iu 403 iv 401 tk 401 bk 401"},
	{
		"POST /v1/chat/completions", `{"model":"mock","messages":[{"role":"user","content":"hi"}]}`,
		"master 200 pa 200 av 200 oa 200 ta 200 tm 200 iu 200 iv 200 tk 200 bk 200 models 200 reads 403 wrong 401 nobody 401",
	},
	// Types of keys, and who holds one of another.
	{"GET /key/info", "", "iu 200 bk 200 reads 200 models 403"},
	{"POST /key/generate", `{"models":["mock"]}`, "models 403 reads 403 held 403"},
	{"GET /team/info?team_id=t1", "", "held 403"},
	{"GET /scim/v2/Users", "", "master 501 iu 501 nobody 401"},
}

// TestPermissionsOnTheWire makes a sample of the permission matrix's calls over
// HTTP, and some with Host headers and paths that mean another route to whoever reads them otherwise.
func TestPermissionsOnTheWire(t *testing.T) {
	a := identityAppliance(t, pgtest.Database(t))
	a.Start()
	a.allReady()
	keys := permissionCast(t, a)
	calls := 0
	for _, row := range permissionSample {
		method, target, _ := strings.Cut(row.call, " ")
		pairs := strings.Fields(row.want)
		for i := 0; i < len(pairs); i += 2 {
			calls++
			if got := a.as(keys[pairs[i]], method, target, row.body); fmt.Sprint(got) != pairs[i+1] {
				t.Errorf("%s %s as %s: %d, want %s", row.call, row.body, pairs[i], got, pairs[i+1])
			}
		}
	}

	// CVE-2026-49468: the route that is judged is the one that is served.
	for _, host := range []string{"gateway", "x/key/health", "x/v1/models?", "localhost/user/available_roles", "x/../key/info"} {
		for _, target := range []string{
			"/config/update", "/budget/new", "//budget/new", "/v1/models/../../budget/new", "/v1/models%2f..%2f..%2fbudget%2fnew", "/budget/new/",
			"/budget/new?/key/health", "/budget%2fnew", "/BUDGET/NEW", "/key/health/../../budget/new", "http://x/key/health/../../budget/new",
		} {
			for _, name := range []string{"iu", "bk", "nobody"} {
				calls++
				if got := a.rawStatus(target, host, keys[name]); got < 400 || got >= 500 {
					t.Errorf("POST %s with the host %q as %s: %d", target, host, name, got)
				}
			}
		}
	}
	if got := a.rawStatus("/budget/new", "gateway", keys["pa"]); got != http.StatusOK {
		t.Errorf("POST /budget/new of a proxy admin: %d", got)
	}
	t.Logf("show 1: %d calls of the permission matrix on the wire", calls)
}

// permissionCast makes one caller for each column, and some keys that are less.
func permissionCast(t *testing.T, a *Appliance) map[string]string {
	t.Helper()
	a.manage("/organization/new", `{"organization_id":"o1","organization_alias":"o1"}`)
	a.manage("/organization/new", `{"organization_id":"o2","organization_alias":"o2"}`)
	keys := map[string]string{"master": a.Key, "wrong": "sk-this-key-is-nobodys-00000000", "nobody": ""}
	for name, role := range map[string]string{
		"pa": "proxy_admin", "av": "proxy_admin_viewer", "oa": "internal_user", "ta": "internal_user", "tm": "internal_user", "iu": "internal_user",
		"iv": "internal_user_viewer",
	} {
		keys[name], _ = a.manage("/user/new", fmt.Sprintf(`{"user_id":%q,"user_role":%q}`, name, role))["key"].(string)
	}
	a.manage("/organization/member_add", `{"organization_id":"o1","member":{"role":"org_admin","user_id":"oa"}}`)
	a.manage("/team/new", `{"team_id":"t1","organization_id":"o1","members_with_roles":[{"role":"admin","user_id":"ta"},{"role":"user","user_id":"tm"}]}`)
	a.manage("/team/new", `{"team_id":"t3","organization_id":"o2"}`)
	keys["tk"], keys["bk"] = a.generate(`{"team_id":"t1"}`), a.generate(`{}`)
	keys["models"], keys["reads"] = a.generate(`{"user_id":"iu","key_type":"llm_api"}`), a.generate(`{"user_id":"iu","key_type":"read_only"}`)
	r, err := a.Do("POST", "/key/generate", `{"team_id":"t1","user_id":"tm"}`, bearer(keys["ta"]))
	if err != nil || r.Status != http.StatusOK {
		t.Fatal(err, r)
	}
	_, key, _ := strings.Cut(string(r.Body), `"key":"`)
	keys["held"], _, _ = strings.Cut(key, `"`)
	return keys
}

func bearer(key string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}
}

// rawStatus posts a budget to a target, as it is written, and returns the status.
func (a *Appliance) rawStatus(target, host, key string) int {
	a.t.Helper()
	nc, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
	if err != nil {
		a.t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	const body = `{"max_budget":1}`
	credential := ""
	if key != "" {
		credential = "Authorization: Bearer " + key + "\r\n"
	}
	fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		target, host, credential, len(body), body)
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		a.t.Fatalf("POST %s, host %q: %v", target, host, err)
	}
	defer r.Body.Close()
	return r.StatusCode
}

// as makes a call with a key, or none, and returns the status.
func (a *Appliance) as(key, method, target, body string) int {
	a.t.Helper()
	header := bearer(key)
	if key == "" {
		delete(header, "Authorization")
	}
	r, err := a.Do(method, target, body, header)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, target, err)
	}
	return r.Status
}
