package identity

// Kind is what an object of the identity data is. The names are those of the
// changes' object_type; the numbers go into the host table and never change.
type Kind uint8

// Kinds of objects.
const (
	KindNone Kind = iota
	KindKey
	KindRetiredKey
	KindUser
	KindTeam
	KindMember
	KindOrganization
	KindOrganizationMember
	KindProject
	KindEndUser
	KindBudget
	KindTag
	KindAccessGroup
	KindModel
	KindCredential
	KindConfig
	KindInvitation
	KindJWTMapping
	kinds
)

var kindNames = [...]string{
	"none", "key", "retired_key", "user", "team", "team_member", "organization", "organization_member", "project",
	"customer", "budget", "tag", "access_group", "model", "credential", "config", "invitation", "jwt_key_mapping",
}

var tables = [...]string{
	"", "keys", "retired_keys", "users", "teams", "team_members", "organizations", "organization_members", "projects",
	"end_users", "budgets", "tags", "access_groups", "models", "credentials", "config_items", "invitations", "jwt_key_mappings",
}

// String is the name that changes are recorded under.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return kindNames[k]
}

// Table is the name of the kind's table.
func (k Kind) Table() string { return tables[k] }

// KindNamed finds a kind by its name; KindNone if there is none.
func KindNamed(name string) Kind {
	for i, n := range kindNames {
		if n == name {
			return Kind(i)
		}
	}
	return KindNone
}

// Object is one row of the identity data.
type Object interface {
	// Kind is the same for all objects of a type; nil pointers answer too.
	Kind() Kind
}

// Kinds of the types.
func (*Key) Kind() Kind                { return KindKey }
func (*RetiredKey) Kind() Kind         { return KindRetiredKey }
func (*User) Kind() Kind               { return KindUser }
func (*Team) Kind() Kind               { return KindTeam }
func (*Member) Kind() Kind             { return KindMember }
func (*Organization) Kind() Kind       { return KindOrganization }
func (*OrganizationMember) Kind() Kind { return KindOrganizationMember }
func (*Project) Kind() Kind            { return KindProject }
func (*EndUser) Kind() Kind            { return KindEndUser }
func (*Budget) Kind() Kind             { return KindBudget }
func (*Tag) Kind() Kind                { return KindTag }
func (*AccessGroup) Kind() Kind        { return KindAccessGroup }
func (*Model) Kind() Kind              { return KindModel }
func (*Credential) Kind() Kind         { return KindCredential }
func (*ConfigItem) Kind() Kind         { return KindConfig }
func (*Invitation) Kind() Kind         { return KindInvitation }
func (*JWTMapping) Kind() Kind         { return KindJWTMapping }
