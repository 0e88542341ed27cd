package auth

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"sluice/proxy/identity"
)

// object is one user, team, organization, project, member, budget or access
// group, prepared for the request path. It is immutable.
type object struct {
	kind    identity.Kind
	id      string
	missing bool // something refers to it, and there is none
	blocked bool
	alias   string
	email   string
	role    identity.Role
	models  grant
	aliases map[string]string // model_aliases of a team
	ips     *addresses
	org     *box    // of a team
	budget  *box    // the budget object that it names
	members *box    // of a team: the budget object of members who name none
	groups  []*box  // access groups of a team
	capped  *capped // its limits and budgets
	tags    []string
	mayTag  bool  // clients may say tags of their own (allow_client_tags)
	number  int64 // of the change that made it what it is
}

// box is where the present state of a shared object is found: keys of one team
// share its box, so that a changed team is read once.
type box struct {
	kind  identity.Kind
	id    string
	stale atomic.Bool // it has changed since held was read
	held  atomic.Pointer[object]

	// by is a key that reading brings the object along with. Guarded by the
	// directory's mutex.
	by [32]byte
}

// keyFacts is a key prepared for the request path. It is immutable.
type keyFacts struct {
	key     *identity.Key
	expires int64 // unix nanoseconds, 0 never
	models  grant
	routes  *routeSet  // nil: every route
	ips     *addresses // nil: every address

	user, team, org, project, member *box
	orgMember                        *box // of the user in the organization that the key had when it was read
	budget                           *box
	groups                           []*box
	capped                           *capped
	tags                             []string
	mayTag                           bool     // allow_client_tags
	fixed                            Identity // everything that follows from the key alone
}

// record is what is known about one digest. All but its atomic fields is
// immutable; a newer one takes its place.
type record struct {
	digest  [32]byte
	facts   *keyFacts // nil: there was such a key, and there is none any more
	until   int64     // unix nanoseconds until which a retired digest works, 0 for others
	fetched int64     // when the database said so, on fleet.Now's scale
	size    int64

	stale   atomic.Bool  // it has changed since
	asked   atomic.Bool  // it is being read again
	used    atomic.Int64 // fleet.Now in seconds of the last use, about
	touched atomic.Int64 // fleet.Now of the last note for last_active
}

// load fills a view with everything that the facts refer to, and returns the
// first box that has to be read again before the view may be used; nil if there
// is none.
func (f *keyFacts) load(v *view) *box {
	v.key = f
	user, team := f.user.open(&v.user), f.team.open(&v.team)
	org := f.org
	if v.team != nil {
		if org == nil {
			org = v.team.org
		}
		if team == nil {
			team = firstStale(v.team.groups)
		}
	}
	first := either(user, team)
	first = either(first, org.open(&v.org))
	first = either(first, f.project.open(&v.project))
	first = either(first, f.member.open(&v.member))
	first = either(first, f.orgMember.open(&v.orgMember))
	if v.member != nil {
		first = either(first, v.member.budget.open(&v.budget))
	}
	first = either(first, f.budget.open(&v.budgets.key))
	first = either(first, v.user.budgetOf().open(&v.budgets.user))
	first = either(first, v.team.budgetOf().open(&v.budgets.team))
	first = either(first, v.org.budgetOf().open(&v.budgets.org))
	first = either(first, v.project.budgetOf().open(&v.budgets.project))
	first = either(first, v.orgMember.budgetOf().open(&v.budgets.orgMember))
	if v.budget == nil && v.member != nil && v.team != nil {
		first = either(first, v.team.members.open(&v.budgets.member))
	}
	return either(first, firstStale(f.groups))
}

func (o *object) budgetOf() *box {
	if o == nil {
		return nil
	}
	return o.budget
}

func either(a, b *box) *box {
	if a != nil {
		return a
	}
	return b
}

func firstStale(groups []*box) *box {
	for _, g := range groups {
		if g.stale.Load() {
			return g
		}
	}
	return nil
}

// open reads a box, which may be nil, and returns it where it has to be read
// again first. The mark is looked at before the object: whoever clears it has
// put the newer object in place before.
func (b *box) open(into **object) *box {
	if b == nil {
		return nil
	}
	stale := b.stale.Load()
	if *into = b.held.Load(); stale || *into == nil {
		return b
	}
	return nil
}

// refersTo reports whether reading the key brings the object of a box along.
func (f *keyFacts) refersTo(b *box) bool {
	var v view
	f.load(&v)
	for _, c := range [...]*box{f.user, f.team, f.org, f.project, f.member, f.orgMember, f.budget} {
		if c == b {
			return true
		}
	}
	if v.team != nil && (v.team.org == b || slices.Contains(v.team.groups, b)) {
		return true
	}
	if v.team != nil && v.team.members == b {
		return true
	}
	for _, o := range [...]*object{v.user, v.team, v.org, v.project, v.member, v.orgMember} {
		if o.budgetOf() == b {
			return true
		}
	}
	return slices.Contains(f.groups, b)
}

// list reads a field of an object's settings that holds a list of texts.
func list(f identity.Fields, name string) []string {
	raw := f[name]
	if len(raw) == 0 {
		return nil
	}
	var out []string
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}

// pairs reads a field of an object's settings that maps texts to texts.
func pairs(f identity.Fields, name string) map[string]string {
	raw := f[name]
	if len(raw) == 0 {
		return nil
	}
	var out map[string]string
	if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return out
}

// truthOf reads a field that is true or false; false where it is missing.
func truthOf(f identity.Fields, name string) bool { return string(f[name]) == "true" }

// textOf reads a field that holds a text; "" where it is missing.
func textOf(f identity.Fields, name string) string {
	var out string
	if raw := f[name]; len(raw) == 0 || json.Unmarshal(raw, &out) != nil {
		return ""
	}
	return out
}

// unixNano is a time as nanoseconds, 0 for none.
func unixNano(t *time.Time) int64 {
	if t == nil || t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
