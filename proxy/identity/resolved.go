package identity

// Resolved is what the database knows about some keys: the keys themselves and
// every object that a request with one of them is judged by. Digests that
// nothing is known about are simply not in it.
type Resolved struct {
	Number int64 // of the newest change before it was read

	Keys                []*Key
	Retired             []*RetiredKey // their active keys are among Keys
	Users               []*User
	Teams               []*Team
	Members             []*Member
	Organizations       []*Organization
	OrganizationMembers []*OrganizationMember
	Projects            []*Project
	Budgets             []*Budget
	AccessGroups        []*AccessGroup
}
