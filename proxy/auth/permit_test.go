package auth

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/identity"
)

func TestMayUse(t *testing.T) {
	groups := identity.Fields{"access_group_ids": json.RawMessage(`["ag1"]`)}
	src := newSource()
	src.data.AccessGroups = []*identity.AccessGroup{{ID: "ag1", Models: []string{"grouped"}}}
	src.data.Organizations = []*identity.Organization{{ID: "o1", Models: []string{"mock", "own"}}}
	src.data.Teams = []*identity.Team{
		{ID: "narrow", Models: []string{"mock"}},
		{ID: "open"},
		{ID: "inOrg", OrganizationID: "o1"},
		{ID: "withGroup", Models: []string{"mock"}, Settings: groups},
	}
	src.data.Users = []*identity.User{
		{ID: "narrow", Models: []string{"mock"}}, {ID: "none", Models: []string{identity.NoDefaultModels}}, {ID: "open"},
	}
	src.data.Budgets = []*identity.Budget{{ID: "b1", AllowedModels: []string{"mock"}}}
	src.data.Members = []*identity.Member{{TeamID: "open", UserID: "open", BudgetID: "b1"}}
	src.data.Projects = []*identity.Project{{ID: "p1", Models: []string{"mock"}}}
	for _, c := range []struct {
		name  string
		key   identity.Key
		model Model
		level string // that refuses; "" for none
	}{
		{"no list", identity.Key{}, Model{Name: "anything"}, ""},
		{"listed", identity.Key{Models: []string{"a", "mock"}}, Model{Name: "mock"}, ""},
		{"not listed", identity.Key{Models: []string{"a"}}, Model{Name: "mock"}, "key"},
		{"a part of a name", identity.Key{Models: []string{"mock-large"}}, Model{Name: "mock"}, "key"},
		{"another case", identity.Key{Models: []string{"Mock"}}, Model{Name: "mock"}, "key"},
		{"pattern", identity.Key{Models: []string{"openai/*"}}, Model{Name: "openai/gpt-4o"}, ""},
		{"not the pattern", identity.Key{Models: []string{"openai/*"}}, Model{Name: "azure/openai/gpt-4o"}, "key"},
		{"inner pattern", identity.Key{Models: []string{"bedrock/eu.*.large"}}, Model{Name: "bedrock/eu.x.y.large"}, ""},
		{"inner pattern, wrong end", identity.Key{Models: []string{"bedrock/eu.*.large"}}, Model{Name: "bedrock/eu.x.small"}, "key"},
		{"all proxy models", identity.Key{Models: []string{identity.AllProxyModels}}, Model{Name: "mock"}, ""},
		{"star", identity.Key{Models: []string{"*"}}, Model{Name: "mock"}, ""},
		{"all team models without a team", identity.Key{Models: []string{identity.AllTeamModels}}, Model{Name: "mock"}, "key"},
		{"all team models", identity.Key{Models: []string{identity.AllTeamModels}, TeamID: "narrow"}, Model{Name: "mock"}, ""},
		{"all team models, not the team's", identity.Key{Models: []string{identity.AllTeamModels}, TeamID: "narrow"}, Model{Name: "x"}, "team"},
		{"no default models", identity.Key{Models: []string{identity.NoDefaultModels}}, Model{Name: "mock"}, "key"},
		{"router alias of a listed one", identity.Key{Models: []string{"mock"}}, Model{Name: "alias", Target: "mock"}, ""},
		{"group of deployments", identity.Key{Models: []string{"beta"}}, Model{Name: "mock", Groups: []string{"alpha", "beta"}}, ""},
		{"another group of deployments", identity.Key{Models: []string{"beta"}}, Model{Name: "mock", Groups: []string{"alpha"}}, "key"},
		{"the team does not", identity.Key{TeamID: "narrow"}, Model{Name: "x"}, "team"},
		{"the key lists more than the team", identity.Key{Models: []string{"x"}, TeamID: "narrow"}, Model{Name: "x"}, "team"},
		{"the user does not", identity.Key{UserID: "narrow"}, Model{Name: "x"}, "user"},
		{"the user may nothing", identity.Key{UserID: "none"}, Model{Name: "mock"}, "user"},
		{"a team key is not bound by its user", identity.Key{UserID: "none", TeamID: "narrow"}, Model{Name: "mock"}, ""},
		{"the organization does not", identity.Key{OrganizationID: "o1"}, Model{Name: "x"}, "org"},
		{"the team's organization does not", identity.Key{TeamID: "inOrg"}, Model{Name: "x"}, "org"},
		{"the team's organization does", identity.Key{TeamID: "inOrg"}, Model{Name: "own"}, ""},
		{"the project does not", identity.Key{ProjectID: "p1"}, Model{Name: "x"}, "project"},
		{"the membership does not", identity.Key{UserID: "open", TeamID: "open"}, Model{Name: "x"}, "member"},
		{"the membership does", identity.Key{UserID: "open", TeamID: "open"}, Model{Name: "mock"}, ""},
		{"access group of the key", identity.Key{Models: []string{"a"}, Settings: groups}, Model{Name: "grouped"}, ""},
		{"not in the access group", identity.Key{Models: []string{"a"}, Settings: groups}, Model{Name: "mock"}, "key"},
		{"access group of the team", identity.Key{TeamID: "withGroup"}, Model{Name: "grouped"}, ""},
	} {
		text := "sk-may-use-" + c.name
		c.key.Token = digest(text)
		src.change(func(d *identity.Resolved) { d.Keys = []*identity.Key{&c.key} })
		r := newRig(t, src, nil)
		who := r.good(text)
		err := r.MayUse(&who, &c.model)
		switch {
		case c.level == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.level != "" && err == nil:
			t.Errorf("%s: allowed", c.name)
		case c.level != "" && (err.HTTPStatus() != 403 || err.Type != c.level+"_model_access_denied" || err.Param != "model"):
			t.Errorf("%s: %d %s", c.name, err.HTTPStatus(), err.Type)
		}
		if r.CanUse(&who, &c.model) != (c.level == "") {
			t.Errorf("%s: CanUse says otherwise", c.name)
		}
	}
	var nobody Identity
	if New(Config{}).MayUse(&nobody, &Model{Name: "mock"}) == nil {
		t.Error("the zero identity may use a model")
	}
}

