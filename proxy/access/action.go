package access

// Column is a kind of caller, one column of the matrix.
type Column uint8

// Columns, in the order of the matrix.
const (
	ProxyAdmin     Column = iota // and the master key
	AdminViewer                  // proxy_admin_viewer
	OrgAdmin                     // of the object's organization
	TeamAdmin                    // of the object's team
	TeamMember                   // of the object's team
	InternalUser                 // internal_user
	InternalViewer               // internal_user_viewer, and a user without a role
	TeamKey                      // a team or service-account key without a user
	BareKey                      // a key with neither
	Columns
)

var columnNames = [Columns]string{
	"proxy admin", "admin viewer", "organization admin", "team admin", "team member",
	"internal user", "internal viewer", "team key", "bare key",
}

// String is the column's name in the documentation.
func (c Column) String() string { return columnNames[c] }

// Action is one row of the matrix.
type Action uint8

// Actions. What they stand for in words is in the matrix.
const (
	Chat Action = iota

	KeyInfoSelf
	KeyInfo
	KeyList
	KeyGenerateOwn
	KeyGenerateOther
	KeyGenerateTeam
	KeySetRoutes
	KeySetSpend
	KeyExceed
	KeyUpdateOwn
	KeyUpdateLimits
	KeyUpdateTeam
	KeyDelete
	KeyBlock
	KeyResetSpend
	KeyBulkUpdate

	UserNew
	UserUpdate
	UserUpdateAlias
	UserInfo
	UserList
	UserDelete

	TeamNew
	TeamInfo
	TeamList
	TeamUpdate
	TeamModels
	TeamMembers
	TeamJoin
	TeamMakeAdmin
	TeamPermissions

	OrganizationNew
	OrganizationUpdate
	OrganizationInfo

	ProjectWrite
	ProjectRead
	InvitationWrite

	ModelWrite
	ModelInfo
	SettingsWrite
	SettingsRead

	SpendRead
	GlobalSpend
	AuditRead
	SpendReset

	Actions
)

// Open is true where there are objects to which a caller of the column may do
// it.
func (a Action) Open(c Column) bool { return table[a][c].terms != "" }

// String is the action in words, as the matrix has it.
func (a Action) String() string { return matrix[a].name }
