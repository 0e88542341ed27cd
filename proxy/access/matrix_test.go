package access

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/proxy/identity"
)

var update = flag.Bool("update", false, "write docs/permissions.md anew")

// actionNames are the names of the actions in testdata/matrix.txt, in order.
var actionNames = strings.Fields(`Chat
	KeyInfoSelf KeyInfo KeyList KeyGenerateOwn KeyGenerateOther KeyGenerateTeam KeySetRoutes KeySetSpend KeyExceed KeyUpdateOwn
	KeyUpdateLimits KeyUpdateTeam KeyDelete KeyBlock KeyResetSpend KeyBulkUpdate
	UserNew UserUpdate UserUpdateAlias UserInfo UserList UserDelete
	TeamNew TeamInfo TeamList TeamUpdate TeamModels TeamMembers TeamJoin TeamMakeAdmin TeamPermissions
	OrganizationNew OrganizationUpdate OrganizationInfo ProjectWrite ProjectRead InvitationWrite
	ModelWrite ModelInfo SettingsWrite SettingsRead SpendRead GlobalSpend AuditRead SpendReset`)

// callers are one caller for each column: user "me", team "t1", organization
// "o1" where it has them.
func callers() [Columns]*Standing {
	user := func(r identity.Role) *Standing {
		return &Standing{Role: r, UserID: "me", Key: &identity.Key{UserID: "me"}}
	}
	out := [Columns]*Standing{
		ProxyAdmin: user(identity.RoleProxyAdmin), AdminViewer: user(identity.RoleProxyAdminViewer),
		OrgAdmin: user(identity.RoleInternalUser), TeamAdmin: user(identity.RoleInternalUser), TeamMember: user(identity.RoleInternalUser),
		InternalUser: user(identity.RoleInternalUser), InternalViewer: user(identity.RoleInternalViewer),
		TeamKey: {Key: &identity.Key{TeamID: "t1"}}, BareKey: {Key: &identity.Key{}},
	}
	out[OrgAdmin].Organizations = map[string]string{"o1": identity.OrgAdmin}
	out[TeamAdmin].Teams = map[string]string{"t1": identity.TeamAdmin}
	out[TeamMember].Teams = map[string]string{"t1": identity.TeamUser}
	return out
}

// objects are what a caller may stand in a relation to.
var objects = []struct {
	letter string
	target Target
}{
	{"o", Target{UserID: "me"}},
	{"t", Target{UserID: "other", TeamID: "t1", OrganizationID: "o1"}},
	{"x", Target{UserID: "other", TeamID: "t2", OrganizationID: "o1"}},
	{"z", Target{UserID: "other", TeamID: "t3", OrganizationID: "o2"}},
}

func TestDecideEveryCell(t *testing.T) {
	text, err := os.ReadFile("testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}
	who := callers()
	seen := 0
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Fields(line)
		if len(cells) != int(Columns)+1 || cells[0] != actionNames[seen] {
			t.Fatalf("row %d is %q", seen, line)
		}
		a := Action(seen)
		seen++
		for c := range Columns {
			may, status, _ := strings.Cut(cells[c+1], "-")
			for _, o := range objects {
				target := o.target
				if a == KeyInfoSelf {
					target.Self = true
				}
				v := Decide(a, who[c], target)
				if want := may == "*" || strings.Contains(may, o.letter); v.Allowed != want {
					t.Errorf("%s by %s of %s: allowed %v, want %v", cells[0], c, o.letter, v.Allowed, want)
				}
				// Where the caller has no tie to the object, its role words the refusal.
				tied := o.letter == "t" || c < OrgAdmin || c > TeamMember
				if n, _ := strconv.Atoi(status); !v.Allowed && n != 0 && tied && v.Status != n {
					t.Errorf("%s by %s of %s: status %d, want %d", cells[0], c, o.letter, v.Status, n)
				}
				if !v.Allowed && (v.Message == "" || v.Status < 400) {
					t.Errorf("%s by %s of %s: refused with %+v", cells[0], c, o.letter, v.Refusal)
				}
			}
		}
	}
	if seen != int(Actions) || len(actionNames) != int(Actions) {
		t.Errorf("%d rows for %d actions", seen, Actions)
	}
}

// TestReachIsDecide: a list shows just what Decide would allow one by one.
func TestReachIsDecide(t *testing.T) {
	const route = "/key/list"
	who := callers()
	who[TeamMember].Permissions = map[string][]string{"t1": {route}}
	for a := range Actions {
		if a == KeyInfoSelf {
			continue
		}
		for c, s := range who {
			r := Reached(a, s, route)
			for _, o := range objects {
				target := o.target
				target.Route = route
				in := r.All || r.UserID != "" && r.UserID == target.UserID || target.TeamID != "" && slices.Contains(r.Teams, target.TeamID) ||
					slices.Contains(r.Organizations, target.OrganizationID)
				if got := Decide(a, s, target).Allowed; got != in {
					t.Errorf("%s by %s of %s: decided %v, listed %v", actionNames[a], Column(c), o.letter, got, in)
				}
			}
		}
	}
}

