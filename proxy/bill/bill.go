// Package bill is what is written down about one attempt at a provider: who is
// charged, for what, and how much. The gateway fills it in, the journal keeps
// it, the ledger ships it and the store writes it. It is data only.
package bill

import (
	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Kind says whose spend an account counts. The names are the entity_type of the
// database; the numbers are in journals and never change.
type Kind uint8

// Kinds of accounts.
const (
	KindNone               Kind = iota
	KindKey                     // ID: digest of the key
	KindUser                    // user id
	KindTeam                    // team id
	KindMember                  // team id/user id
	KindOrganization            // organization id
	KindOrganizationMember      // organization id/user id
	KindProject                 // project id
	KindCustomer                // end user id
	KindTag                     // tag
	KindProvider                // provider
	KindDeployment              // model id
	KindKeyModel                // digest of the key/model
	KindProxy                   // "": everything
	kinds
)

var kindNames = [...]string{
	"none", "key", "user", "team", "team_member", "organization", "organization_member", "project",
	"customer", "tag", "provider", "deployment", "key_model", "proxy",
}

// String is the kind's name in the database.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return kindNames[k]
}

// KindNamed finds a kind by its name; KindNone if there is none.
func KindNamed(name string) Kind {
	for i, n := range kindNames {
		if n == name {
			return Kind(i)
		}
	}
	return KindNone
}

// Account is one sum of spend that an attempt is charged to.
type Account struct {
	Kind   Kind
	ID     string
	Window string // duration of its budget window as configured, for example 30d; "" is all time
	Start  int64  // unix seconds at which the window began that the attempt belongs to; 0 for all time
	// Leased says that the attempt's cost was reserved from what this host has
	// leased of the account's budget: the cost is taken from the lease.
	Leased bool
}

// Status is how an attempt ended. The numbers are in journals and never change.
type Status uint8

// Statuses. What the database calls them is String.
const (
	StatusNone        Status = iota
	StatusSuccess            // the provider's answer was whole
	StatusFailure            // it failed, or was refused
	StatusInterrupted        // the process died; usage is what was known by then
	StatusCut                // the client left or the stream broke: what was produced by then is charged
	StatusRejected           // refused before any provider was called
	statuses
)

var statusNames = [...]string{"none", "success", "failure", "interrupted", "cut", "rejected"}

// String is the status in the database.
func (s Status) String() string {
	if s >= statuses {
		return "unknown"
	}
	return statusNames[s]
}

// Intent is what is known before the first byte goes to a provider. What its
// texts point at may belong to a request: they are good until it settles.
type Intent struct {
	RequestID [16]byte // UUIDv7 of the exchange
	Attempt   int64    // 0, 1, 2 … for retries and fallbacks
	At        int64    // unix nanoseconds
	Streamed  bool

	CallType      string // route, for example /v1/chat/completions
	Token         string // digest of the key, "" for none
	User          string
	Team          string
	Organization  string
	Project       string
	EndUser       string
	CallID        string // the client's x-litellm-call-id
	Session       string
	ClientAddress string
	Tags          []string
	Metadata      string // a JSON object of the client's, at most 1 KiB; "" for none

	Model         string // the group that was asked for
	ModelID       string // the deployment
	Provider      string
	ProviderModel string

	Price    int64      // version of the price, 0 none
	Prompt   int64      // tokens of the prompt, estimated
	Reserved money.Nano // of each leased account
	// Claim finds what is held in the host table for this attempt: area and
	// index of the claim; 0 where nothing is held.
	Claim    uint32
	Accounts []Account
}

// Settle is how an attempt ended.
type Settle struct {
	At          int64 // unix nanoseconds
	FirstByteAt int64 // unix nanoseconds, 0 never
	Status      Status
	HTTPStatus  int
	ErrorKind   string // of llm.Kind, "" none
	ProviderID  string // the provider's id of the answer
	CacheHit    bool
	Usage       llm.Usage
	Cost        money.Nano
}

// Attempt is a whole row: intent and settlement.
type Attempt struct {
	Intent
	Settle
	Host     string // id of the host
	Sequence int64  // in the host's journals
	// Holder is the life of the host table whose leases the attempt was reserved
	// from, "" none.
	Holder string
}
