// Package admin is the management API: LiteLLM's paths, shapes and statuses
// over the identity data. One file per noun; the order of a call is the body of
// Serve. It knows no HTTP library: package server hands it a Request.
package admin

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
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
	Err     *llm.Error // what was wrong, where the call was refused
}

// Config is what an API is made from.
type Config struct {
	Store  *store.Store // nil: no database, every call says so
	Strict bool         // unknown body fields are errors
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
	Zone   *time.Location   // of the calendar that budgets follow: litellm_settings.timezone; nil: UTC

	MaxKeyDays int // auth_key_max_expiration_days; 0: no bound
	KeyLength  int // LENGTH_OF_LITELLM_GENERATED_KEY, bytes; 0: 32

	Defaults       Defaults
	UpperBounds    identity.Fields // upperbound_key_generate_params: more is refused with 400, what is not given becomes the bound
	NoPersonalKeys bool            // default_team_disabled: every key belongs to a team
	ShortKeys      bool            // compat.short_custom_keys: chosen keys may be shorter than 24 characters
	StoreModels    bool            // store_model_in_db: models, credentials and settings may be kept in the database
	CustomerBudget string          // max_end_user_budget_id: the budget of customers that have none of their own
	Models         ModelConfig
	Providers      map[string]ProviderBudget // provider_budget_config
	Billers        map[string]Biller         // of /spend/capture_rate, by the names that it takes
	Docs           Docs
	// TeamAdminFields are what a team's admin may change of it: team_admin_editable_team_fields.
	TeamAdminFields []string
}

// Defaults are what a body leaves open, by the API's names of the fields.
type Defaults struct {
	Key  identity.Fields // default_key_generate_params
	User identity.Fields // default_internal_user_params
	Team identity.Fields // default_team_params
}

// API serves management calls. It is safe for concurrent use; one generation of
// the configuration has one.
type API struct {
	c        Config
	handlers map[string]handler
	spec     func() ([]byte, error) // the OpenAPI document

	passwords passwords
}

// New makes an API. It fails where a route of the table has no handler, or a
// handler no route.
func New(c Config) (*API, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	handlers, err := bound(access.Routes())
	if err != nil {
		return nil, err
	}
	return &API{
		c: c, handlers: handlers,
		spec:      sync.OnceValues(func() ([]byte, error) { return openAPI(&c.Docs, access.Routes()) }),
		passwords: passwords{memory: passwordMemory, passes: passwordPasses, one: make(chan struct{}, 1)},
	}, nil
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

	api      *API
	standing *access.Standing // once it was asked for
	ignored  []string         // body fields that nobody knows
}

// Actor is who the audit rows of this call name.
func (c *Call) Actor() store.Actor {
	return store.Actor{
		User: c.Caller.User, Key: string(c.Caller.KeyHash[:]), Claimed: c.ChangedBy,
		Source: c.Remote, RequestID: c.ID, Reason: c.Reason,
	}
}
