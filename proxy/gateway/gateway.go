// Package gateway takes one exchange from a known caller to an answer. The
// order of things is the body of Do; what ends an exchange is Settle.
package gateway

import (
	"slices"
	"time"
	"unsafe"

	"sluice/proxy/auth"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/jsonscan"
	"sluice/proxy/limit"
	"sluice/proxy/llm"
	"sluice/proxy/route"
)

// Gateway is one generation of the configuration. It is immutable and safe for
// concurrent use; a reload makes a new one.
type Gateway struct {
	generation  uint64
	keys        *auth.Keys
	routes      *route.Table
	bindings    []*binding // by route.Deployment.Index
	limits      Limits
	retryAfter  time.Duration
	forward     Forward
	lenient     bool
	alwaysUsage bool
	allowMock   bool
	limiter     *limit.Limiter  // nil: nothing is limited
	budgets     *budget.Budgets // nil: nothing is bounded
	journal     Journal         // nil: nothing is written down
	terms       Terms
	everybody   *limit.Rule // global_max_parallel_requests; nil: none
	agents      agents
	rejects     *rejects // of the process
	metrics     *Metrics
	log         Log
	now         func() int64
	rand        func(n uint64) uint64
}

// Generation is the number of the configuration.
func (g *Gateway) Generation() uint64 { return g.generation }

// Models lists the models that may be asked for. The slice is shared.
func (g *Gateway) Models() []route.ModelInfo { return g.routes.Models() }

// ModelsOf lists the models that the caller of an exchange may ask for. The
// slice may be shared.
func (g *Gateway) ModelsOf(x *Exchange) []route.ModelInfo {
	all := g.routes.Models()
	if own := g.routes.OfTeam(x.Caller.Team); x.Caller.Team != "" && len(own) > 0 {
		all = slices.Concat(own, slices.DeleteFunc(slices.Clone(all), func(m route.ModelInfo) bool {
			return slices.ContainsFunc(own, func(o route.ModelInfo) bool { return o.ID == m.ID })
		}))
	}
	for i := range all {
		if !g.sees(x, &all[i]) {
			out := slices.Clone(all[:i])
			for _, m := range all[i+1:] {
				if g.sees(x, &m) {
					out = append(out, m)
				}
			}
			return out
		}
	}
	return all
}

func (g *Gateway) sees(x *Exchange, m *route.ModelInfo) bool {
	return g.keys.CanUse(&x.Caller, &auth.Model{Name: m.ID, Target: m.Group, Groups: m.AccessGroups})
}

// Model finds one model by its name.
func (g *Gateway) Model(name []byte) (route.ModelInfo, bool) { return g.routes.Model(name) }

// Identify says who calls, by the credential that the server found in the
// headers; nil if there is none. It is called before the body is read, and from
// it on the exchange must be settled.
func (g *Gateway) Identify(x *Exchange, key []byte) *llm.Error {
	x.g = g
	x.Request.Lenient = g.lenient
	caller, err := g.keys.Identify(key)
	x.Caller = caller
	if err != nil {
		return err
	}
	if err := g.keys.MayCome(&x.Caller, x.Remote); err != nil {
		return err
	}
	if x.Access != nil {
		return g.keys.MayCall(&x.Caller, x.Access)
	}
	return nil
}

// Note makes an exchange settle here that ended before Identify: one that was
// refused by its headers, or whose route is open to everyone.
func (g *Gateway) Note(x *Exchange) {
	x.g = g
	if x.Route == "" {
		x.Route = "None"
	}
}

// Do takes an exchange from the client's request to an answer that is ready to
// be written. Its body is the order of things; read it top to bottom. The
// caller calls x.Settle exactly once, whatever Do returns.
func (g *Gateway) Do(x *Exchange) (*Answer, *llm.Error) {
	x.g = g
	x.id = requestID(&x.ID)
	x.borrow()
	if err := g.permit(x); err != nil {
		return nil, x.fail(err)
	}
	if err := g.plan(x); err != nil {
		return nil, x.fail(err)
	}
	if err := g.admit(x); err != nil {
		return nil, x.fail(err)
	}
	if err := x.mockFailure(); err != nil {
		return nil, x.fail(err)
	}
	a, err := g.attempts(x)
	if err != nil {
		return nil, x.fail(err)
	}
	return a, nil
}

// permit says whether the caller may make this call at all.
func (g *Gateway) permit(x *Exchange) *llm.Error {
	if !x.Caller.Known {
		return &llm.Error{
			Kind: llm.KindAuth, Type: "auth_error", Param: "None",
			Message: "Authentication Error, this key may not call models.",
		}
	}
	if err := g.customer(x); err != nil {
		return err
	}
	if !g.allowMock || x.Caller.Role != identity.RoleProxyAdmin {
		x.Request.Mock, x.Request.Test = nil, llm.MockTest{}
	}
	return nil
}

// customer finds the end user that the request is for: a header names it, or
// the body.
func (g *Gateway) customer(x *Exchange) *llm.Error {
	id := x.EndUser
	for _, name := range customerFields {
		if len(id) > 0 {
			break
		}
		if m := x.Request.Find(name); m != nil && m.Kind == llm.JSONString {
			id, x.Request.Scratch = jsonscan.Text(x.Request.Scratch, x.Body, m.Value)
		}
	}
	x.EndUser = id
	return g.keys.MayServe(id)
}

// customerFields are the fields of a body that name its end user, in LiteLLM's
// order.
var customerFields = [...]string{"user", "safety_identifier"}

// wanted is the model that a request asks for, after the aliases of its key and
// team.
func (x *Exchange) wanted() []byte {
	if target, ok := x.Caller.ModelAlias(x.Request.Model); ok {
		return unsafe.Slice(unsafe.StringData(target), len(target)) // nobody writes to it
	}
	return x.Request.Model
}

// plan finds the deployments that may answer, if the caller may use the model.
// A model that nobody serves is refused like one that is not allowed, where the
// caller may not use every model.
func (g *Gateway) plan(x *Exchange) *llm.Error {
	model := x.wanted()
	served := g.routes.Plan(model, x.Caller.Team, &x.plan)
	x.wants = auth.Model{Name: view(model)}
	if served {
		x.wants.Target, x.wants.Groups = x.plan.Group.Name, x.plan.Group.AccessGroups
	}
	if err := g.keys.MayUse(&x.Caller, &x.wants); err != nil {
		return err
	}
	if !served {
		return &llm.Error{
			Kind: llm.KindBadRequest,
			Message: x.Route + ": Invalid model name passed in model=" + printable(x.Request.Model) +
				". Call `/v1/models` to view available models for your key.",
		}
	}
	if x.Request.Credential != "" {
		if err := g.brings(x); err != nil {
			return err
		}
	}
	x.plan.Group.Count()
	x.Model = x.plan.Group.Name
	if x.Caller.Unavailable {
		g.keys.Record(&x.Caller, view(x.ID[:]), x.Model)
	}
	longest := max(g.limits.Request, g.limits.Timeout, x.plan.Group.Timeout)
	x.deadline = x.Start + int64(longest)
	if asked := x.asked(); asked > longest {
		x.deadline = x.Start + int64(min(asked, maxAsked))
	}
	return nil
}

// maxAsked bounds what a client may ask for in seconds.
const maxAsked = time.Hour

// printable is a name from a client as an error may repeat it.
func printable(name []byte) string {
	const most = 200
	s := string(name[:min(len(name), most)])
	if len(name) > most {
		s += "…"
	}
	return s
}
