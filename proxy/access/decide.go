package access

import (
	"encoding/json"
	"slices"
	"strings"

	"sluice/proxy/identity"
)

// Form is how a refusal is written.
type Form uint8

// Forms of refusals, those that LiteLLM's clients know.
const (
	FormError       Form = iota // {"error":{…}}
	FormDetailError             // {"detail":{"error":…}}
)

// Refusal is the answer to a caller who may not.
type Refusal struct {
	Status  int
	Form    Form
	Message string
	Type    string
	Param   string
}

// Verdict is what the table says.
type Verdict struct {
	Allowed bool
	Column  Column // by which the caller was allowed or refused
	Refusal        // where it is not allowed
}

// Decide says whether a caller may do a thing to an object. Of the columns that
// apply to the caller the best one counts.
func Decide(a Action, who *Standing, t Target) Verdict {
	if allowAll() {
		return Verdict{Allowed: true, Column: who.role()}
	}
	for _, c := range who.columns(a) {
		if who.holds(table[a][c].terms, c, t) {
			return Verdict{Allowed: true, Column: c}
		}
	}
	c := who.nearest(a, t)
	return Verdict{Column: c, Refusal: refused(a, c, who, t)}
}

// Possible says whether there is any object at all that the caller may do one of
// the things to. Where there is none the refusal is that of the first action.
func Possible(actions []Action, who *Standing, route string) Verdict {
	if len(actions) == 0 || allowAll() {
		return Verdict{Allowed: true, Column: who.role()}
	}
	for _, a := range actions {
		for _, c := range who.columns(a) {
			if who.could(table[a][c].terms, route) {
				return Verdict{Allowed: true, Column: c}
			}
		}
	}
	a, c := actions[0], who.role()
	return Verdict{Column: c, Refusal: refused(a, c, who, Target{Route: route})}
}

// columns are the ones that apply to a caller, best first. A viewer's places in
// teams and organizations count for reading alone; an admin viewer has none.
func (s *Standing) columns(a Action) []Column {
	role := s.role()
	if role == ProxyAdmin || role == AdminViewer || role == TeamKey || role == BareKey {
		return []Column{role}
	}
	if role == InternalViewer && !matrix[a].read {
		return []Column{role}
	}
	var out []Column
	if len(s.OrganizationsLed()) > 0 {
		out = append(out, OrgAdmin)
	}
	if len(s.TeamsLed()) > 0 {
		out = append(out, TeamAdmin)
	}
	if len(s.Teams) > 0 {
		out = append(out, TeamMember)
	}
	return append(out, role)
}

// role is the column of the caller's role alone.
func (s *Standing) role() Column {
	switch {
	case s.Master || s.Role == identity.RoleProxyAdmin:
		return ProxyAdmin
	case s.Role == identity.RoleProxyAdminViewer:
		return AdminViewer
	case s.Role == identity.RoleInternalUser:
		return InternalUser
	case s.UserID != "":
		return InternalViewer
	case s.Key != nil && s.Key.TeamID != "":
		return TeamKey
	}
	return BareKey
}

// OrganizationsLed are the organizations that the caller is an admin of, sorted.
func (s *Standing) OrganizationsLed() []string { return withRole(s.Organizations, identity.OrgAdmin) }

// TeamsLed are the teams that the caller is an admin of, sorted.
func (s *Standing) TeamsLed() []string { return withRole(s.Teams, identity.TeamAdmin) }

