package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"sluice/proxy/auth"
	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/jsonscan"
	"sluice/proxy/limit"
	"sluice/proxy/money"
	"sluice/proxy/price"
	"sluice/proxy/provider"
	"sluice/proxy/route"
	"sluice/proxy/upstream"
	"sluice/supervisor/fleet"
)

// Log is where the line of an exchange goes. Emit must not keep attrs, nor what
// they point at.
type Log interface {
	// Level is the least level that is written.
	Level() slog.Level
	Emit(level slog.Level, message string, attrs []slog.Attr)
}

// Model is one deployment as it is configured.
type Model struct {
	Name     string // model_name
	ID       string // model_info.id; "" means a stable hash of Pairs
	Pairs    []route.Pair
	Params   provider.Params
	Upstream upstream.Options
	Client   []ClientParam // configurable_clientside_auth_params

	Weight, RPM, TPM int64
	Terms            ModelTerms
	Price            *price.Price // nil: nothing is known, nothing is charged
	// PriceOf is the price of each model of a deployment that has a '*' in its
	// name; nil where Price is that of all.
	PriceOf       func(t *provider.Target, model string) *price.Price
	Order         int
	Timeout       time.Duration // 0: the router's
	StreamTimeout time.Duration // 0: Timeout
	Retries       int           // negative: the router's
	Info          route.Limits  // what model_info says of it
	Team          string        // model_info.team_id: serves this team alone
	AccessGroups  []string      // model_info.access_groups
}

// ModelTerms are what a deployment may take and cost. nil: no bound.
type ModelTerms struct {
	Enforced    bool   // RPM and TPM are limits, beside being weights
	Parallel    *int64 // max_parallel_requests
	KeyRequests *int64 // default_api_key_rpm_limit
	KeyTokens   *int64 // default_api_key_tpm_limit
	Budget      *Budget
}

// Budget is an amount that may be spent over a window.
type Budget struct {
	Max      money.Nano
	Duration string // "": for all time
}

// Terms are what holds for all calls of a gateway. The zero value bounds
// nothing.
type Terms struct {
	Parallel     *int64            // global_max_parallel_requests; nil: no bound
	Budget       *Budget           // max_budget of everything; nil: none
	Providers    map[string]Budget // provider_budget_config
	Zone         *time.Location    // of budgets' windows; nil: UTC
	Optimistic   bool              // budget_mode: an average is reserved, nothing is capped
	BudgetStatus int               // of a refusal by a budget; 0: 429
	RejectTags   bool              // reject_clientside_metadata_tags
	NoRejects    bool              // disable_error_logs
	NoCustomers  bool              // disable_end_user_cost_tracking
	AgentTag     bool              // the client's program is a tag
	TagHeaders   []string          // extra_spend_tag_headers
	Keep         bool              // store_prompts_in_spend_logs
	IgnoreNoLog  bool              // global_disable_no_log_param
}

// Limits are the times and sizes of calls. Zero values mean the defaults.
type Limits struct {
	Request  time.Duration // request_timeout: the whole of an exchange, unless a call may take longer; 600 s
	Timeout  time.Duration // router timeout: one call; Request
	Stream   time.Duration // router stream_timeout: to a stream's first event; Timeout
	Connect  time.Duration // 5 s
	TLS      time.Duration // 5 s
	Idle     time.Duration // between bytes of a stream; 120 s
	Duration time.Duration // a whole stream; 1 h
	Answer   int           // bytes of a whole answer; 64 MiB
}

// Config is what a Gateway is made from.
type Config struct {
	Generation uint64
	Keys       *auth.Keys
	Models     []Model
	Aliases    map[string]route.Alias // model_group_alias
	Rewrite    map[string]string      // model_alias_map
	Force      string                 // completion_model
	Retries    int                    // num_retries; the caller knows the default of 2
	RetryAfter time.Duration          // retry_after: the least wait before a deployment is tried again
	Limits     Limits

	AlwaysUsage bool // always_include_stream_usage: pass usage chunks nobody asked for
	AllowMock   bool // dangerously_allow_mock_testing_request_params
	AllowClient bool // allow_client_side_credentials: as if each Model listed all of them
	Forward     Forward
	Lenient     bool // compat.lenient_json

	// What limits and charges calls, and where it is written down; of the
	// process. Each may be nil.
	Limiter *limit.Limiter
	Budgets *budget.Budgets
	Journal Journal
	Terms   Terms

	Agent   string          // User-Agent of calls; "sluice"
	Lookup  provider.Lookup // environment: default keys and addresses
	Pools   *upstream.Pools // outlives the generation
	Metrics *Metrics        // of the process
	Log     Log             // nil: no lines

	Now  func() int64          // fleet.Now's scale; nil: fleet.Now without a system call
	Rand func(n uint64) uint64 // nil: math/rand/v2
}

