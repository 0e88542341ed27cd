package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/admin"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// router0 routes the whole table.
func router0(t testing.TB, rootPath string) *router {
	t.Helper()
	r, err := newRouter(rootPath, access.Routes(), (&Config{DocsPath: "/docs", SpecPath: "/openapi.json"}).at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fakeManager keeps what it was asked and answers with its path.
type fakeManager struct {
	mu    sync.Mutex
	asked []*admin.Request
}

func (m *fakeManager) Serve(_ context.Context, r *admin.Request) admin.Reply {
	m.mu.Lock()
	m.asked = append(m.asked, r)
	m.mu.Unlock()
	switch string(r.Body) {
	case `"panic"`:
		panic("a handler's bug")
	case `"refuse"`:
		return admin.Reply{
			Status: 418, Body: []byte(`{"detail":"no"}`), Err: &llm.Error{Status: 418, Message: "no"},
			Headers: []llm.Field{
				{Name: []byte("x-sluice-ignored-fields"), Value: []byte("a, b")},
				{Name: []byte("content-security-policy"), Value: []byte("default-src 'none'")},
			},
		}
	}
	return admin.Reply{Status: 200, Body: []byte(`{"path":"` + r.Route.Path + `"}`)}
}

func (m *fakeManager) last(t *testing.T) *admin.Request {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asked) == 0 {
		t.Fatal("the manager was not asked")
	}
	return m.asked[len(m.asked)-1]
}

func (m *fakeManager) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.asked)
}

// managed starts a server with a manager.
func managed(t *testing.T, change func(*Config)) (*bench, *fakeManager) {
	t.Helper()
	m := &fakeManager{}
	return start(t, func(c *Config, _ *fleet.Listener) {
		c.Manager, c.DocsPath, c.SpecPath = m, "/docs", "/openapi.json"
		if change != nil {
			change(c)
		}
	}), m
}

// send makes one request on a connection of its own.
func (b *bench) send(t *testing.T, method, target, key, extra, body string) (*http.Response, string) {
	t.Helper()
	nc, r := b.dial(t)
	auth := ""
	if key != "" {
		auth = "Authorization: Bearer " + key + "\r\n"
	}
	length := ""
	if body != "" && !strings.Contains(extra, "Transfer-Encoding") {
		length = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(nc, method+" "+target+" HTTP/1.1\r\nHost: x\r\n"+auth+extra+length+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	return read(t, r)
}

func TestManagementCall(t *testing.T) {
	b, m := managed(t, nil)
	resp, body := b.send(t, "POST", "/key/generate?a=1&a=2&b=%20c", testKey, "litellm-changed-by: alice\r\nx-sluice-reason: ticket 7\r\n", `{"x":1}`)
	if resp.StatusCode != 200 || body != `{"path":"/key/generate"}` || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s %v %s", resp.Status, resp.Header, body)
	}
	if resp.Header.Get("x-request-id") == "" {
		t.Error("no x-request-id")
	}
	r := m.last(t)
	if string(r.Body) != `{"x":1}` || r.ChangedBy != "alice" || r.Reason != "ticket 7" || r.Remote != "127.0.0.1" || r.ID != resp.Header.Get("x-request-id") {
		t.Errorf("%+v", r)
	}
	if got := r.Query["a"]; len(got) != 2 || r.Query.Get("b") != " c" {
		t.Errorf("query %v", r.Query)
	}
	resp, _ = b.send(t, "POST", "/key/generate", testKey, "Transfer-Encoding: chunked\r\n", "7\r\n{\"y\":2}\r\n0\r\n\r\n")
	if resp.StatusCode != 200 || string(m.last(t).Body) != `{"y":2}` {
		t.Errorf("%s %s", resp.Status, m.last(t).Body)
	}
	resp, body = b.send(t, "POST", "/key/generate", testKey, "", `"refuse"`)
	if resp.StatusCode != 418 || body != `{"detail":"no"}` || resp.Header.Get("x-sluice-ignored-fields") != "a, b" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	if got := resp.Header.Values("content-security-policy"); len(got) != 1 || got[0] != "default-src 'none'" {
		t.Errorf("a page's own policy: %q", got)
	}
	resp, _ = b.send(t, "POST", "/key/generate", testKey, "", `"panic"`)
	if resp.StatusCode != 500 || b.own.Panics.Load() != 1 {
		t.Errorf("a panic answered %s", resp.Status)
	}
	if resp, _ = b.send(t, "GET", "/key/list", testKey, "", ""); resp.StatusCode != 200 {
		t.Errorf("after the panic: %s", resp.Status)
	}
	for deadline := time.Now().Add(5 * time.Second); b.bodies.Load() != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of the body allowance are not given back", b.bodies.Load())
		}
	}
}

