package identity

// Role is what a caller is. The zero value may do nothing.
type Role uint8

// Roles of users. A key without a user has none of them.
const (
	RoleNone Role = iota
	RoleProxyAdmin
	RoleProxyAdminViewer
	RoleInternalUser
	RoleInternalViewer
)

var roleNames = [...]string{"", "proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"}

// String is the role's name in the API; "" for RoleNone.
func (r Role) String() string { return roleNames[r] }

// RoleNamed finds a role by its name in the API. "internal_user_view_only" is
// read as internal_user_viewer. ok is false for a name that is no role.
func RoleNamed(name string) (r Role, ok bool) {
	if name == "internal_user_view_only" {
		return RoleInternalViewer, true
	}
	for i, n := range roleNames {
		if i > 0 && n == name {
			return Role(i), true
		}
	}
	return RoleNone, false
}

// Names of roles inside a team and an organization, and special models.
const (
	TeamAdmin = "admin"
	TeamUser  = "user"
	OrgAdmin  = "org_admin"

	AllProxyModels  = "all-proxy-models"  // every model
	AllTeamModels   = "all-team-models"   // what the team may use
	NoDefaultModels = "no-default-models" // nothing but what is given otherwise

	// DefaultUserID is the user that the master key acts as.
	DefaultUserID = "default_user_id"
)