func withRole(roles map[string]string, role string) []string {
	var out []string
	for id, r := range roles {
		if r == role {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// leads says whether the caller is an admin of one of the object's organizations.
func (s *Standing) leads(t Target) bool {
	if t.OrganizationID != "" && s.Organizations[t.OrganizationID] == identity.OrgAdmin {
		return true
	}
	for _, id := range t.Organizations {
		if s.Organizations[id] == identity.OrgAdmin {
			return true
		}
	}
	return false
}

func (s *Standing) belongs(t Target) bool {
	if _, ok := s.Organizations[t.OrganizationID]; ok && t.OrganizationID != "" {
		return true
	}
	for _, id := range t.Organizations {
		if _, ok := s.Organizations[id]; ok {
			return true
		}
	}
	return false
}

// ServiceAccount says whether the key is one of a service account.
func (s *Standing) ServiceAccount() bool {
	return s.UserID == "" && s.Key != nil && s.Key.TeamID != "" && len(s.Key.Metadata["service_account_id"]) > 0
}

// holds says whether one of a cell's conditions does.
func (s *Standing) holds(terms string, c Column, t Target) bool {
	for _, term := range terms {
		ok := false
		switch term {
		case '✓':
			ok = true
		case 'o':
			ok = t.Self || t.UserID != "" && t.UserID == s.UserID
		case 's':
			ok = s.inScope(c, t)
		case 'p':
			ok = t.TeamID != "" && s.Teams[t.TeamID] != "" && slices.Contains(s.Permissions[t.TeamID], t.Route)
		case 'k':
			ok = t.TeamID != "" && s.Teams[t.TeamID] != "" && t.UserID == ""
		case 'b':
			ok = s.belongs(t)
		case 'a':
			ok = s.ServiceAccount() && t.TeamID == s.Key.TeamID
		case 'g':
			ok = s.spendRoutes()
		case 'm':
			ok = s.Master
		}
		if ok {
			return true
		}
	}
	return false
}

// inScope says whether the object is in what the column is about.
func (s *Standing) inScope(c Column, t Target) bool {
	switch c {
	case OrgAdmin:
		return s.leads(t)
	case TeamAdmin:
		return t.TeamID != "" && s.Teams[t.TeamID] == identity.TeamAdmin
	case TeamMember:
		return t.TeamID != "" && s.Teams[t.TeamID] != ""
	case TeamKey:
		return t.TeamID != "" && t.TeamID == s.Key.TeamID
	}
	return false
}

// could says whether one of a cell's conditions can hold for some object.
func (s *Standing) could(terms, route string) bool {
	for _, term := range terms {
		ok := true
		switch term {
		case 'p':
			ok = false
			for team := range s.Teams {
				ok = ok || slices.Contains(s.Permissions[team], route)
			}
		case 'a':
			ok = s.ServiceAccount()
		case 'g':
			ok = s.spendRoutes()
		case 'm':
			ok = s.Master
		}
		if ok {
			return true
		}
	}
	return false
}

// spendRoutes is the key's permission to read the spend of all.
func (s *Standing) spendRoutes() bool {
	if s.Key == nil {
		return false
	}
	var on bool
	return json.Unmarshal(s.Key.Permissions["get_spend_routes"], &on) == nil && on
}

// nearest is the column by which a refusal is worded: the closest tie between
// the caller and the object.
func (s *Standing) nearest(a Action, t Target) Column {
	for _, c := range s.columns(a) {
		if (c == OrgAdmin || c == TeamAdmin || c == TeamMember) && s.inScope(c, t) {
			return c
		}
	}
	return s.role()
}

// refused words a refusal.
func refused(a Action, c Column, who *Standing, t Target) Refusal {
	status, r := table[a][c].status, matrix[a].refuse
	role := who.Role.String()
	if role == "" {
		role = "unknown"
	}
	if c == AdminViewer {
		return Refusal{
			Status: 403, Type: "auth_error", Param: "None",
			Message: "user not allowed to access this route, role= " + role + ". Trying to access: " + t.Route,
		}
	}
	if a == KeyGenerateTeam && c == TeamKey && who.ServiceAccount() {
		return Refusal{
			Status: 403, Type: "internal_server_error",
			Message: "Service account keys can only create keys for their own team. team_id=" + who.Key.TeamID,
		}
	}
	if status == 0 {
		status = 401
		if r.text != "" && !roleless(c) {
			status = 403
		}
	}
	if status == 401 || r.text == "" {
		return Refusal{
			Status: status, Type: "auth_error", Param: "None",
			Message: "Authentication Error, Only proxy admin can be used to generate, delete, update info for new keys/users/teams. Route=" +
				t.Route + ". Your role=" + role + ". Your user_id=" + masked(who.UserID),
		}
	}
	typ := r.typ
	if typ == "" {
		typ = "internal_server_error"
	}
	fill := strings.NewReplacer("{role}", role, "{team}", t.TeamID, "{route}", t.Route, "{user}", who.UserID)
	return Refusal{Status: status, Form: r.form, Message: fill.Replace(r.text), Type: typ, Param: r.param}
}

// roleless columns are told to ask an admin, whatever they asked for.
func roleless(c Column) bool { return c == InternalViewer || c == TeamKey || c == BareKey }

// masked hides a user id in a refusal: it may be an e-mail address.
func masked(user string) string {
	if user == "" {
		return "*******"
	}
	return strings.Repeat("*", min(len(user), 36))
}
