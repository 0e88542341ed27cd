// Package gateway takes one exchange from a known caller to an answer. The
// order of things is the body of Do; what ends an exchange is Settle.
package gateway

import (
	"time"

	"sluice/proxy/auth"
	"sluice/proxy/identity"
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
	metrics     *Metrics
	log         Log
	now         func() int64
	rand        func(n uint64) uint64
}

// Generation is the number of the configuration.
func (g *Gateway) Generation() uint64 { return g.generation }

// Models lists the models that may be asked for. The slice is shared.
func (g *Gateway) Models() []route.ModelInfo { return g.routes.Models() }

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
	return err
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
	if err := g.permit(x); err != nil {
		return nil, x.fail(err)
	}
	if err := g.plan(x); err != nil {
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
	if !g.allowMock || x.Caller.Role != identity.RoleProxyAdmin {
		x.Request.Mock, x.Request.Test = nil, llm.MockTest{}
	}
	return nil
}

// plan finds the deployments that may answer.
func (g *Gateway) plan(x *Exchange) *llm.Error {
	if !g.routes.Plan(x.Request.Model, &x.plan) {
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
