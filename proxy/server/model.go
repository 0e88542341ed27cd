package server

import (
	"github.com/valyala/fasthttp"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// handle is fasthttp's handler: admission for requests whose body was not asked
// about before, then the route.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	c := ctx.Conn().(*conn) // every connection is ours
	defer func() {
		if r := recover(); r != nil {
			s.contain(ctx, c, r)
		}
	}()
	k := c.call
	if k == nil {
		k = s.admit(ctx, c, false)
	}
	if k.refusal != nil {
		if k.asked100 || k.length < 0 && k.head.framed {
			c.linger = true
			k.refusal = closing(k.refusal)
		}
		s.refuse(ctx, c, k, k.refusal)
		return
	}
	if k.length == chunked && !k.entry.body {
		ctx.SetConnectionClose() // nobody reads the body, so nobody checks its framing
		c.linger = true
	}
	s.bad.before(&ctx.Request.Header)
	k.entry.handle(s, ctx, c, k)
}

// model is one model call, from the admitted request to the answer.
func (s *Server) model(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	x := &k.x
	if e := s.readBody(ctx, c, k); e != nil {
		s.refuse(ctx, c, k, e)
		return
	}
	x.Body, x.Room, x.Lines = k.body, k, ctx.Request.Header.RawHeaders()
	if e := k.entry.speak.Decode(x.Body, x.PathModel, &x.Request); e != nil {
		s.refuse(ctx, c, k, e)
		return
	}
	c.become(phaseWork, s.clock.coarse.Load(), 0)
	c.watch(x)
	a, e := k.g.Do(x)
	if e != nil {
		c.watch(nil)
		s.refuse(ctx, c, k, e)
		return
	}
	s.answer(ctx, c, k, a)
}

// answer writes what the gateway brought. A whole answer is copied and settled
// here; a stream is settled when fasthttp closes it.
func (s *Server) answer(ctx *fasthttp.RequestCtx, c *conn, k *call, a *gateway.Answer) {
	r := &ctx.Response
	r.SetStatusCode(a.Status)
	r.Header.SetContentType(a.ContentType)
	s.standard(ctx, k)
	k.fields = setFields(&r.Header, k.fields, a.Header)
	c.become(phaseWrite, s.clock.coarse.Load(), 0)
	if a.Stream != nil {
		s.startStream(ctx, c, k, a.Stream)
		return
	}
	for _, piece := range a.Body {
		r.AppendBody(piece)
	}
	c.watch(nil)
	s.end(c, k)
}

// end settles a call, gives back what it holds and counts it. Nothing of the
// call may be used afterwards.
func (s *Server) end(c *conn, k *call) {
	c.call = nil
	c.owed += k.reserved
	k.reserved = 0
	if s.holds != nil {
		s.holds.Release(k.hold)
		k.hold = fleet.Hold{}
	}
	if k.identified || k.counted && k.g != nil {
		s.settle(c, k)
	}
	if k.counted {
		k.counted = false
		s.own.InFlight.Add(-1)
		total := s.own.Requests.Add(1)
		if s.c.Counted != nil {
			s.c.Counted(total)
		}
	}
	k.g, k.entry, k.refusal, k.allow, k.params = nil, nil, nil, "", nil
	k.asked100, k.old = false, false
	k.head = head{}
	k.x.PathModel, k.x.Body, k.x.Lines, k.x.CallID, k.x.Remote = nil, nil, nil, nil, nil
	if cap(k.body) > keptBody {
		k.body = nil
	}
	s.calls.Put(k)
}

// settle ends the exchange: every request has its metric and its line in the
// log, one that was refused before anybody knew who calls too.
func (s *Server) settle(c *conn, k *call) {
	if !k.identified {
		k.g.Note(&k.x)
	}
	k.identified = false
	if len(k.x.Remote) == 0 {
		k.x.Remote = c.text
	}
	k.x.Settle()
}

// refuse answers with an error and ends the call.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, c *conn, k *call, e *llm.Error) {
	if e.Close && k.length != 0 {
		c.linger = true
	}
	k.x.Err, k.x.Status = e, e.HTTPStatus()
	s.reply(ctx, k, e)
	c.become(phaseWrite, s.clock.coarse.Load(), 0)
	s.end(c, k)
}

// abandon ends a call whose connection broke before its handler ran.
func (c *conn) abandon() {
	if k := c.call; k != nil {
		c.watch(nil)
		c.s.end(c, k)
	}
}
