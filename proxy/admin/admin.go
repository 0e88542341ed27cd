// Package admin is the management API: LiteLLM's paths, shapes and statuses
// over the identity data. One file per noun; the order of a call is the body of
// Serve. It knows no HTTP library: package server hands it a Request.
package admin

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// Request is one management call as the server read it. Nothing of it is kept.
type Request struct {
	Route  *access.Route
	Params map[string]string // of the path, decoded
	Query  url.Values
	Body   []byte
	Caller *auth.Identity

	ID        string // of the exchange
	Remote    string // client address
	ChangedBy string // litellm-changed-by
	Reason    string // x-sluice-reason
}

// Reply is the answer: a status, a JSON document, headers.
type Reply struct {
	Status  int
	Body    []byte
	Type    string // content type; "": application/json
	Headers []llm.Field
}

// Config is what an API is made from.
type Config struct {
	Store  *store.Store // nil: no database, every call says so
	Strict bool         // unknown body fields are errors
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now

	MaxKeyDays int // auth_key_max_expiration_days; 0: no bound
	KeyLength  int // LENGTH_OF_LITELLM_GENERATED_KEY, bytes; 0: 32
}

// API serves management calls. It is safe for concurrent use; one generation of
// the configuration has one.
type API struct {
	c Config
}

// handler answers one route. What it returns is marshalled as the answer's
// JSON, unless it is a Reply.
type handler func(a *API, c *Call) (any, *llm.Error)

// Call is one management call while it is served.
type Call struct {
	Request
	Ctx  context.Context
	Body Body // checked against Route.Body
	Now  time.Time

	ignored []string // body fields that nobody knows
}

// Actor is who the audit rows of this call name.
func (c *Call) Actor() store.Actor {
	return store.Actor{
		User: c.Caller.User, Key: string(c.Caller.KeyHash[:]), Claimed: c.ChangedBy,
		Source: c.Remote, RequestID: c.ID, Reason: c.Reason,
	}
}