func (l *Limits) defaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&l.Request, 600*time.Second)
	set(&l.Timeout, l.Request)
	set(&l.Stream, l.Timeout)
	set(&l.Connect, 5*time.Second)
	set(&l.TLS, 5*time.Second)
	set(&l.Idle, 120*time.Second)
	set(&l.Duration, time.Hour)
	if l.Answer <= 0 {
		l.Answer = 64 << 20
	}
}

// New makes a gateway of a configuration. warnings are sentences to say once:
// deployments without a key. The error joins everything that is wrong.
func New(c Config) (g *Gateway, warnings []string, err error) {
	c.Limits.defaults()
	if c.Now == nil {
		base, offset := time.Now(), fleet.Now()
		c.Now = func() int64 { return offset + int64(time.Since(base)) }
	}
	if c.Rand == nil {
		c.Rand = rand.Uint64N
	}
	if c.Agent == "" {
		c.Agent = "sluice"
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	g = &Gateway{
		generation: c.Generation, keys: c.Keys, retryAfter: c.RetryAfter, forward: c.Forward, limits: c.Limits, lenient: c.Lenient, alwaysUsage: c.AlwaysUsage,
		allowMock: c.AllowMock, metrics: c.Metrics, log: c.Log, now: c.Now, rand: c.Rand,
		limiter: c.Limiter, budgets: c.Budgets, journal: c.Journal, terms: c.Terms, rejects: &c.Metrics.rejects,
	}
	if n := c.Terms.Parallel; n != nil {
		g.everybody = limit.NewRule(limit.ScopeProxy, "", limit.None, limit.None, *n)
	}
	var problems []error
	var ds []route.Deployment
	for _, m := range expandAny(c.Models, c.Lookup) {
		b, d, err := bind(&m, &c)
		if err != nil {
			problems = append(problems, fmt.Errorf("model_name %q: %w", m.Name, err))
			continue
		}
		if b.target.Missing != "" {
			warnings = append(warnings, fmt.Sprintf("model_name %q cannot be called: %s", m.Name, b.target.Missing))
		}
		g.bindings = append(g.bindings, b)
		ds = append(ds, d)
	}
	g.routes, err = route.New(route.Config{
		Deployments: ds, Aliases: c.Aliases, Rewrite: c.Rewrite, Force: c.Force, Retries: c.Retries, Rand: c.Rand, Now: c.Now,
	})
	if err = errors.Join(append(problems, err)...); err != nil {
		return nil, warnings, err
	}
	return g, warnings, nil
}

// expandAny replaces a deployment for any model ("*" without a provider) by one
// for each provider that the environment has a key of.
func expandAny(models []Model, lookup provider.Lookup) []Model {
	var out []Model
	for _, m := range models {
		if m.Params.Model != "*" || m.Params.Provider != "" {
			out = append(out, m)
			continue
		}
		for _, p := range provider.Patterns(lookup) {
			e := m
			e.Params.Model = p.Model
			if m.Name != "*" {
				e.Name = strings.Replace(m.Name, "*", p.Group, 1)
			} else {
				e.Name = p.Group
			}
			if e.ID != "" {
				e.ID += ":" + p.Group
			}
			e.Pairs = append(e.Pairs[:len(e.Pairs):len(e.Pairs)], route.Pair{Key: "model", Value: p.Model})
			out = append(out, e)
		}
	}
	return out
}

// binding is a deployment with all that a call to it needs, made once.
type binding struct {
	target   *provider.Target
	endpoint *upstream.Endpoint
	head     []byte // request line and headers of a call
	model    []byte // the provider's model name as JSON; nil if it has a '*'
	name     []byte // with prefix, for the answer's header; nil likewise
	id       []byte
	group    []byte
	base     []byte
	client   *clientSide // nil: clients bring nothing

	price       *price.Price
	prices      *priceList      // of models that a '*' stands for; nil: price is that of all
	rule        *limit.Rule     // of the deployment; nil: none
	budgets     []*budget.Limit // of the deployment, its provider, everything
	maxInput    int64           // tokens that a prompt may have; 0: not known
	maxOutput   int64           // tokens that the model gives at most; 0: not known
	keyRequests int64           // default limits of keys; limit.None: none
	keyTokens   int64
	average     *expectation
}

func bind(m *Model, c *Config) (*binding, route.Deployment, error) {
	t, err := provider.Bind(m.Params, c.Lookup)
	if err != nil {
		return nil, route.Deployment{}, err
	}
	d := route.Deployment{
		ID: m.ID, Group: m.Name, Provider: t.Provider, Model: t.Model, ModelName: t.ModelName, APIBase: t.Shown,
		Weight: m.Weight, RPM: m.RPM, TPM: m.TPM, Order: m.Order,
		Timeout: m.Timeout, StreamTimeout: m.StreamTimeout, Retries: m.Retries, Limits: m.Info,
		Team: m.Team, AccessGroups: m.AccessGroups,
	}
	if d.ID == "" {
		pairs := m.Pairs
		if pairs == nil {
			pairs = []route.Pair{{Key: "model", Value: m.Params.Model}, {Key: "api_base", Value: m.Params.APIBase}}
		}
		d.ID = route.StableID(m.Name, pairs)
	}
	b := &binding{target: t, id: []byte(d.ID), group: []byte(m.Name), base: []byte(t.Shown), client: newClientSide(m, c)}
	b.terms(m, &d, &c.Terms)
	if !d.Wildcard() {
		b.model, b.name = jsonscan.AppendString(nil, d.Model), []byte(d.ModelName)
	}
	if t.Mock != nil || t.Missing != "" {
		return b, d, nil
	}
	o := m.Upstream
	o.Credential = t.Identity()
	if b.endpoint, err = c.Pools.Endpoint(t.BaseURL, o); err != nil {
		return nil, d, fmt.Errorf("api_base: %w", err)
	}
	b.head = head(b.endpoint, t, c.Agent)
	return b, d, nil
}

// terms prepares what the deployment may take and cost.
func (b *binding) terms(m *Model, d *route.Deployment, all *Terms) {
	or := func(n *int64) int64 {
		if n == nil {
			return limit.None
		}
		return *n
	}
	if m.PriceOf != nil {
		b.prices = &priceList{of: func(model string) *price.Price { return m.PriceOf(b.target, model) }}
	}
	b.price, b.average = m.Price, &expectation{}
	b.maxInput, b.maxOutput = m.Info.MaxInput, m.Info.MaxOutput
	b.keyRequests, b.keyTokens = or(m.Terms.KeyRequests), or(m.Terms.KeyTokens)
	requests, tokens := int64(limit.None), int64(limit.None)
	if m.Terms.Enforced && m.RPM > 0 {
		requests = m.RPM
	}
	if m.Terms.Enforced && m.TPM > 0 {
		tokens = m.TPM
	}
	if r := limit.NewRule(limit.ScopeDeployment, d.ID, requests, tokens, or(m.Terms.Parallel)); r.Limits() {
		b.rule = r
	}
	add := func(kind bill.Kind, id string, of Budget) {
		b.budgets = append(b.budgets, budget.NewLimit(kind, id, of.Max, budget.None, of.Duration, time.Time{}, all.Zone))
	}
	if of, ok := all.Providers[d.Provider]; ok {
		add(bill.KindProvider, d.Provider, of)
	}
	if of := m.Terms.Budget; of != nil {
		add(bill.KindDeployment, d.ID, *of)
	}
	if all.Budget != nil {
		add(bill.KindProxy, "", *all.Budget)
	}
}

// head is the request line and the header lines that all calls to a deployment
// share. Lines of extra_headers replace ours of the same name.
func head(e *upstream.Endpoint, t *provider.Target, agent string) []byte {
	h := []byte("POST " + e.BasePath() + t.Path + " HTTP/1.1\r\nHost: " + e.Host() + "\r\n")
	lines := append([]provider.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "Accept", Value: "*/*"},
		{Name: "Accept-Encoding", Value: "identity"},
		{Name: "User-Agent", Value: agent},
	}, t.Headers...)
	for i, l := range lines {
		replaced := false
		for _, later := range lines[i+1:] {
			replaced = replaced || strings.EqualFold(later.Name, l.Name)
		}
		if !replaced {
			h = append(h, l.Name+": "+l.Value+"\r\n"...)
		}
	}
	return h
}
