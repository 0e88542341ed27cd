package admin

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// TestCheckValues holds each type of field against what pydantic says of it.
func TestCheckValues(t *testing.T) {
	zero, ten := int64(0), int64(10)
	for _, c := range []struct {
		f    access.Field
		sent string
		want string // the type of the violation, "400", or the value that is read
	}{
		{access.Field{Type: access.String}, `"a"`, `"a"`},
		{access.Field{Type: access.String}, `1`, "string_type"},
		{access.Field{Type: access.String}, `["a"]`, "string_type"},
		{access.Field{Type: access.String, Enum: []string{"a", "b"}}, `"b"`, `"b"`},
		{access.Field{Type: access.String, Enum: []string{"a", "b"}}, `"c"`, "literal_error"},
		{access.Field{Type: access.Integer}, `7`, `7`},
		{access.Field{Type: access.Integer}, `"7"`, `7`},
		{access.Field{Type: access.Integer}, `7.0`, `7`},
		{access.Field{Type: access.Integer}, `-7`, `-7`},
		{access.Field{Type: access.Integer}, `7.5`, "int_from_float"},
		{access.Field{Type: access.Integer}, `"x"`, "int_parsing"},
		{access.Field{Type: access.Integer}, `""`, "int_parsing"},
		{access.Field{Type: access.Integer}, `"0x10"`, "int_parsing"},
		{access.Field{Type: access.Integer}, `true`, "int_type"},
		{access.Field{Type: access.Integer}, `{}`, "int_type"},
		{access.Field{Type: access.Integer}, `9223372036854775807`, `9223372036854775807`},
		{access.Field{Type: access.Integer}, `9223372036854775808`, "int_parsing_size"},
		{access.Field{Type: access.Integer}, `1e300`, "int_parsing_size"},
		{access.Field{Type: access.Integer, Minimum: &zero}, `-1`, "400"},
		{access.Field{Type: access.Integer, Maximum: &ten}, `11`, "less_than_equal"},
		{access.Field{Type: access.Number}, `1.5`, `1.5`},
		{access.Field{Type: access.Number}, `"1.5"`, `1.5`},
		{access.Field{Type: access.Number}, `"NaN"`, "float_parsing"},
		{access.Field{Type: access.Number}, `"inf"`, "float_parsing"},
		{access.Field{Type: access.Number}, `"-"`, "float_parsing"},
		{access.Field{Type: access.Number}, `[]`, "float_type"},
		{access.Field{Type: access.Number}, `1e999`, "finite_number"},
		{access.Field{Type: access.Money}, `0`, `0`},
		{access.Field{Type: access.Money}, `"2.5"`, `2.5`},
		{access.Field{Type: access.Money}, `-1`, "400"},
		{access.Field{Type: access.Money}, `1e30`, "400"},
		{access.Field{Type: access.Money}, `"lots"`, "float_parsing"},
		{access.Field{Type: access.Boolean}, `true`, `true`},
		{access.Field{Type: access.Boolean}, `"yes"`, `true`},
		{access.Field{Type: access.Boolean}, `0`, `false`},
		{access.Field{Type: access.Boolean}, `2`, "bool_parsing"},
		{access.Field{Type: access.Boolean}, `"maybe"`, "bool_parsing"},
		{access.Field{Type: access.Boolean}, `{}`, "bool_type"},
		{access.Field{Type: access.Duration}, `"30d"`, `"30d"`},
		{access.Field{Type: access.Duration}, `"often"`, "400"},
		{access.Field{Type: access.Duration}, `30`, "string_type"},
		{access.Field{Type: access.Time}, `"2026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05Z"`},
		{access.Field{Type: access.Time}, `"2026-01-02T03:04:05+02:00"`, `"2026-01-02T01:04:05Z"`},
		{access.Field{Type: access.Time}, `"2026-01-02T03:04:05.25"`, `"2026-01-02T03:04:05.25Z"`},
		{access.Field{Type: access.Time}, `"2026-01-02"`, `"2026-01-02T00:00:00Z"`},
		{access.Field{Type: access.Time}, `"2026-13-02"`, "datetime_from_date_parsing"},
		{access.Field{Type: access.Time}, `true`, "datetime_type"},
		{access.Field{Type: access.StringList}, `["a"]`, `["a"]`},
		{access.Field{Type: access.StringList}, `"a"`, "list_type"},
		{access.Field{Type: access.StringList}, `["a",1]`, "string_type"},
		{access.Field{Type: access.Object}, `{"a":[1]}`, `{"a":[1]}`},
		{access.Field{Type: access.Object}, `[]`, "dict_type"},
		{access.Field{Type: access.StringMap}, `{"a":"b"}`, `{"a":"b"}`},
		{access.Field{Type: access.StringMap}, `{"a":1}`, "string_type"},
		{access.Field{Type: access.ObjectList}, `[{}]`, `[{}]`},
		{access.Field{Type: access.ObjectList}, `{}`, "list_type"},
		{access.Field{Type: access.ObjectList}, `[1]`, "model_attributes_type"},
		{access.Field{Type: access.ObjectOrList}, `{}`, `{}`},
		{access.Field{Type: access.ObjectOrList}, `[{}]`, `[{}]`},
		{access.Field{Type: access.ObjectOrList}, `"x"`, "list_type"},
		{access.Field{Type: access.Any}, `[1]`, `[1]`},
		{access.Field{Type: access.Integer}, `null`, `null`},
		{access.Field{Type: access.String, Required: true}, `null`, "string_type"},
	} {
		c.f.Name = "f"
		b := Body{"f": json.RawMessage(c.sent)}
		_, e := b.check([]access.Field{c.f}, "body")
		got := string(b["f"])
		if e != nil {
			got = "400"
			var list struct{ Detail []Violation }
			if e.Status == 422 && json.Unmarshal(e.Body, &list) == nil {
				got = list.Detail[0].Type
				if loc := list.Detail[0].Loc; len(loc) < 2 || loc[0] != "body" || loc[1] != "f" || list.Detail[0].Msg == "" {
					t.Errorf("%s: %s", c.sent, e.Body)
				}
			} else if e.Param != "f" || !strings.Contains(e.Message, "f ") {
				t.Errorf("%s: the field is not named: %+v", c.sent, e)
			}
		}
		if got != c.want {
			t.Errorf("%+v of %s: %s, want %s", c.f.Type, c.sent, got, c.want)
		}
	}
}

