package litellm

import (
	"regexp"
	"strconv"
	"strings"

	"sluice/proxy/identity"
)

// userRow is a row of LiteLLM_UserTable.
type userRow struct {
	ID             text   `json:"user_id"`
	Alias          text   `json:"user_alias"`
	Email          text   `json:"user_email"`
	SSOUserID      text   `json:"sso_user_id"`
	Role           text   `json:"user_role"`
	Password       text   `json:"password"`
	OrganizationID text   `json:"organization_id"`
	TeamID         text   `json:"team_id"`
	Models         list   `json:"models"`
	Metadata       object `json:"metadata"`
	Spend          amount `json:"spend"`
	caps

	AllowedCacheControls  list   `json:"allowed_cache_controls"`
	Policies              list   `json:"policies"`
	ModelMaxBudget        object `json:"model_max_budget"`
	ModelSpend            raw    `json:"model_spend"`
	PasswordResetRequired *bool  `json:"password_reset_required"`
	LastBreachCheckAt     moment `json:"last_breach_check_at"`
	permission
	trail
}

func convertUser(r *row, u *userRow) error {
	if !r.ids(u.ID) {
		return nil
	}
	out := &identity.User{
		ID: string(u.ID), Alias: r.name("user_alias", u.Alias), Email: r.name("user_email", u.Email), SSOUserID: r.name("sso_user_id", u.SSOUserID),
		Role: r.role(u.Role), Password: r.password(string(u.Password)), OrganizationID: r.reference("organization_id", u.OrganizationID),
		Models: r.names("models", u.Models), Metadata: r.object("metadata", u.Metadata), Spend: r.spent("spend", u.Spend),
		Caps: r.caps(&u.caps), Stamp: r.stamp(&u.trail),
	}
	if out.Models == nil && len(u.Models) > 0 {
		out.Blocked = true
		r.report("what limits the user could not be taken, so that it is blocked")
	}
	s := &out.Settings
	put(s, "allowed_cache_controls", u.AllowedCacheControls.json())
	put(s, "policies", u.Policies.json())
	r.keepFields(s, "model_max_budget", u.ModelMaxBudget)
	r.keep(s, "model_spend", u.ModelSpend)
	if u.TeamID != "" {
		put(s, "team_id", quoted(string(u.TeamID)))
	}
	if u.PasswordResetRequired != nil {
		put(s, "password_reset_required", quoted(*u.PasswordResetRequired))
	}
	put(s, "last_breach_check_at", u.LastBreachCheckAt.json())
	r.permission(s, &u.permission)
	out.Settings = r.fits(out.Settings)
	r.effectless(out.Settings, out.Metadata)
	return r.c.Sink.Object(out)
}

// role is a user's role. One that there is not here gives none.
func (r *row) role(t text) string {
	if t == "" {
		return ""
	}
	role, ok := identity.RoleNamed(string(t))
	if !ok {
		r.report("user_role is none that there is here, so that the user has none")
	}
	return role.String()
}

var (
	scryptHash = regexp.MustCompile(`^scrypt:[A-Za-z0-9+/]{64}$`)
	sha256Hash = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// password is what is kept of a user's password: a hash that it can be told by
// later, never the password.
func (r *row) password(s string) string {
	switch {
	case s == "", scryptHash.MatchString(s):
		return s
	case sha256Hash.MatchString(s):
		r.report("the password is hashed without a salt: it should be set anew")
		return s
	}
	r.report("the password is not hashed in a form that is known, and was left out: it has to be set anew")
	return ""
}

const emailShared = "user_email is another user's too, capital letters aside: whoever is named by it may be either"

// oddRow is a row of a question about all rows of a table. Of its answers the
// first mostOdd are read: such a question is answered whole for each page.
type oddRow struct {
	UserID text  `json:"user_id"`
	TeamID text  `json:"team_id"`
	Place  count `json:"place"` // from 1
	Of     count `json:"of"`
}

const mostOdd = 1000

func (o *oddRow) id() string {
	if o.TeamID == "" {
		return string(o.UserID)
	}
	return string(o.TeamID) + "/" + string(o.UserID)
}

// odd is a table that is asked a question; query has the columns of the key.
func odd(name, source, problem, query string, asked func(have Columns) bool, key ...string) Table {
	list := strings.Join(key, ", ")
	return Table{
		Name: name, Source: source, Key: key,
		From: func(have Columns) string {
			if !asked(have) {
				return nothing(key...)
			}
			return `SELECT row_to_json(t)::text FROM (SELECT o.*, row_number() OVER (ORDER BY ` + list + `) AS place, count(*) OVER () AS of FROM (` +
				query + `) o ORDER BY ` + list + ` LIMIT ` + strconv.Itoa(mostOdd) + `) t`
		},
		Convert: converting(source, (*oddRow).id, func(r *row, o *oddRow) error {
			r.report(problem)
			if o.Place.value == mostOdd && o.Of.value > mostOdd {
				r.report("there are more that have it like this one, which are not told one by one: " + problem)
			}
			return nil
		}),
	}
}

// membersOf is a query for the members of all teams by members_with_roles.
const membersOf = `SELECT tt.team_id, e->>'user_id' AS user_id FROM "` + tableTeams + `" tt, jsonb_array_elements(` +
	`CASE WHEN jsonb_typeof(tt.members_with_roles) = 'array' THEN tt.members_with_roles ELSE '[]'::jsonb END) e`

// without are the pairs of team and user of a query that are no members.
func without(query string) string {
	return `SELECT DISTINCT x.team_id, x.user_id FROM (` + query + `) x LEFT JOIN (` + membersOf +
		`) w ON w.team_id = x.team_id AND w.user_id = x.user_id WHERE w.user_id IS NULL`
}

func userTables() []Table {
	return []Table{
		{
			Name: tableUsers, Key: []string{"user_id"}, Needs: []string{"user_id"}, From: permitted(tableUsers),
			Convert: converting(tableUsers, func(u *userRow) string { return string(u.ID) }, convertUser),
		},
		odd(tableUsers+": shared addresses", tableUsers, emailShared,
			`SELECT u.user_id FROM (SELECT x.user_id, count(*) OVER (PARTITION BY lower(x.user_email)) AS n FROM "`+tableUsers+`" x WHERE x.user_email <> '') u WHERE u.n > 1`,
			func(have Columns) bool { return have.Has(tableUsers, "user_id", "user_email") }, "user_id"),
	}
}

// disagreements are what tables say about members that members_with_roles does
// not.
func disagreements() []Table {
	asked := func(table string, columns ...string) func(have Columns) bool {
		return func(have Columns) bool {
			return have.Has(table, columns...) && have.Has(tableTeams, "team_id", "members_with_roles")
		}
	}
	return []Table{
		odd(tableMembers, tableMembers, "spend and budget of a user who is not in the team's members_with_roles, and so is no member",
			without(`SELECT m.team_id, m.user_id FROM "`+tableMembers+`" m`), asked(tableMembers, "team_id", "user_id"), "team_id", "user_id"),
		odd(tableUsers+": teams", tableUsers, "the user's teams name a team that does not name the user in members_with_roles, and so has no such member",
			without(`SELECT u.user_id, n.team_id FROM "`+tableUsers+`" u, unnest(u.teams) n(team_id) WHERE n.team_id IS NOT NULL`),
			asked(tableUsers, "user_id", "teams"), "team_id", "user_id"),
	}
}
