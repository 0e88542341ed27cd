// Package auth says who calls and what the caller may do on the request path.
//
// A Directory lives as long as its process. It keeps what the database said
// about the keys that called lately, follows the host's ring of changes, and
// looks unknown keys up in batches. Keys is one generation of the configuration
// on top of it. A hot key costs no query, no lock and no allocation.
package auth

import (
	"sluice/proxy/identity"
)

// Identity is a known caller. The zero value is nobody and may do nothing; only
// Keys.Identify makes another one. What its pointers point at is shared and
// never changed.
type Identity struct {
	Known       bool // the key is one of ours, neither expired nor blocked
	Master      bool // it is the master key
	Unavailable bool // nobody knows it: admitted because the database is away

	Role              identity.Role // of the user that the key belongs to; the master key is a proxy admin
	KeyHash           [64]byte      // hex SHA-256 of the key; of a regenerated key the one in use
	Alias             string        // the key's alias, as metrics and logs show it
	User              string        // the user it belongs to
	UserEmail         string
	Team              string // the team it belongs to
	TeamAlias         string
	Organization      string // of the key, else of its team
	OrganizationAlias string
	Project           string
	EndUser           string // set by the gateway from the request

	Key *identity.Key // nil for the master key

	view view
}

// view is what the caller is judged by: the objects as they were when it was
// identified, so that one request sees one state.
type view struct {
	key     *keyFacts
	user    *object
	team    *object
	org     *object
	project *object
	member  *object
	budget  *object // of the member

	orgMember *object
	budgets   struct{ key, user, team, org, project, member, orgMember *object }
}
