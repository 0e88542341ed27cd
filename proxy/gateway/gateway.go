// Package gateway takes one exchange from a known caller to an answer. The
// order of things is the body of Do; what ends an exchange is Settle.
package gateway

import (
	"sluice/proxy/auth"
	"sluice/proxy/llm"
	"sluice/proxy/route"
)

// Gateway is one generation of the configuration. It is immutable and safe for
// concurrent use; a reload makes a new one.
type Gateway struct {
	generation uint64
	keys       *auth.Keys
	routes     *route.Table
	lenient    bool
}

// Generation is the number of the configuration.
func (g *Gateway) Generation() uint64 { return g.generation }

// Models lists the models that may be asked for. The slice is shared.
func (g *Gateway) Models() []route.ModelInfo { return g.routes.Models() }

// Model finds one model by its name.
func (g *Gateway) Model(name []byte) (route.ModelInfo, bool) { return g.routes.Model(name) }

// Identify says who calls, by the credential that the server found in the
// headers; nil if there is none. It is called before the body is read.
func (g *Gateway) Identify(x *Exchange, key []byte) *llm.Error {
	x.Request.Lenient = g.lenient
	caller, err := g.keys.Identify(key)
	x.Caller = caller
	return err
}

// Do takes an exchange from the client's request to an answer that is ready to
// be written. The caller calls x.Settle exactly once, whatever Do returns.
func (g *Gateway) Do(x *Exchange) (*Answer, *llm.Error) {
	return nil, &llm.Error{Kind: llm.KindNotFound, Message: "no deployment serves this model"}
}

// Settle ends the exchange. It is called exactly once, whatever happened.
func (x *Exchange) Settle() {}