func TestCheckBody(t *testing.T) {
	fields := []access.Field{{Name: "a", Type: access.String, Required: true}, {Name: "n", Type: access.Integer}}
	for sent, want := range map[string]string{
		`{}`:                      `{"detail":[{"type":"missing","loc":["body","a"],"msg":"Field required"}]}`,
		``:                        `{"detail":[{"type":"missing","loc":["body","a"],"msg":"Field required"}]}`,
		`{"a":1,"n":[]}`:          `{"detail":[{"type":"string_type","loc":["body","a"],"msg":"Input should be a valid string"},{"type":"int_type","loc":["body","n"],"msg":"Input should be a valid integer"}]}`,
		`{"a":"x","a":"y"}`:       "twice",
		`{"a":"x"`:                "not valid JSON",
		`[{"a":"x"}]`:             "a list was sent",
		`"a"`:                     "a text was sent",
		`{"a":"x"} {}`:            "not valid JSON",
		`{"a":"x","n":"5","z":0}`: "",
	} {
		b, e := decode([]byte(sent))
		var unknown []string
		if e == nil {
			unknown, e = b.check(fields, "body")
		}
		switch {
		case e == nil && want != "":
			t.Errorf("%s is accepted", sent)
		case e != nil && want == "":
			t.Errorf("%s: %v", sent, e)
		case e != nil && string(e.Body) != want && (e.Body != nil || !strings.Contains(e.Message, want)):
			t.Errorf("%s: %s %s", sent, e.Body, e.Message)
		case e == nil && (!slices.Equal(unknown, []string{"z"}) || *b.Int("n") != 5):
			t.Errorf("%s: unknown %v", sent, unknown)
		}
	}
}