func TestManagementRefusals(t *testing.T) {
	b, m := managed(t, func(c *Config) { c.MaxBody = 64 })
	for _, c := range []struct {
		method, target, key, extra, body string
		status                           int
	}{
		{"POST", "/key/generate", "", "", "{}", 401},
		{"POST", "/key/generate", testKey, "", strings.Repeat(" ", 65), 413},
		{"POST", "/key/generate", testKey, "Content-Type: application/x-www-form-urlencoded\r\n", "a=b", 400},
		{"GET", "/key/generate", testKey, "", "", 405},
		{"POST", "/scim/v2/Users", "", "", "", 401},
		{"POST", "/scimitar", testKey, "", "", 404},
		{"GET", "/v1/nope", testKey, "", "", 404},
		{"GET", "/nope", "", "", "", 404},
	} {
		before := m.count()
		resp, body := b.send(t, c.method, c.target, c.key, c.extra, c.body)
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %s %s, want %d", c.method, c.target, resp.Status, body, c.status)
		}
		if m.count() != before {
			t.Errorf("%s %s reached the manager", c.method, c.target)
		}
	}
	for _, target := range []string{"/scim", "/scim/v2/Groups/7", "/guardrails/list", "/agent/daily/activity"} {
		if resp, _ := b.send(t, "PATCH", target, testKey, "", ""); resp.StatusCode != 200 || m.last(t).Route.Later == "" {
			t.Errorf("%s: %s, row %s", target, resp.Status, m.last(t).Route.Path)
		}
	}
	b.Swap(b.g, Rules{})
	if resp, _ := b.send(t, "GET", "/key/list", testKey, "", ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without a manager: %s", resp.Status)
	}
}

func TestPathParameters(t *testing.T) {
	b, m := managed(t, nil)
	for _, c := range []struct{ method, target, path, name, value string }{
		{"POST", "/key/sk-abc/regenerate", "/key/{key_id}/regenerate", "key_id", "sk-abc"},
		{"POST", "/key/regenerate", "/key/regenerate", "", ""},
		{"PATCH", "/model/a%2Fb%20c/update", "/model/{model_id}/update", "model_id", "a/b c"},
		{"PATCH", "/team/%C3%A9", "/team/{team_id}", "team_id", "é"},
		{"DELETE", "/credentials/x.y", "/credentials/{credential_name}", "credential_name", "x.y"},
		{"GET", "/credentials/by_name/n", "/credentials/by_name/{credential_name}", "credential_name", "n"},
	} {
		resp, _ := b.send(t, c.method, c.target, testKey, "", "")
		r := m.last(t)
		if resp.StatusCode != 200 || r.Route.Path != c.path || c.name != "" && r.Params[c.name] != c.value || c.name == "" && len(r.Params) > 0 {
			t.Errorf("%s: %s, %s %v", c.target, resp.Status, r.Route.Path, r.Params)
		}
	}
	// What could be decoded twice, or climbs, or is empty is no such route.
	for _, target := range []string{"/key/%2e%2e/regenerate", "/key/a%252Fb/regenerate", "/key//regenerate", "/key/a%00/regenerate", "/key/%ff/regenerate"} {
		if resp, _ := b.send(t, "POST", target, testKey, "", ""); resp.StatusCode != 404 {
			t.Errorf("%s: %s", target, resp.Status)
		}
	}
	if resp, _ := b.send(t, "GET", "/model/x/update", testKey, "", ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != "PATCH" {
		t.Errorf("wrong method: %s %v", resp.Status, resp.Header)
	}
}

func TestDisabledAndHidden(t *testing.T) {
	b, _ := managed(t, func(c *Config) { c.Disabled, c.DocsPath, c.SpecPath = []string{"Key Management"}, "/help", "" })
	for target, want := range map[string]int{"/key/list": 404, "/team/list": 200, "/help": 200, "/docs": 404, "/openapi.json": 404} {
		if resp, _ := b.send(t, "GET", target, testKey, "", ""); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", target, resp.Status, want)
		}
	}
	if resp, _ := b.send(t, "GET", "/help", "", "", ""); resp.StatusCode != 200 {
		t.Errorf("the documentation asks for a key: %s", resp.Status)
	}
	b.Swap(b.g, Rules{Manager: &fakeManager{}})
	if resp, _ := b.send(t, "GET", "/key/list", testKey, "", ""); resp.StatusCode != 200 {
		t.Errorf("enabled again: %s", resp.Status)
	}
}

func TestRootLeadsElsewhere(t *testing.T) {
	b, _ := managed(t, func(c *Config) { c.RootURL = "https://example.org/start" })
	resp, _ := b.send(t, "GET", "/", "", "", "")
	if resp.StatusCode != 307 || resp.Header.Get("Location") != "https://example.org/start" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
}

// TestTableAndHandlersMatch: a row that nothing serves and a handler without a
// row keep the server from starting.
func TestTableAndHandlersMatch(t *testing.T) {
	rows := access.Routes()
	if _, err := entries(append(rows, access.Route{Method: "GET", Path: "/new", Edge: true}), edgeTable()); err == nil {
		t.Error("a row without a handler is accepted")
	}
	for i, r := range rows {
		if r.Edge {
			if _, err := entries(append(rows[:i:i], rows[i+1:]...), edgeTable()); err == nil {
				t.Error("a handler without a row is accepted")
			}
			break
		}
	}
	at := (&Config{}).at
	if _, err := newRouter("", append(rows, access.Route{Method: "POST", Path: "/key/{other}/regenerate"}), at); err == nil {
		t.Error("two rows of one shape are accepted")
	}
}

// TestRouterAllocatesNothing: the table has grown, a model call must not notice.
func TestRouterAllocatesNothing(t *testing.T) {
	r := router0(t, "")
	method, path := []byte("POST"), []byte("/v1/chat/completions")
	if n := testing.AllocsPerRun(1000, func() {
		if _, e, _ := r.find(method, path); e == nil {
			t.Fatal("not found")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
