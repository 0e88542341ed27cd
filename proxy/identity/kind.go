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

	// What the record of changes also tells of; no objects.
	KindSealingKey
	KindImport
	KindArchive
	kinds
)

var kindNames = [...]string{
	"none", "key", "retired_key", "user", "team", "team_member", "organization", "organization_member", "project",
	"customer", "budget", "tag", "access_group", "model", "credential", "config", "invitation", "jwt_key_mapping",
	"sealing_key", "import", "audit_archive",
}

var tables = [...]string{
	"", "keys", "retired_keys", "users", "teams", "team_members", "organizations", "organization_members", "projects",
	"end_users", "budgets", "tags", "access_groups", "models", "credentials", "config_items", "invitations", "jwt_key_mappings",
	"", "", "",
}

// String is the name that changes are recorded under.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return kindNames[k]
}

// Table is the name of the kind's table, "" where there is none.
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

// Kind is KindKey.
func (*Key) Kind() Kind { return KindKey }

// Kind is KindRetiredKey.
func (*RetiredKey) Kind() Kind { return KindRetiredKey }

// Kind is KindUser.
func (*User) Kind() Kind { return KindUser }

// Kind is KindTeam.
func (*Team) Kind() Kind { return KindTeam }

// Kind is KindMember.
func (*Member) Kind() Kind { return KindMember }

// Kind is KindOrganization.
func (*Organization) Kind() Kind { return KindOrganization }

// Kind is KindOrganizationMember.
func (*OrganizationMember) Kind() Kind { return KindOrganizationMember }

// Kind is KindProject.
func (*Project) Kind() Kind { return KindProject }

// Kind is KindEndUser.
func (*EndUser) Kind() Kind { return KindEndUser }

// Kind is KindBudget.
func (*Budget) Kind() Kind { return KindBudget }

// Kind is KindTag.
func (*Tag) Kind() Kind { return KindTag }

// Kind is KindAccessGroup.
func (*AccessGroup) Kind() Kind { return KindAccessGroup }

// Kind is KindModel.
func (*Model) Kind() Kind { return KindModel }

// Kind is KindCredential.
func (*Credential) Kind() Kind { return KindCredential }

// Kind is KindConfig.
func (*ConfigItem) Kind() Kind { return KindConfig }

// Kind is KindInvitation.
func (*Invitation) Kind() Kind { return KindInvitation }

// Kind is KindJWTMapping.
func (*JWTMapping) Kind() Kind { return KindJWTMapping }