// FuzzBody: no body makes the checks panic, and what passes them decodes.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"key_alias":"a","max_budget":1,"models":["m"],"duration":"1d"}`, `{"models":[null]}`, `{"metadata":null}`, `[]`, `{"tpm_limit":"9"}`} {
		f.Add([]byte(s))
	}
	var fields []access.Field
	for _, r := range access.Routes() {
		if r.Path == "/key/generate" {
			fields = r.Body
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, e := decode(text)
		if e != nil {
			return
		}
		if _, e = b.check(fields, "body"); e != nil {
			return
		}
		for _, field := range fields {
			if !b.Given(field.Name) {
				continue
			}
			var into any
			switch field.Type {
			case access.String, access.Duration:
				into = new(string)
			case access.Integer:
				into = new(int64)
			case access.Boolean:
				into = new(bool)
			case access.StringList:
				into = new([]string)
			case access.StringMap:
				into = new(map[string]string)
			case access.Time:
				into = new(time.Time)
			default:
				into = new(any)
			}
			if err := json.Unmarshal(b[field.Name], into); err != nil {
				t.Errorf("%s passed as %s: %v", b[field.Name], field.Name, err)
			}
		}
	})
}

// TestOrder: permission before the body's fields, JSON before permission, and
// nothing of the rest where one says no.
func TestOrder(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("k_view", "u-view", identity.RoleInternalViewer)
		w.userKey("k_adm", "u-adm", identity.RoleProxyAdmin)
		before := w.changes()
		w.refused(400, "not valid JSON", "k_view", "POST", "/user/new", `{`)
		w.refused(401, "Only proxy admin can be used", "k_view", "POST", "/user/new", `{"max_budget":"x"}`)
		w.refused(422, "float_parsing", "k_adm", "POST", "/user/new", `{"max_budget":"x"}`)
		w.refused(422, `"loc":["query","page"]`, "k_adm", "GET", "/key/list?page=0", nil)
		if w.changes() != before {
			w.Error("a refused call wrote something")
		}
		a := w.call("k_adm", "POST", "/user/new", `{"user_id":"u-x","nonsense":1,"märchen":2,"auto_create_key":false}`)
		if a.Status != 200 || a.Headers["x-sluice-ignored-fields"] != "m?rchen, nonsense" {
			w.Errorf("%d %v", a.Status, a.Headers)
		}
	})
}

func TestStrict(t *testing.T) {
	each(t, func(w *world) {
		w.refused(400, "nonsense", "master", "POST", "/user/new", `{"user_id":"u-x","nonsense":1}`)
	}, func(c *Config) { c.Strict = true })
}

// TestStandingIsFresh: what a caller may do is read from the database, not from
// what was known when its key was looked up.
func TestStandingIsFresh(t *testing.T) {
	each(t, func(w *world) {
		token := w.userKey("k", "u", identity.RoleProxyAdmin)
		who := w.caller("k")
		if a := w.callAs(who, "GET", "/user/list", nil); a.Status != 200 {
			w.Fatalf("%d %s", a.Status, a.Raw)
		}
		w.edit(func(tx *store.Tx) error {
			u, err := store.Get[identity.User](context.Background(), tx, "u")
			if err != nil {
				return err
			}
			u.Role = identity.RoleInternalUser.String()
			return tx.Update(u)
		})
		if a := w.callAs(who, "GET", "/user/list", nil); a.Status != 403 {
			w.Errorf("a demoted admin: %d %s", a.Status, a.Raw)
		}
		w.edit(func(tx *store.Tx) error {
			k, err := store.Get[identity.Key](context.Background(), tx, token)
			if err != nil {
				return err
			}
			k.Blocked = true
			return tx.Update(k)
		})
		if a := w.callAs(who, "GET", "/user/list", nil); a.Status != 401 || !strings.Contains(string(a.Raw), "Key is blocked") {
			w.Errorf("a blocked key: %d %s", a.Status, a.Raw)
		}
		w.edit(func(tx *store.Tx) error {
			k, err := store.Get[identity.Key](context.Background(), tx, token)
			if err != nil {
				return err
			}
			return tx.Delete(k)
		})
		if a := w.callAs(who, "GET", "/user/list", nil); a.Status != 401 {
			w.Errorf("a deleted key: %d %s", a.Status, a.Raw)
		}
	})
}

