package access

import "strings"

// row is one row of the matrix. A cell is one or more of these, joined by
// commas; the caller is allowed when one of them holds:
//
//	✓  always
//	o  the object belongs to the caller's user
//	s  own scope: the object's organization or team is one that the column is about
//	p  the team's team_member_permissions list the route
//	k  the object is of the caller's team and has no user
//	b  the caller belongs to the object's organization
//	a  the caller is a service account and the object is of its team
//	v  always, but only what the caller sees is shown
//	g  the key's permissions have get_spend_routes
//	m  the master key alone
//	✗  never; ✗401 and the like name the status of the refusal
type row struct {
	name  string
	cells string // in the order of the columns
	// read is true for what changes nothing: a viewer's place in a team or an
	// organization counts for these alone.
	read   bool
	refuse refusal
}

// refusal is how a row's refusals are worded where the status is not 401.
type refusal struct {
	form  Form
	text  string // {role}, {team}, {route} and {user} are filled in
	typ   string // of the error; "": LiteLLM's internal_server_error
	param string
}

const read = true

var (
	noTeam  = refusal{text: "You do not have access to this team"}
	noKey   = refusal{text: "You are not allowed to access this key's info. Your role={role}"}
	noUser  = refusal{text: "You are not allowed to access this user's info. Your role={role}"}
	noUsers = refusal{form: FormDetailError, text: "Only proxy admins and organization admins can list users."}
	noKeys  = refusal{
		text: "You are not authorized to access this endpoint. No 'user_id' is associated with your API key.",
		typ:  "bad_request_error", param: "user_id",
	}
	noModel = refusal{
		text: "User does not have permission to make this model call. Your role={role}. You can only make model calls if you are a " +
			"proxy admin, or a team admin who names the team in model_info.team_id.",
		typ: "auth_error", param: "None",
	}
	noMember  = refusal{text: "User={user} is not a member of team={team}, so it can make no key in it.", typ: "bad_request_error", param: "team_id"}
	noOther   = refusal{text: "Only a proxy admin, or an admin of its team or organization, may make a key for another user. Your role={role}"}
	adminOnly = refusal{text: "Only a proxy admin may set this. Your role={role}"}
	noField   = refusal{text: "Only an admin may change this of a key. Your role={role}"}
	noBlock   = refusal{text: "Only a proxy admin, or an admin of the key's team or organization, may block and unblock it. Your role={role}"}
	noDelete  = refusal{text: "You are not allowed to delete or regenerate this key. Your role={role}"}
	noMembers = refusal{text: "Only a proxy admin, or an admin of the team or its organization, may change this of the team. Your role={role}"}
)

