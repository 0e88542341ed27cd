// Package access is who may do what: one table of routes, actions, roles and
// relations. The router, the management API, the OpenAPI document and the tests
// are driven by it; a route without a row does not start.
package access

import "sluice/proxy/identity"

// Group is what allowed_routes and key types call a set of routes.
type Group string

// Groups of routes, by their names in allowed_routes.
const (
	GroupLLM        Group = "llm_api_routes"
	GroupManagement Group = "management_routes"
	GroupInfo       Group = "info_routes"
	GroupSpend      Group = "spend_tracking_routes"
	GroupPublic     Group = "public_routes"
)

// Route is one row of the table: what it is, what it takes, and the actions
// that a call of it may amount to.
type Route struct {
	Method  string
	Path    string // {name} stands for one segment, {model} for several
	Tag     string // group in the documentation; hidden_routers names it
	Summary string // one line
	Group   Group
	Actions []Action // none: every valid key may
	Query   []Field
	Body    []Field // none: it has no body
	// Later is the sentence of a route that a release to come will serve: it
	// answers 501 with it.
	Later string
	// NoDatabase routes are served without a database too.
	NoDatabase bool
	// Edge routes are served by package server itself: model calls, lists of
	// models, probes. All others go to the management API.
	Edge bool
	// Public routes ask for no key.
	Public bool
	// Hidden routes are served but stand in no document: another spelling of a
	// documented one.
	Hidden bool
}

// Type is the type of a field in a body or query.
type Type uint8

// Types of fields.
const (
	Any Type = iota
	String
	Integer
	Number
	Boolean
	StringList
	Object
	ObjectList
	ObjectOrList // a list, or its only element
	StringMap
	Money    // a number of dollars, finite and not negative
	Duration // 30s, 5m, 12h, 7d, 2w, 1mo
	Time     // RFC 3339, or a date
)

// Field is one field that a route takes. Null is always taken as not given,
// except where an update clears a field by it.
type Field struct {
	Name     string
	Type     Type
	Required bool
	Enum     []string // the allowed texts
	Minimum  *int64
	Maximum  *int64
	// Unserved is the sentence of a field that LiteLLM acts on and this release does
	// not: it is refused with it, so that nobody relies on a bound that does not
	// hold. null, "", false and empty lists and objects pass, and so does Served.
	Unserved string
	Served   string
	// AdminOnly fields may be written by proxy admins alone.
	AdminOnly bool
	Summary   string
}

// Standing is what the caller is: its role and where it belongs. Only package
// auth and the management API make one, from rows of the database.
type Standing struct {
	Master bool // the master key itself
	Role   identity.Role
	UserID string // "": the key belongs to nobody
	Key    *identity.Key

	Teams         map[string]string   // team id → role in it: "admin" or "user"
	Organizations map[string]string   // organization id → role in it
	Permissions   map[string][]string // team id → team_member_permissions, for teams it is a member of
}

// Target is the object that an action is about: whom it belongs to. Empty
// fields mean that it belongs to nobody in that respect.
type Target struct {
	UserID         string
	TeamID         string
	OrganizationID string   // of the object, or of its team
	Organizations  []string // further ones: a user may belong to several
	Self           bool     // the calling key itself
	Route          string   // the path of the route that is called
}
