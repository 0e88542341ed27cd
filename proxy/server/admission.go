package server

import (
	"bytes"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// call is the server's side of one request, pooled. It holds the exchange.
type call struct {
	s       *Server
	x       gateway.Exchange
	g       Gateway // the generation of the configuration that it began with
	rules   *Rules  // of the same
	entry   *entry
	head    head
	refusal *llm.Error // what admission said; nil means come in
	allow   string     // for a 405

	old        bool // HTTP/1.0
	asked100   bool // the client itself waits for 100 Continue
	counted    bool
	identified bool // the exchange must be settled
	length     int64
	reserved   int64      // of the body allowance
	hold       fleet.Hold // of limit_concurrency
	body       []byte
	param      []byte            // decoded {model}
	params     map[string]string // decoded, of a management route
	remote     []byte
	fields     []byte // of the answer's header, where they are made
	stream     stream
}

// The value of the Expect header that headerReceived plants. Its spelling
// remembers the protocol version.
const (
	planted   = "100-continue"
	plantedIn = "100-CONTINUE" // the request was HTTP/1.0
)

var (
	expectKey = []byte("Expect")
	newValue  = []byte(planted)
	oldValue  = []byte(plantedIn)
)

// headerReceived makes fasthttp ask expect before it reads a body byte. Left
// alone it waits for up to 8 KiB of a body before the handler sees the headers,
// so that a stranger could make it wait. The client's own Expect is read from
// the raw header lines.
func headerReceived(h *fasthttp.RequestHeader) (cfg fasthttp.RequestConfig) {
	if h.ContentLength() <= 0 {
		return cfg
	}
	if h.IsHTTP11() {
		h.SetCanonical(expectKey, newValue)
		return cfg
	}
	if string(h.Protocol()) != "HTTP/1.0" {
		return cfg // refused by check
	}
	h.SetProtocol("HTTP/1.1")
	h.SetCanonical(expectKey, oldValue)
	return cfg
}

// expect admits a request whose body has a known length, before it is read.
// fasthttp goes on with the body at 100 and answers and closes at anything
// else.
func (s *Server) expect(ctx *fasthttp.RequestCtx) (status int) {
	c := ctx.Conn().(*conn) // every connection is ours
	defer func() {
		if r := recover(); r != nil {
			status = s.contain(ctx, c, r)
		}
	}()
	h := &ctx.Request.Header
	old := h.ContentLength() > 0 && string(h.PeekBytes(expectKey)) == plantedIn
	if old {
		h.SetProtocol("HTTP/1.0")
	}
	k := s.admit(ctx, c, old)
	now := s.clock.coarse.Load()
	if k.refusal != nil {
		if k.refusal.Close || k.asked100 || k.length > keepUnread {
			k.refusal = closing(k.refusal)
			c.linger = true
			s.refuse(ctx, c, k, k.refusal)
			return ctx.Response.StatusCode()
		}
		c.become(phaseBody, now, refusedDrain)
		c.swallow = true
		return fasthttp.StatusContinue
	}
	c.swallow = !k.asked100
	c.become(phaseBody, now, bodyBase+time.Duration(k.length)*time.Second/bodyRate)
	return fasthttp.StatusContinue
}

// closing is e with the connection closed after it.
func closing(e *llm.Error) *llm.Error {
	if e.Close {
		return e
	}
	d := *e
	d.Close = true
	return &d
}

// admit takes a request in by its headers alone: framing, path, who calls,
// size. What it decides stands in the call that it returns.
func (s *Server) admit(ctx *fasthttp.RequestCtx, c *conn, old bool) *call {
	k := s.take(c)
	k.old = old || !ctx.Request.Header.IsHTTP11()
	k.length = int64(ctx.Request.Header.ContentLength())
	c.sized(&ctx.Request.Header, k.length)
	k.refusal = s.check(ctx, c, k)
	if !c.private && (k.entry == nil || !k.entry.probe) {
		s.count(k)
	}
	return k
}

// count makes the call one of those in flight.
func (s *Server) count(k *call) {
	k.counted = true
	s.own.InFlight.Add(1)
}

// take begins the connection's next call.
func (s *Server) take(c *conn) *call {
	k := s.calls.Get().(*call)
	c.call = k
	t := time.Now()
	k.x.Reset()
	mintID(&k.x.ID, t)
	k.x.Start = s.clock.at(t)
	k.x.CallID = k.x.ID[:]
	now := s.gateway.Load()
	k.g, k.rules, k.length = now.Gateway, now.rules, 0
	return k
}

func (s *Server) check(ctx *fasthttp.RequestCtx, c *conn, k *call) *llm.Error {
	h := &ctx.Request.Header
	if e := k.head.scan(h.RawHeaders(), k.rules.KeyHeader); e != nil {
		return e
	}
	if c.bareLine {
		return brokenRequest("The request line must end with CR and LF.")
	}
	if v := string(h.Protocol()); v != "HTTP/1.1" && v != "HTTP/1.0" {
		return brokenRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
	}
	if e := s.expectation(k); e != nil {
		return e
	}
	if len(k.head.callID) > 0 {
		k.x.CallID = k.head.callID
	}
	path, e := pathOf(h.RequestURI())
	if e != nil {
		return e
	}
	if e := s.routed(k, h.Method(), path); e != nil {
		return e
	}
	k.remote = append(k.remote[:0], c.client(&k.head, k.rules.IgnoreForwarded)...)
	k.x.Remote = k.remote
	if e := s.identify(c, k); e != nil {
		return e
	}
	if !k.entry.body {
		return nil
	}
	if k.entry.model {
		if e := s.holdPlace(k); e != nil {
			return e
		}
	}
	return s.bodyWelcome(k)
}

// holdPlace takes one of the host's places for a model call. A worker that dies
// gives its places back through the holder area.
func (s *Server) holdPlace(k *call) *llm.Error {
	if s.holds == nil {
		return nil
	}
	var ok bool
	if k.hold, ok = s.holds.Acquire(fleet.CellInFlight, 1, s.c.Concurrency); ok {
		return nil
	}
	return &llm.Error{
		Kind: llm.KindUnavailable, Type: "overloaded_error", RetryAfter: time.Second,
		Message: "The gateway serves as many requests at once as limit_concurrency allows. Try again shortly.",
	}
}

// expectation refuses what the framing headers ask for and we do not do.
func (s *Server) expectation(k *call) *llm.Error {
	if len(k.head.expect) > 0 && !k.old {
		if !equalFold(k.head.expect, planted) {
			return &llm.Error{
				Kind: llm.KindBadRequest, Status: 417, Type: "invalid_request_error",
				Message: "The only expectation that is met is 100-continue.", Close: true,
			}
		}
		k.asked100 = true
	}
	if len(k.head.coding) > 0 && !equalFold(k.head.coding, "identity") {
		return &llm.Error{
			Kind: llm.KindBadRequest, Status: 415, Type: "invalid_request_error",
			Message: "Compressed request bodies are not accepted.",
		}
	}
	return nil
}

// routed finds the entry and the model of the path.
func (s *Server) routed(k *call, method, path []byte) *llm.Error {
	if k.head.wantMethod != nil && k.head.origin != nil && string(method) == "OPTIONS" {
		k.entry = &preflight
		return nil
	}
	if !knownMethod(method) {
		return wrongMethod()
	}
	p, e, param := s.routes.find(method, path)
	if p == nil {
		return notFound()
	}
	if k.entry = e; e == nil {
		k.allow = p.allow
		return wrongMethod()
	}
	if len(k.rules.Disabled) > 0 && k.rules.disabled(e.row) {
		k.entry = nil
		return notFound()
	}
	k.x.Route = k.entry.path
	k.x.Dialect = k.entry.speak
	var ok bool
	if p.segments != nil {
		if k.params, ok = e.params(s.routes.strip(path)); !ok {
			k.entry = nil
			return notFound()
		}
		return nil
	}
	if param == nil {
		return nil
	}
	if k.param, ok = unescape(k.param[:0], param); !ok {
		k.entry = nil
		return notFound()
	}
	k.x.PathModel = k.param
	return nil
}

func knownMethod(m []byte) bool {
	switch string(m) {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// identify asks the gateway who calls. Routes on the private socket ask for no
// key where the entry is a probe.
func (s *Server) identify(c *conn, k *call) *llm.Error {
	open := k.entry.public
	if k.rules.MetricsAuth && !c.private && strings.HasPrefix(k.entry.path, "/metrics") {
		open = false
	}
	if open {
		return nil
	}
	if k.g == nil {
		return &llm.Error{Kind: llm.KindUnavailable, Message: "The gateway is starting.", RetryAfter: time.Second}
	}
	if k.head.malformed {
		return &llm.Error{
			Kind: llm.KindAuth, Type: "auth_error", Param: "None",
			Message: "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.",
		}
	}
	k.x.Asked, k.x.Said, k.x.Access, k.x.EndUser = k.head.asked, k.head.said, k.entry.row, k.head.endUser
	k.identified = k.entry.model // settled from here on, refused or not
	return k.g.Identify(&k.x, k.head.key)
}

// bodyWelcome decides on a body before a byte of it is read.
func (s *Server) bodyWelcome(k *call) *llm.Error {
	if e := mediaTypeOK(k.head.mediaType); e != nil {
		return e
	}
	if k.length > k.rules.MaxBody {
		return k.rules.tooLarge(k.length)
	}
	if k.length > 0 {
		return s.reserve(k, k.length)
	}
	return nil
}

// mediaTypeOK refuses a body that names another format than JSON. One that
// names none is read as JSON.
func mediaTypeOK(v []byte) *llm.Error {
	t, _, _ := bytes.Cut(v, []byte(";"))
	t = trimOWS(t)
	if len(t) == 0 || equalFold(t, "application/json") {
		return nil
	}
	main, sub, _ := bytes.Cut(t, []byte("/"))
	other := equalFold(main, "multipart") || equalFold(main, "image") || equalFold(main, "audio") ||
		equalFold(main, "video") || equalFold(main, "text") && !equalFold(sub, "json") ||
		equalFold(t, "application/x-www-form-urlencoded") || equalFold(t, "application/xml")
	if !other {
		return nil
	}
	return &llm.Error{
		Kind: llm.KindBadRequest, Type: "invalid_request_error", Param: "request_body",
		Message: "The request body must be JSON: send it with Content-Type: application/json.",
	}
}