// matrix is who may do what. The columns are proxy admin and master key, admin
// viewer, organization admin, team admin, team member, internal user, internal
// viewer, key of a team, key of nobody.
var matrix = [Actions]row{
	Chat: {"chat, models the key allows", "✓ ✓ ✓ ✓ ✓ ✓ ✓ ✓ ✓", read, refusal{}},

	KeyInfoSelf:      {"/key/info of the calling key", "✓ ✓ ✓ ✓ ✓ ✓ ✓ ✓ ✓", read, noKey},
	KeyInfo:          {"/key/info of another's key", "✓ ✓ s,o s,o k,o,✗403 o,✗403 o,✗403 ✗403 ✗403", read, noKey},
	KeyList:          {"/key/list", "✓ ✓ s,o o,s o,p o o ✗403 ✗403", read, noKeys},
	KeyGenerateOwn:   {"/key/generate for oneself", "✓ ✗403 o o o o ✗401 ✗401 ✗401", false, refusal{}},
	KeyGenerateOther: {"/key/generate for another user", "✓ ✗ s s ✗403 ✗403 ✗ ✗ ✗", false, noOther},
	KeyGenerateTeam:  {"/key/generate in a team", "✓ ✗ s s p,✗401 ✗400 ✗ a ✗", false, noMember},
	KeySetRoutes:     {"set allowed_routes, permissions, key_type management", "✓ ✗ ✗403 ✗403 ✗403 ✗403 ✗ ✗ ✗", false, adminOnly},
	KeySetSpend:      {"set spend at creation", "✓ ✗ ✗403 ✗403 ✗403 ✗403 ✗ ✗ ✗", false, adminOnly},
	KeyExceed:        {"key above one's own budget, models, limits", "✓ ✗ ✗403 ✗403 ✗403 ✗403 ✗ ✗ ✗", false, adminOnly},
	KeyUpdateOwn:     {"/key/update own: alias, harmless metadata, shorter expiry, fewer models", "✓ ✗ o o o o ✗ ✗ ✗", false, noField},
	KeyUpdateLimits:  {"/key/update own: budget, spend, user_id, team_id, blocked, more models", "✓ ✗ s ✗403 ✗403 ✗403 ✗ ✗ ✗", false, noField},
	KeyUpdateTeam:    {"/key/update team keys of others", "✓ ✗ s s p,✗401 ✗403 ✗ a ✗", false, noField},
	KeyDelete:        {"delete, regenerate a key", "✓ ✗ s,o s,o p,o o ✗ ✗ ✗", false, noDelete},
	KeyBlock:         {"block, unblock a key", "✓ ✗ s s ✗403 ✗403 ✗ ✗ ✗", false, noBlock},
	KeyResetSpend:    {"/key/{key}/reset_spend", "✓ ✗ s s ✗ ✗ ✗ ✗ ✗", false, refusal{}},
	KeyBulkUpdate:    {"/key/bulk_update", "✓ ✗ ✗ ✗ ✗ ✗ ✗ ✗ ✗", false, refusal{}},

	UserNew:         {"/user/new", "✓ ✗ s ✗401 ✗401 ✗401 ✗ ✗ ✗", false, refusal{}},
	UserUpdate:      {"/user/update: role, budget, models, limits, metadata", "✓ ✗ ✗401 ✗401 ✗401 ✗401 ✗ ✗ ✗", false, refusal{}},
	UserUpdateAlias: {"/user/update self: user_alias alone", "✓ ✗ o o o o ✗ ✗ ✗", false, refusal{}},
	UserInfo:        {"/user/info", "✓ ✓ s,o o,✗403 o,✗403 o,✗403 o,✗403 ✗403 ✗403", read, noUser},
	UserList:        {"/user/list", "✓ ✓ s ✗403 ✗403 ✗403 ✗403 ✗403 ✗403", read, noUsers},
	UserDelete:      {"/user/delete", "✓ ✗ s ✗401 ✗ ✗ ✗ ✗ ✗", false, refusal{}},

	TeamNew:         {"/team/new, delete, block", "✓ ✗ s ✗401 ✗ ✗ ✗ ✗ ✗", false, refusal{}},
	TeamInfo:        {"/team/info", "✓ ✓ s s s ✗403 ✗403 s,✗403 ✗403", read, noTeam},
	TeamList:        {"/team/list", "✓ ✓ s,o o,✗401 o,✗401 o,✗401 o,✗401 ✗401 ✗401", read, refusal{}},
	TeamUpdate:      {"/team/update", "✓ ✗ s s ✗403 ✗403 ✗403 ✗403 ✗403", false, noTeam},
	TeamModels:      {"/team/model/add, delete", "✓ ✗ s s ✗403 ✗403 ✗ ✗ ✗", false, noMembers},
	TeamMembers:     {"member_add, update, delete", "✓ ✗ s s ✗403 ✗403 ✗ ✗ ✗", false, noMembers},
	TeamJoin:        {"member_add of oneself to one of available_teams", "✓ ✗ o o o o ✗ ✗ ✗", false, noMembers},
	TeamMakeAdmin:   {"make a team admin", "✓ ✗ s s ✗403 ✗403 ✗ ✗ ✗", false, noMembers},
	TeamPermissions: {"permissions_update", "✓ ✗ s s ✗403 ✗403 ✗ ✗ ✗", false, noMembers},

	OrganizationNew:    {"/organization new, delete", "✓ ✗ ✗ ✗ ✗ ✗ ✗ ✗ ✗", false, refusal{}},
	OrganizationUpdate: {"/organization update: alias, members", "✓ ✗ s ✗ ✗ ✗ ✗ ✗ ✗", false, refusal{}},
	OrganizationInfo:   {"/organization info, list", "✓ ✓ s,b b b b b ✗ ✗", read, refusal{}},

	ProjectWrite:    {"/project new, update, delete", "✓ ✗ s s ✗ ✗ ✗ ✗ ✗", false, refusal{}},
	ProjectRead:     {"/project info, list", "✓ ✓ s s s ✗ ✗ s ✗", read, refusal{}},
	InvitationWrite: {"/invitation new, info", "✓ ✗ s ✗ ✗ ✗ ✗ ✗ ✗", false, refusal{}},

	ModelWrite:    {"/model new, update, delete", "✓ ✗ ✗403 s ✗403 ✗403 ✗403 ✗403 ✗403", false, noModel},
	ModelInfo:     {"/model/info, /model_group/info, never a secret", "✓ ✓ v v v v v v v", read, refusal{}},
	SettingsWrite: {"/credentials, /config, /budget, /customer, /tag, /access_group, /jwt/key/mapping: write", "✓ ✗ ✗401 ✗401 ✗401 ✗401 ✗ ✗ ✗", false, refusal{}},
	SettingsRead:  {"… read, values masked", "✓ ✓ ✗401 ✗401 ✗401 ✗401 ✗ ✗ ✗", read, refusal{}},

	SpendRead:   {"/spend/keys, /spend/logs, /tag/list", "✓ ✓ s,o s,o o,p o o ✗401 ✗401", read, refusal{}},
	GlobalSpend: {"/global/spend*", "✓ ✓ ✗401 ✗401 ✗401 ✗401 ✗401 g,✗401 g,✗401", read, refusal{}},
	AuditRead:   {"/audit", "✓ ✓ ✗401 ✗401 ✗401 ✗401 ✗ ✗ ✗", read, refusal{}},
	SpendReset:  {"/global/spend/reset, key ring", "m ✗ ✗ ✗ ✗ ✗ ✗ ✗ ✗", false, refusal{}},
}

// cell is one cell, parsed.
type cell struct {
	terms  string // the letters of the conditions
	status int    // of the refusal; 0: the row's
}

// table is the matrix, parsed once.
var table = parsed()

func parsed() (t [Actions][Columns]cell) {
	for a, r := range matrix {
		cells := strings.Fields(r.cells)
		if len(cells) != int(Columns) {
			panic("BUG: the row of " + r.name + " has not one cell for each column")
		}
		for c, text := range cells {
			t[a][c] = parseCell(r.name, text)
		}
	}
	return t
}

func parseCell(name, text string) (out cell) {
	for _, term := range strings.Split(text, ",") {
		switch term {
		case "✓", "v":
			out.terms += "✓"
		case "o", "s", "p", "k", "b", "a", "g", "m":
			out.terms += term
		case "✗":
		case "✗400":
			out.status = 400
		case "✗401":
			out.status = 401
		case "✗403":
			out.status = 403
		default:
			panic("BUG: the row of " + name + " has a cell that is not known: " + text)
		}
	}
	return out
}
