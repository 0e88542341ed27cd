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
	InternalViewer               // internal_user_viewer
	TeamKey                      // a team or service-account key without a user
	BareKey                      // a key with neither
	Columns
)

// Action is one row of the matrix. Its number indexes Rows.
type Action uint8
