package auth

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Config is what Keys is made from.
type Config struct {
	MasterKey string     // "" means that there is none
	AdminUser string     // PROXY_ADMIN_ID: the user that the master key acts as; "": default_user_id
	Directory *Directory // nil: no database, no key but the master key

	Fresh    time.Duration // user_api_key_cache_ttl: after it a known key is read again in the background; 60 s
	StaleMax time.Duration // auth_stale_max: how long known keys are served without contact to the database; 1 h

	AllowedIPs    []netip.Prefix // allowed_ips; nil: all
	AllowedRoutes []string       // allowed_routes of the server, for all keys but the master key; nil: all
	AdminRoutes   []string       // admin_only_routes

	// AllowUnavailable admits well-formed keys that nobody knows while the
	// database is away (allow_requests_on_db_unavailable).
	AllowUnavailable  bool
	UnavailableModels []string // db_unavailable_models; nil: all
	UnavailableRPM    int      // db_unavailable_rpm of a whole host

	Zone           *time.Location       // of the windows of budgets; nil: UTC
	CustomerBudget string               // max_end_user_budget_id: the budget object of customers that have none of their own
	CustomerMax    *money.Nano          // max_end_user_budget, where there is no such object; nil: none
	TagBudgets     map[string]TagBudget // tag_budget_config
}

// Keys knows the keys of one generation of the configuration. It is immutable
// and safe for concurrent use.
type Keys struct {
	set       bool
	master    [sha256.Size]byte
	admin     Identity
	directory *Directory
	fresh     int64
	staleMax  int64

	allowed     *addresses
	routes      *routeSet
	adminRoutes *routeSet

	permissive        bool
	unavailableModels grant
	unavailableRPM    uint32

	zone           *time.Location
	customerBudget string
	customerMax    *money.Nano
	tagBudgets     map[string]TagBudget
	adminAccount   *budget.Limit
	accounts       *atomic.Pointer[accounts]
}

// New makes the keys of a configuration. It keeps no key, only its digest.
func New(c Config) *Keys {
	k := &Keys{
		set: c.MasterKey != "", master: sha256.Sum256([]byte(c.MasterKey)), directory: c.Directory,
		fresh: int64(c.Fresh), staleMax: int64(c.StaleMax),
		permissive: c.AllowUnavailable, unavailableModels: newGrant(withoutAll(c.UnavailableModels)),
		unavailableRPM: uint32(max(c.UnavailableRPM, 0)),
		zone:           c.Zone, customerBudget: c.CustomerBudget, customerMax: c.CustomerMax, tagBudgets: c.TagBudgets,
		accounts: &atomic.Pointer[accounts]{},
	}
	if k.fresh <= 0 {
		k.fresh = int64(60 * time.Second)
	}
	if k.staleMax <= 0 {
		k.staleMax = int64(time.Hour)
	}
	if c.AllowedIPs != nil {
		k.allowed = &addresses{nets: slices.Clone(c.AllowedIPs)}
	}
	if len(c.AllowedRoutes) > 0 {
		k.routes = newRouteSet(c.AllowedRoutes)
	}
	if len(c.AdminRoutes) > 0 {
		k.adminRoutes = newRouteSet(c.AdminRoutes)
	}
	k.admin = Identity{Known: true, Master: true, Role: identity.RoleProxyAdmin, User: cmp.Or(c.AdminUser, identity.DefaultUserID)}
	hex.Encode(k.admin.KeyHash[:], k.master[:])
	k.adminAccount = budget.NewLimit(bill.KindUser, k.admin.User, budget.None, budget.None, "", time.Time{}, c.Zone)
	if c.Directory != nil {
		c.Directory.useDefaultBudget(c.CustomerBudget)
	}
	return k
}

// withoutAll reads the word "all" as no limit.
func withoutAll(models []string) []string {
	if slices.Contains(models, "all") {
		return nil
	}
	return models
}

// Bounds of what is looked at as a key.
const (
	keyPrefix = "sk-"
	maxKey    = 4 << 10 // bytes
	minKey    = 16      // of one that is admitted unseen while the database is away
)

// Identify names the caller behind a credential. nil means that the request
// carried none. It may wait for the database, for a bounded time, where the key
// is not known or has changed. With an error the identity holds at most the
// digest of what came, for the log.
func (k *Keys) Identify(key []byte) (Identity, *llm.Error) {
	if len(key) == 0 {
		return Identity{}, noKey()
	}
	if len(key) > maxKey {
		return Identity{}, tooLong()
	}
	digest := sha256.Sum256(key)
	if subtle.ConstantTimeCompare(digest[:], k.master[:]) == 1 && k.set {
		if k.directory != nil && k.directory.ring.Pending() { // the customers and tags of its requests may have changed
			k.directory.follow()
		}
		return k.admin, nil
	}
	if len(key) < len(keyPrefix) || string(key[:len(keyPrefix)]) != keyPrefix {
		return Identity{}, malformed()
	}
	if k.directory == nil {
		return stranger(&digest), unknown(&digest)
	}
	var who Identity
	if err := k.directory.identify(k, &digest, &who); err != nil {
		who = stranger(&digest)
		if err.Type != typeAway || !k.permissive || len(key) < minKey || errors.Is(err, errChanged) {
			return who, err
		}
		who.Known, who.Unavailable, who.Alias = true, true, "db-unavailable"
	}
	return who, nil
}