func TestConditions(t *testing.T) {
	who := callers()
	teamKey := Target{TeamID: "t1", Route: "/key/update"}
	for _, c := range []struct {
		name string
		a    Action
		who  *Standing
		t    Target
		want bool
	}{
		{"a member, without the permission", KeyUpdateTeam, who[TeamMember], teamKey, false},
		{"a member, with it", KeyUpdateTeam, permitted("/key/update"), teamKey, true},
		{"a member, with another one", KeyUpdateTeam, permitted("/key/generate"), teamKey, false},
		{"a member, in another team", KeyUpdateTeam, permitted("/key/update"), Target{TeamID: "t2", Route: "/key/update"}, false},
		{"a team's key without a user, for a member", KeyInfo, who[TeamMember], Target{TeamID: "t1"}, true},
		{"the same, for a stranger", KeyInfo, who[InternalUser], Target{TeamID: "t1"}, false},
		{"a service account, own team", KeyGenerateTeam, account(), Target{TeamID: "t1"}, true},
		{"a service account, other team", KeyGenerateTeam, account(), Target{TeamID: "t2"}, false},
		{"a team key that is none", KeyGenerateTeam, who[TeamKey], Target{TeamID: "t1"}, false},
		{"spend for a key with get_spend_routes", GlobalSpend, spender("true"), Target{}, true},
		{"spend for one with it off", GlobalSpend, spender("false"), Target{}, false},
		{"audit for a key with get_spend_routes", AuditRead, spender("true"), Target{}, false},
		{"reset by the master key", SpendReset, &Standing{Master: true}, Target{}, true},
		{"an organization one belongs to", OrganizationInfo, belonging(), Target{OrganizationID: "o1"}, true},
		{"one that one does not belong to", OrganizationInfo, belonging(), Target{OrganizationID: "o2"}, false},
		{"one of several organizations", UserDelete, who[OrgAdmin], Target{Organizations: []string{"o2", "o1"}}, true},
		{"a viewer who is a team admin reads", TeamInfo, viewer(), Target{TeamID: "t1"}, true},
		{"and does not write", TeamUpdate, viewer(), Target{TeamID: "t1"}, false},
		{"a user without a role reads its own", KeyInfo, &Standing{UserID: "me"}, Target{UserID: "me"}, true},
		{"and writes nothing", KeyGenerateOwn, &Standing{UserID: "me"}, Target{UserID: "me"}, false},
		{"nobody owns what belongs to nobody", KeyInfo, who[BareKey], Target{}, false},
		{"a team admin's team is not every team", KeyDelete, who[TeamAdmin], Target{}, false},
	} {
		if got := Decide(c.a, c.who, c.t).Allowed; got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func permitted(routes ...string) *Standing {
	s := callers()[TeamMember]
	s.Permissions = map[string][]string{"t1": routes}
	return s
}

func account() *Standing {
	return &Standing{Key: &identity.Key{TeamID: "t1", Metadata: identity.Fields{"service_account_id": json.RawMessage(`"sa"`)}}}
}

func spender(v string) *Standing {
	return &Standing{Key: &identity.Key{Permissions: identity.Fields{"get_spend_routes": json.RawMessage(v)}}}
}

func belonging() *Standing {
	s := callers()[InternalUser]
	s.Organizations = map[string]string{"o1": "internal_user"}
	return s
}

func viewer() *Standing {
	s := callers()[InternalViewer]
	s.Teams = map[string]string{"t1": identity.TeamAdmin}
	return s
}

func TestPossible(t *testing.T) {
	who := callers()
	generate := []Action{KeyGenerateOwn, KeyGenerateTeam, KeyGenerateOther}
	for _, c := range []struct {
		name    string
		actions []Action
		who     *Standing
		status  int // 0: possible
	}{
		{"a route for everyone", nil, who[BareKey], 0},
		{"keys by a user", generate, who[InternalUser], 0},
		{"keys by an internal viewer", generate, who[InternalViewer], 401},
		{"keys by an admin viewer", generate, who[AdminViewer], 403},
		{"keys by a team key", generate, who[TeamKey], 401},
		{"keys by a service account", generate, account(), 0},
		{"users by a team admin", []Action{UserNew}, who[TeamAdmin], 401},
		{"users by an organization admin", []Action{UserNew}, who[OrgAdmin], 0},
		{"settings by a user", []Action{SettingsRead}, who[InternalUser], 401},
		{"list of users by a bare key", []Action{UserList}, who[BareKey], 403},
		{"update of a team by a bare key", []Action{TeamUpdate}, who[BareKey], 403},
	} {
		if v := Possible(c.actions, c.who, "/x"); v.Status != c.status || v.Allowed != (c.status == 0) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestRefusals(t *testing.T) {
	who := callers()
	for _, c := range []struct {
		a    Action
		who  *Standing
		want Refusal
	}{
		{UserNew, who[InternalUser], Refusal{Status: 401, Type: "auth_error", Param: "None", Message: "Authentication Error, Only proxy admin can be used " +
			"to generate, delete, update info for new keys/users/teams. Route=/r. Your role=internal_user. Your user_id=**"}},
		{UserNew, who[BareKey], Refusal{Status: 401, Type: "auth_error", Param: "None", Message: "Authentication Error, Only proxy admin can be used " +
			"to generate, delete, update info for new keys/users/teams. Route=/r. Your role=unknown. Your user_id=*******"}},
		{TeamNew, who[AdminViewer], Refusal{
			Status: 403, Type: "auth_error", Param: "None",
			Message: "user not allowed to access this route, role= proxy_admin_viewer. Trying to access: /r",
		}},
		{KeyInfo, who[InternalUser], Refusal{
			Status: 403, Type: "internal_server_error",
			Message: "You are not allowed to access this key's info. Your role=internal_user",
		}},
		{UserList, who[TeamKey], Refusal{
			Status: 403, Form: FormDetailError, Type: "internal_server_error",
			Message: "Only proxy admins and organization admins can list users.",
		}},
		{KeyList, who[BareKey], Refusal{
			Status: 403, Type: "bad_request_error", Param: "user_id",
			Message: "You are not authorized to access this endpoint. No 'user_id' is associated with your API key.",
		}},
		{TeamUpdate, who[BareKey], Refusal{Status: 403, Type: "internal_server_error", Message: "You do not have access to this team"}},
		{KeyGenerateTeam, account(), Refusal{
			Status: 403, Type: "internal_server_error",
			Message: "Service account keys can only create keys for their own team. team_id=t1",
		}},
	} {
		if v := Decide(c.a, c.who, Target{Route: "/r", UserID: "other"}); v.Refusal != c.want {
			t.Errorf("%s: %+v, want %+v", c.a, v.Refusal, c.want)
		}
	}
}

// TestDocument keeps docs/permissions.md what the table says.
func TestDocument(t *testing.T) {
	const path = "../../docs/permissions.md"
	want := Document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the table says (%v): run go test ./proxy/access -update", path, err)
	}
}

// TestRoutes: each row is well formed and stands once.
func TestRoutes(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Routes() {
		name := r.Method + " " + r.Path
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		if r.Later != "" {
			continue
		}
		if r.Tag == "" || r.Summary == "" || r.Group == "" {
			t.Errorf("%s lacks a tag, a summary or a group", name)
		}
		fields := map[string]bool{}
		for _, f := range slices.Concat(r.Query, r.Body) {
			if fields[f.Name] && !slices.ContainsFunc(r.Query, func(q Field) bool { return q.Name == f.Name }) {
				t.Errorf("%s has the field %s twice", name, f.Name)
			}
			fields[f.Name] = true
			if f.Name == "" {
				t.Errorf("%s has a field without a name", name)
			}
		}
		if r.Method == "GET" && len(r.Body) > 0 {
			t.Errorf("%s is a GET with a body", name)
		}
	}
}

func TestFamilies(t *testing.T) {
	at := func(path string) *Route {
		for _, r := range Routes() {
			if r.Path == path {
				return &r
			}
		}
		t.Fatalf("no row %s", path)
		return nil
	}
	for _, c := range []struct {
		path, family string
		want         bool
	}{
		{"/key/list", "keys", true},
		{"/key/list", "Key Management", true},
		{"/key/list", "admin", true},
		{"/key/list", "users", false},
		{"/user/list", "users", true},
		{"/team/list", "teams", true},
		{"/health/readiness", "monitoring", true},
		{"/health/readiness", "admin", false},
		{"/v1/models", "models", true},
		{"/v1/models", "admin", false},
		{"/v1/chat/completions", "chat", true},
		{"/spend/keys", "usage", true},
		{"/docs", "admin", false},
		{"/scim/*", "admin", true},
		{"/key/list", "", false},
		{"/key/list", "auth", false},
	} {
		if got := at(c.path).In(c.family); got != c.want {
			t.Errorf("%s in %q: %v", c.path, c.family, got)
		}
	}
}