// edit changes the database behind the API's back.
func (w *world) edit(fn func(tx *store.Tx) error) {
	w.Helper()
	if err := w.store.Change(context.Background(), store.Actor{User: "test"}, fn); err != nil {
		w.Fatal(err)
	}
}

// TestNoDatabase: every route but those that need none says so, in LiteLLM's
// forms, and nothing panics.
func TestNoDatabase(t *testing.T) {
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	admin := &auth.Identity{Known: true, Master: true, Role: identity.RoleProxyAdmin, User: identity.DefaultUserID}
	want := map[string]int{"POST /user/new": 400, "GET /team/list": 400, "GET /budget/list": 400}
	for _, r := range access.Routes() {
		if r.Edge || r.NoDatabase && r.Later == "" {
			continue
		}
		params := map[string]string{}
		for _, name := range pathParams(r.Path) {
			params[name] = "x"
		}
		reply := a.Serve(context.Background(), &Request{Route: &r, Params: params, Query: url.Values{}, Caller: admin})
		name, status := r.Method+" "+r.Path, 500
		if s, ok := want[name]; ok {
			status = s
		}
		if r.Later != "" {
			status = 501
		}
		if reply.Status != status || !json.Valid(reply.Body) || reply.Err == nil {
			t.Errorf("%s: %d %s, want %d", name, reply.Status, reply.Body, status)
		}
		if r.Later == "" && !strings.Contains(string(reply.Body), "DATABASE_URL") {
			t.Errorf("%s does not say what to do: %s", name, reply.Body)
		}
		if r.Later != "" && !strings.Contains(string(reply.Body), " release") && !strings.Contains(string(reply.Body), "configuration file") {
			t.Errorf("%s does not say what is missing: %s", name, reply.Body)
		}
	}
}