func TestMayCall(t *testing.T) {
	route := func(path string, g access.Group) *access.Route { return &access.Route{Path: path, Group: g} }
	manage, info := route("/key/generate", access.GroupManagement), route("/key/info", access.GroupInfo)
	spend := route("/spend/keys", access.GroupSpend)
	for _, c := range []struct {
		name    string
		key     identity.Key
		allowed []*access.Route
		refused []*access.Route
	}{
		{"default", identity.Key{}, []*access.Route{chat, manage, info, spend}, nil},
		{"llm_api", identity.Key{Type: "llm_api"}, []*access.Route{chat}, []*access.Route{manage, info, spend}},
		{"management", identity.Key{Type: "management"}, []*access.Route{manage, info, spend}, []*access.Route{chat}},
		{"read_only", identity.Key{Type: "read_only"}, []*access.Route{info}, []*access.Route{chat, manage}},
		{"a path", identity.Key{AllowedRoutes: []string{"/key/info"}}, []*access.Route{info}, []*access.Route{chat, manage}},
		{"a pattern", identity.Key{AllowedRoutes: []string{"/key/*"}}, []*access.Route{info, manage}, []*access.Route{chat}},
		{"groups", identity.Key{AllowedRoutes: []string{"openai_routes", "info_routes"}}, []*access.Route{chat, info}, []*access.Route{manage}},
		{"groups win over the type", identity.Key{Type: "llm_api", AllowedRoutes: []string{"info_routes"}}, []*access.Route{info}, []*access.Route{chat}},
	} {
		src := newSource()
		text := "sk-may-call-" + c.name
		c.key.Token = digest(text)
		src.data.Keys = []*identity.Key{&c.key}
		r := newRig(t, src, nil)
		who := r.good(text)
		for _, route := range c.allowed {
			if err := r.MayCall(&who, route); err != nil {
				t.Errorf("%s: %s: %v", c.name, route.Path, err)
			}
		}
		for _, route := range c.refused {
			err := r.MayCall(&who, route)
			if err == nil || err.HTTPStatus() != 403 || !err.Detail || !strings.HasSuffix(err.Message, "Tried to call route: "+route.Path) {
				t.Errorf("%s: %s: %v", c.name, route.Path, err)
			}
		}
	}
	var nobody Identity
	if New(Config{}).MayCall(&nobody, chat) == nil {
		t.Error("the zero identity may call")
	}
}

