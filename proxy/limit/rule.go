package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// Scope is whose limit a rule is.
type Scope uint8

// Scopes. The numbers are part of a subject's tag: they are never changed, only
// added to.
const (
	ScopeProxy Scope = iota
	ScopeKey
	ScopeUser
	ScopeTeam
	ScopeMember
	ScopeOrganization
	ScopeProject
	ScopeCustomer
	ScopeKeyModel
	ScopeTeamModel
	ScopeProjectModel
	ScopeDeployment
	ScopeTag
	ScopeUserModel
	ScopeCustomerModel
	ScopeMemberModel
	scopes
)

// descriptors are the names that LiteLLM has for them in messages and headers.
var descriptors = [scopes]string{
	ScopeProxy: "proxy", ScopeKey: "api_key", ScopeUser: "user", ScopeTeam: "team", ScopeMember: "team_member",
	ScopeOrganization: "organization", ScopeProject: "project", ScopeCustomer: "end_user", ScopeKeyModel: "model_per_key",
	ScopeTeamModel: "model_per_team", ScopeProjectModel: "model_per_project", ScopeDeployment: "deployment", ScopeTag: "tag",
	ScopeUserModel: "model_per_user", ScopeCustomerModel: "model_per_end_user", ScopeMemberModel: "model_per_team_member",
}

// Descriptor is the scope's name in messages and headers.
func (s Scope) Descriptor() string {
	if s < scopes {
		return descriptors[s]
	}
	return "limit"
}

// Type is what a limit counts.
type Type uint8

// Types.
const (
	Requests Type = iota // in a window
	Tokens               // in a window
	Parallel             // at once
)

func (t Type) String() string {
	return [...]string{"requests", "tokens", "max_parallel_requests"}[t]
}

// None is the number of a limit that there is not.
const None = -1

// Most is the largest number of a limit, 68 billion: a larger one counts as it.
const Most = countMask

// Rule is what one subject may do. It is made once, where a key is resolved or
// a deployment built, and never changed afterwards: a changed limit is another
// rule with the same tag, and goes on with what was counted.
type Rule struct {
	Scope    Scope
	ID       string // of the subject, as messages show it
	Requests int64  // in a window, None: no limit, 0: nothing passes
	Tokens   int64
	Parallel int64
	Tag      uint64 // what host table and Redis know the subject by, the same on all hosts

	// place remembers where the record was found last, by bank: index and 1.
	place [maxBanks]atomic.Uint32
}

// NewRule prepares a rule. Numbers below zero are None.
func NewRule(scope Scope, id string, requests, tokens, parallel int64) *Rule {
	bounded := func(n int64) int64 { return min(max(n, None), Most) }
	return &Rule{
		Scope: scope, ID: id, Tag: tag(scope, id),
		Requests: bounded(requests), Tokens: bounded(tokens), Parallel: bounded(parallel),
	}
}

// Limits reports whether the rule limits anything.
func (r *Rule) Limits() bool { return r.Requests >= 0 || r.Tokens >= 0 || r.Parallel >= 0 }

func (r *Rule) limit(t Type) int64 {
	switch t {
	case Requests:
		return r.Requests
	case Tokens:
		return r.Tokens
	}
	return r.Parallel
}

// tag is a digest, because clients choose the ids of customers: nobody is to
// find one that counts on somebody else's record.
func tag(scope Scope, id string) uint64 {
	b := make([]byte, 1, 64)
	b[0] = byte(scope)
	d := sha256.Sum256(append(b, id...))
	return max(binary.LittleEndian.Uint64(d[:8]), 1)
}
