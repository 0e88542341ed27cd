package server

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/proxy/dialect"
	"sluice/proxy/llm"
)

// Names and values of the headers that every answer carries.
var (
	keyRequestID = []byte("x-request-id")
	keyCallID    = []byte("x-litellm-call-id")
	keyVersion   = []byte("x-litellm-version")
	keyVary      = []byte("vary")
	keyFrame     = []byte("x-frame-options")
	keyPolicy    = []byte("content-security-policy")
	keySniff     = []byte("x-content-type-options")
	keyAllow     = []byte("allow")
	keyRetry     = []byte("retry-after")

	valueVary   = []byte("Origin")
	valueFrame  = []byte("DENY")
	valuePolicy = []byte("frame-ancestors 'none'")
	valueSniff  = []byte("nosniff")
)

const jsonType = "application/json"

// standard sets the headers of every answer.
func (s *Server) standard(ctx *fasthttp.RequestCtx, k *call) {
	h := &ctx.Response.Header
	h.SetCanonical(keyRequestID, k.x.ID[:])
	h.SetCanonical(keyCallID, k.x.CallID)
	k.fields = s.guard(ctx, k.head.origin, k.fields)
	if s.closing() {
		ctx.SetConnectionClose()
	}
}

// guard sets the headers that do not depend on a call. scratch is used and
// returned.
func (s *Server) guard(ctx *fasthttp.RequestCtx, origin, scratch []byte) []byte {
	h := &ctx.Response.Header
	scratch = setFields(h, scratch, s.same)
	h.SetCanonical(keyPolicy, valuePolicy) // a page may have one of its own
	if len(origin) > 0 {
		s.cors(h, origin)
	}
	return scratch
}

// reply is the only place that turns an error into an answer. k may be nil
// where no request could be read.
func (s *Server) reply(ctx *fasthttp.RequestCtx, k *call, e *llm.Error) {
	r := &ctx.Response
	r.SetStatusCode(e.HTTPStatus())
	r.Header.SetContentType(jsonType)
	speak := dialect.OpenAIChat()
	if k != nil {
		s.standard(ctx, k)
		for i := range k.x.Header {
			r.Header.SetCanonical(k.x.Header[i].Name, k.x.Header[i].Value)
		}
		if k.allow != "" {
			r.Header.SetCanonical(keyAllow, []byte(k.allow))
		}
		if k.entry != nil && k.entry.speak != nil {
			speak = k.entry.speak
		}
	} else {
		var id [36]byte
		mintID(&id, time.Now())
		r.Header.SetCanonical(keyRequestID, id[:])
		s.guard(ctx, nil, nil)
	}
	if e.RetryAfter > 0 {
		secs := int64((e.RetryAfter + time.Second - 1) / time.Second)
		r.Header.SetCanonical(keyRetry, strconv.AppendInt(nil, secs, 10))
	}
	if e.Close {
		ctx.SetConnectionClose()
	}
	r.SetBody(speak.Error(nil, e))
}

// broken is fasthttp's error handler: the request could not be read. Where
// admission had already refused it, that stays the answer.
func (s *Server) broken(ctx *fasthttp.RequestCtx, err error) {
	c := ctx.Conn().(*conn) // every connection is ours
	defer func() {
		if r := recover(); r != nil {
			s.contain(ctx, c, r)
		}
	}()
	c.linger = true
	if k := c.call; k != nil {
		e := k.refusal
		if e == nil {
			e = bodyError(err)
		}
		s.refuse(ctx, c, k, closing(e))
		return
	}
	k := s.take(c)
	if !c.private {
		s.count(k)
	}
	s.refuse(ctx, c, k, s.unreadable(c, err))
}

// unreadable says what is wrong with headers that fasthttp did not accept.
func (s *Server) unreadable(c *conn, err error) *llm.Error {
	e := brokenRequest("The request is not HTTP/1.1 as RFC 9112 defines it.")
	e.Err = err
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small) && !c.lineSeen:
		e.Kind, e.Status, e.Message = llm.KindTooLarge, 414, "The request target is longer than 8192 bytes."
	case errors.As(err, &small):
		e.Kind, e.Status, e.Message = llm.KindTooLarge, 431, "The headers are larger than 32768 bytes."
	case isTimeout(err):
		e.Kind, e.Status, e.Message = llm.KindTimeout, 408, "The request did not arrive in time."
	}
	return e
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// writeJSON answers 200 with a document of ours and ends the call.
func (s *Server) writeJSON(ctx *fasthttp.RequestCtx, c *conn, k *call, status int, body []byte) {
	s.write(ctx, c, k, status, jsonType, body)
}

func (s *Server) write(ctx *fasthttp.RequestCtx, c *conn, k *call, status int, contentType string, body []byte) {
	k.x.Status = status
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType(contentType)
	s.standard(ctx, k)
	ctx.Response.SetBody(body)
	c.become(phaseWrite, s.clock.coarse.Load(), 0)
	s.end(c, k)
}

// appendQuoted writes a JSON string. Model names are valid UTF-8 from the
// configuration; other bytes become U+FFFD by the reader's rules.
func appendQuoted(dst []byte, v string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(v); i++ {
		switch b := v[i]; {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', "0123456789abcdef"[b>>4], "0123456789abcdef"[b&15])
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}

// queryFlag reports whether the query string sets a parameter to true.
func queryFlag(target []byte, name string) bool {
	_, query, _ := bytes.Cut(target, []byte("?"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		n, v, _ := bytes.Cut(pair, []byte("="))
		if string(n) == name {
			return equalFold(v, "true") || string(v) == "1"
		}
	}
	return false
}