func TestRoutesOfTheServer(t *testing.T) {
	src := newSource()
	src.data.Users = []*identity.User{{ID: "admin", Role: "proxy_admin"}, {ID: "user", Role: "internal_user"}}
	src.key("sk-of-admin", func(k *identity.Key) { k.UserID = "admin" })
	src.key("sk-of-user", func(k *identity.Key) { k.UserID = "user" })
	manage := &access.Route{Path: "/key/generate", Group: access.GroupManagement}
	r := newRig(t, src, func(_ *DirectoryConfig, c *Config) {
		c.AllowedRoutes, c.AdminRoutes = []string{"llm_api_routes", "/key/generate"}, []string{"/key/generate"}
	})
	admin, user, root := r.good("sk-of-admin"), r.good("sk-of-user"), r.good(master)
	for _, c := range []struct {
		who   *Identity
		route *access.Route
		ok    bool
	}{
		{&admin, manage, true}, {&user, manage, false}, {&user, chat, true}, {&user, &access.Route{Path: "/x"}, false}, {&root, &access.Route{Path: "/x"}, true},
	} {
		if err := r.MayCall(c.who, c.route); (err == nil) != c.ok || err != nil && err.HTTPStatus() != 403 {
			t.Errorf("%s %s: %v", c.who.User, c.route.Path, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	src := newSource()
	src.data.Teams = []*identity.Team{{ID: "t", Metadata: identity.Fields{"allowed_ips": json.RawMessage(`["10.0.0.0/8"]`)}}}
	src.key("sk-anywhere", nil)
	src.key("sk-here", func(k *identity.Key) {
		k.Settings = identity.Fields{"allowed_ips": json.RawMessage(`["10.1.2.3","2001:db8::/32","nonsense"]`)}
	})
	src.key("sk-in-team", func(k *identity.Key) { k.TeamID = "t" })
	open := newRig(t, src, nil)
	closed := newRig(t, src, func(_ *DirectoryConfig, c *Config) {
		c.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	for _, c := range []struct {
		r       *rig
		key, ip string
		ok      bool
	}{
		{open, "sk-anywhere", "192.0.2.1", true},
		{open, "sk-anywhere", "", true},
		{open, "sk-here", "10.1.2.3", true},
		{open, "sk-here", "::ffff:10.1.2.3", true},
		{open, "sk-here", "2001:db8::7", true},
		{open, "sk-here", "10.1.2.4", false},
		{open, "sk-here", "", false},
		{open, "sk-here", "nonsense", false},
		{open, "sk-in-team", "10.9.9.9", true},
		{open, "sk-in-team", "11.9.9.9", false},
		{closed, "sk-anywhere", "10.9.9.9", true},
		{closed, "sk-anywhere", "::1", true},
		{closed, "sk-anywhere", "192.0.2.1", false},
		{closed, master, "192.0.2.1", false},
		{closed, "sk-here", "10.9.9.9", false},
	} {
		who := c.r.good(c.key)
		if err := c.r.MayCome(&who, []byte(c.ip)); (err == nil) != c.ok || err != nil && err.HTTPStatus() != 403 {
			t.Errorf("%s from %q: %v", c.key, c.ip, err)
		}
	}
}

func TestModelAlias(t *testing.T) {
	src := newSource()
	src.data.Teams = []*identity.Team{{ID: "t", Settings: identity.Fields{"model_aliases": json.RawMessage(`{"gpt":"of-team","big":"large"}`)}}}
	src.key("sk-aliases", func(k *identity.Key) { k.TeamID, k.Aliases = "t", map[string]string{"gpt": "mock", "empty": ""} })
	r := newRig(t, src, nil)
	who := r.good("sk-aliases")
	for asked, want := range map[string]string{"gpt": "mock", "big": "large", "mock": "", "empty": ""} {
		if got, ok := who.ModelAlias([]byte(asked)); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v", asked, got, ok)
		}
	}
	root := r.good(master)
	if _, ok := root.ModelAlias([]byte("gpt")); ok {
		t.Error("the master key has an alias")
	}
}

// Everything that a hot key passes costs no allocation.
func TestHotKeyAllocatesNothing(t *testing.T) {
	src := newSource()
	src.data.Users = []*identity.User{{ID: "u"}}
	src.data.Organizations = []*identity.Organization{{ID: "o", Models: []string{"mock", "x/*"}}}
	src.data.Teams = []*identity.Team{{ID: "t", OrganizationID: "o", Models: []string{"mock"}, Settings: identity.Fields{
		"access_group_ids": json.RawMessage(`["g"]`), "model_aliases": json.RawMessage(`{"a":"b"}`),
	}}}
	src.data.Members = []*identity.Member{{TeamID: "t", UserID: "u"}}
	src.data.AccessGroups = []*identity.AccessGroup{{ID: "g", Models: []string{"y"}}}
	src.key("sk-hot-and-busy", func(k *identity.Key) {
		k.TeamID, k.UserID, k.Type, k.Models = "t", "u", "llm_api", []string{"x/*", "mock"}
		k.Expires = at(time.Hour)
		k.Settings = identity.Fields{"allowed_ips": json.RawMessage(`["10.0.0.0/8"]`)}
	})
	r := newRig(t, src, nil)
	key, remote, model, customer := []byte("sk-hot-and-busy"), []byte("10.1.2.3"), []byte("mock"), []byte("somebody")
	groups := []string{"beta"}
	r.good(string(key))
	if err := r.MayServe(customer); err != nil { // once the blocked ones are known
		t.Fatal(err)
	}
	eventually(t, "the customers are known", func() bool { return !r.dir.customers.dirty.Load() })
	if n := testing.AllocsPerRun(1000, func() {
		who, err := r.Identify(key)
		if err != nil || r.MayCome(&who, remote) != nil || r.MayCall(&who, chat) != nil || r.MayServe(customer) != nil {
			t.Fatal("refused")
		}
		name := "mock"
		if target, ok := who.ModelAlias(model); ok {
			name = target
		}
		if r.MayUse(&who, &Model{Name: name, Target: "mock", Groups: groups}) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHotKey(b *testing.B) {
	src := newSource()
	src.data.Teams = []*identity.Team{{ID: "t", Models: []string{"mock"}}}
	src.key("sk-hot-and-busy-and-as-long-as-they-are", func(k *identity.Key) { k.TeamID, k.Models = "t", []string{"mock"} })
	r := newRig(b, src, nil)
	for name, key := range map[string]string{"master": master, "virtual": "sk-hot-and-busy-and-as-long-as-they-are"} {
		b.Run(name, func(b *testing.B) {
			r.good(key)
			k, m := []byte(key), Model{Name: "mock", Target: "mock"}
			b.ReportAllocs()
			for b.Loop() {
				who, err := r.Identify(k)
				if err != nil || r.MayCall(&who, chat) != nil || r.MayUse(&who, &m) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