// TestDatabaseAway: 503 with Retry-After, never an answer as if nothing was there.
func TestDatabaseAway(t *testing.T) {
	s, err := store.Open(store.Config{SQLite: filepath.Join(t.TempDir(), "missing", "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := New(Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []error{store.ErrAway, errors.Join(errors.New("read keys"), store.ErrAway)} {
		if got := a.failed(e); got.Status != 503 || got.RetryAfter == 0 || got.Type != "db_unavailable" {
			t.Errorf("%+v", got)
		}
	}
	refused := &llm.Error{Status: 409}
	if a.failed(errors.Join(errors.New("change"), refused)) != refused || a.failed(nil) != nil {
		t.Error("an answer of a handler does not come through a transaction as it is")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	for method, says := range map[string]string{"GET": "Ask for less", "POST": "may have been made"} {
		route := routeNamed(t, method, map[string]string{"GET": "/user/list", "POST": "/user/new"}[method])
		r := a.Serve(ctx, &Request{Route: route, Query: url.Values{}, Caller: &auth.Identity{
			Known: true, User: "u", Key: &identity.Key{Token: "x", UserID: "u"},
		}})
		if r.Status != 503 || !strings.Contains(string(r.Body), says) {
			t.Errorf("%s past the deadline: %d %s", method, r.Status, r.Body)
		}
	}
}

// TestShapes: times and empty values as LiteLLM writes them.
func TestShapes(t *testing.T) {
	at := time.Date(2026, 11, 21, 7, 19, 8, 786_000_000, time.UTC)
	whole := at.Truncate(time.Second)
	for _, c := range []struct {
		v    any
		want string
	}{
		{zulu(&at), `"2026-11-21T07:19:08.786000Z"`},
		{zulu(&whole), `"2026-11-21T07:19:08Z"`},
		{zulu(nil), `null`},
		{offset(&at), `"2026-11-21T07:19:08.786000+00:00"`},
		{offset(nil), `null`},
		{zuluAt(time.Time{}), `null`},
		{offsetAt(time.Time{}), `null`},
		{offsetAt(at.In(time.FixedZone("x", 3600))), `"2026-11-21T07:19:08.786000+00:00"`},
		{null(""), `null`},
		{null("a"), `"a"`},
		{list[string](nil), `[]`},
		{fields(nil), `{}`},
	} {
		if got, err := json.Marshal(c.v); err != nil || string(got) != c.want {
			t.Errorf("%s, want %s (%v)", got, c.want, err)
		}
	}
	if pages(0, 10) != 0 || pages(10, 10) != 1 || pages(11, 10) != 2 || pages(5, 0) != 0 {
		t.Error("pages")
	}
}

// TestBound: a table and handlers that do not match keep the API from starting.
func TestBound(t *testing.T) {
	routes := access.Routes()
	for name, wrong := range map[string][]access.Route{
		"a row without a handler": append(slices.Clip(routes), access.Route{Method: "GET", Path: "/new"}),
		"a row twice":             append(slices.Clip(routes), routes[len(routes)-1]),
		"a handler without a row": slices.DeleteFunc(slices.Clone(routes), func(r access.Route) bool { return r.Path == "/key/generate" }),
	} {
		if _, err := bound(wrong); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if h, err := bound(routes); err != nil || len(slices.Collect(maps.Keys(h))) < 100 {
		t.Errorf("%d handlers, %v", len(h), err)
	}
}

// TestSpend: lists of what was spent hold what the caller may see.
func TestSpend(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("k_one", "u-one", identity.RoleInternalUser)
		w.userKey("k_two", "u-two", identity.RoleInternalUser)
		w.userKey("k_lead", "u-lead", identity.RoleInternalUser)
		w.userKey("k_pav", "u-pav", identity.RoleProxyAdminViewer)
		w.team("t1", "", "u-one", "u-lead:admin")
		w.key("k_team", func(k *identity.Key) { k.TeamID, k.Spend = "t1", 3_000_000_000 })
		w.key("k_bare", func(k *identity.Key) { k.Spend = 2_000_000_000 })
		for as, want := range map[string]int{"master": 6, "k_pav": 6, "k_one": 1, "k_two": 1, "k_lead": 2} {
			a := w.call(as, "GET", "/spend/keys", nil)
			if rows, ok := a.Body.([]any); !ok || len(rows) != want {
				w.Errorf("%s sees %d keys of %d: %d", as, len(rows), want, a.Status)
			}
		}
		if rows := w.call("master", "GET", "/spend/keys", nil).Body.([]any); rows[0].(M)["team_id"] != "t1" {
			w.Error("what spent most does not come first")
		}
		w.refused(401, "Only proxy admin", "k_bare", "GET", "/spend/keys", nil)
		w.refused(401, "Only proxy admin", "k_one", "GET", "/global/spend", nil)
		if got := w.ok("k_pav", "GET", "/global/spend", nil)["spend"]; got != json.Number("5.0") {
			w.Errorf("all have spent %v", got)
		}
		users := w.call("k_one", "GET", "/spend/users", nil).Body.([]any)
		if len(users) != 1 || users[0].(M)["user_id"] != "u-one" {
			w.Errorf("users %v", users)
		}
		if _, there := users[0].(M)["object_permission"]; there {
			w.Error("a field that the recorded list has not")
		}
	})
}