// stranger is nobody, with the digest that the log shows.
func stranger(digest *[32]byte) (who Identity) {
	hex.Encode(who.KeyHash[:], digest[:])
	return who
}

// typeAway tells the errors of a database that is away from others.
const typeAway = "db_unavailable"

// MayCome says whether requests from an address are taken from the caller: the
// server's allow list, and those of the key and its team. remote is the address
// as logs show it.
func (k *Keys) MayCome(who *Identity, remote []byte) *llm.Error {
	if !k.allowed.has(remote) {
		return wrongAddress()
	}
	v := &who.view
	if v.key != nil && !v.key.ips.has(remote) || v.team != nil && !v.team.ips.has(remote) {
		return wrongAddress()
	}
	return nil
}

// MayCall says whether the caller may call a route at all: what the server, the
// key's allowed_routes and its type say. What it may do there is decided by the
// management API.
func (k *Keys) MayCall(who *Identity, route *access.Route) *llm.Error {
	switch {
	case !who.Known:
		return noKey()
	case who.Master:
		return nil
	case k.routes != nil && !k.routes.has(route):
		return &llm.Error{
			Kind: llm.KindForbidden, Type: "auth_error", Param: "None",
			Message: "Route " + route.Path + " is not allowed by the setting allowed_routes of this gateway.",
		}
	case k.adminRoutes != nil && who.Role != identity.RoleProxyAdmin && k.adminRoutes.has(route):
		return &llm.Error{
			Kind: llm.KindForbidden, Type: "auth_error", Param: "None",
			Message: "Route " + route.Path + " is for proxy admins only (admin_only_routes).",
		}
	case who.Unavailable:
		return k.admitUnavailable(route)
	}
	if f := who.view.key; f == nil {
		return noKey()
	} else if f.routes != nil && !f.routes.has(route) {
		return wrongRoute(f.routes, route)
	}
	return nil
}

// Model is a model as a request asks for it.
type Model struct {
	Name   string   // asked for, after the aliases of key and team
	Target string   // the model group that the router's aliases lead to
	Groups []string // access groups of its deployments
}

// MayUse says whether the caller may use a model: every list of models that
// stands over the key must have it. It keeps nothing of m.
func (k *Keys) MayUse(who *Identity, m *Model) *llm.Error {
	if level := k.denies(who, m); level != "" {
		return wrongModel(level, m.Name)
	}
	return nil
}

// CanUse is MayUse without the words.
func (k *Keys) CanUse(who *Identity, m *Model) bool { return k.denies(who, m) == "" }

// denies names the level whose list of models does not have the model; "" if
// all have it.
func (k *Keys) denies(who *Identity, m *Model) string {
	v := &who.view
	switch {
	case who.Master:
		return ""
	case who.Unavailable:
		if !k.unavailableModels.covers(m) {
			return "unavailable"
		}
		return ""
	case v.key == nil:
		return "key"
	}
	f := v.key
	if !f.models.covers(m) && (!f.models.ofTeam || v.team == nil) && !grouped(f.groups, m) {
		return "key"
	}
	if v.team != nil {
		if !v.team.models.covers(m) && !grouped(v.team.groups, m) {
			return "team"
		}
		if v.budget != nil && !v.budget.models.covers(m) {
			return "member"
		}
	} else if v.user != nil && !v.user.models.covers(m) {
		return "user"
	}
	if v.org != nil && !v.org.models.covers(m) {
		return "org"
	}
	if v.project != nil && !v.project.models.covers(m) {
		return "project"
	}
	return ""
}

// grouped reports whether one of the access groups has the model. An empty
// group has none.
func grouped(groups []*box, m *Model) bool {
	for _, b := range groups {
		if g := b.held.Load(); g != nil && !g.missing && (g.models.has(m.Name) || g.models.has(m.Target)) {
			return true
		}
	}
	return false
}

// ModelAlias is the model that the key, or else its team, has another name for. ok
// is false where neither has.
func (who *Identity) ModelAlias(model []byte) (target string, ok bool) {
	v := &who.view
	if v.key != nil {
		if target, ok = v.key.key.Aliases[string(model)]; ok && target != "" {
			return target, true
		}
	}
	if v.team != nil {
		if target, ok = v.team.aliases[string(model)]; ok && target != "" {
			return target, true
		}
	}
	return "", false
}

// MayServe says whether requests for an end user are taken. An id that nobody
// has heard of is no error.
func (k *Keys) MayServe(id []byte) *llm.Error {
	if len(id) == 0 || k.directory == nil {
		return nil
	}
	return k.directory.serves(id)
}
