package server

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// keptBody is the largest body buffer that goes back to the pool with its call.
const keptBody = 64 << 10

// bodyStep is by how much the buffer of a chunked body grows.
const bodyStep = 64 << 10

// reserve takes n bytes of the worker's body allowance.
func (s *Server) reserve(k *call, n int64) *llm.Error {
	if s.bodies.Add(n) > s.c.BodyAllowance {
		s.bodies.Add(-n)
		return &llm.Error{
			Kind: llm.KindUnavailable, RetryAfter: time.Second,
			Message: "Too many request bytes are in memory; try again.",
		}
	}
	k.reserved += n
	return nil
}

func (r *Rules) tooLarge(n int64) *llm.Error {
	m := "Request size is too large. Max size is " + megabytes(r.MaxBody) + " MB"
	if n > 0 {
		m = "Request size is too large. Request size is " + megabytes(n) + " MB. Max size is " + megabytes(r.MaxBody) + " MB"
	}
	return &llm.Error{Kind: llm.KindTooLarge, Status: 413, Type: "bad_request_error", Param: "content-length", Message: m}
}

func megabytes(n int64) string { return strconv.FormatFloat(float64(n)/(1<<20), 'f', -1, 64) }

// Take implements upstream.Room: a large answer counts like a request's body.
func (k *call) Take(n int64) bool { return k.s.reserve(k, n) == nil }

// free gives the allowance back that the connection's last call had taken: its
// answer is written.
func (c *conn) free() {
	if c.owed > 0 {
		c.s.bodies.Add(-c.owed)
		c.owed = 0
	}
}

// readBody reads the whole body into the call's buffer.
func (s *Server) readBody(ctx *fasthttp.RequestCtx, c *conn, k *call) *llm.Error {
	in := ctx.RequestBodyStream()
	k.body = k.body[:0]
	if in == nil || k.length == 0 {
		return nil
	}
	if k.length > 0 {
		return s.readKnown(in, k)
	}
	if e := c.watchChunks(ctx, ctx.Request.Header.RawHeaders()); e != nil {
		return e
	}
	c.become(phaseBody, s.clock.coarse.Load(), bodyBase)
	limit := c.limit.Load()
	for {
		if len(k.body) == cap(k.body) || cap(k.body) == 0 {
			if int64(cap(k.body))+bodyStep > k.reserved {
				if e := s.reserve(k, bodyStep+int64(cap(k.body))); e != nil {
					return closing(e)
				}
			}
			k.body = append(make([]byte, 0, 2*cap(k.body)+bodyStep), k.body...)
		}
		// One byte beyond the bound shows a body too large before its chunk ends.
		n, err := in.Read(k.body[len(k.body):min(int64(cap(k.body)), k.rules.MaxBody+1)])
		k.body = k.body[:len(k.body)+n]
		c.limit.Store(limit + int64(len(k.body))*int64(time.Second/bodyRate))
		if int64(len(k.body)) > k.rules.MaxBody {
			c.linger = true
			return closing(k.rules.tooLarge(0))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bodyError(err)
		}
	}
}

func (s *Server) readKnown(in io.Reader, k *call) *llm.Error {
	if int64(cap(k.body)) < k.length {
		k.body = make([]byte, 0, k.length)
	}
	buf := k.body[:k.length]
	done := 0
	for done < len(buf) {
		n, err := in.Read(buf[done:])
		done += n
		if err != nil && done < len(buf) {
			return bodyError(err)
		}
	}
	k.body = buf
	return nil
}

// bodyError is what a body that could not be read means to its client.
func bodyError(err error) *llm.Error {
	if isTimeout(err) {
		return &llm.Error{
			Kind: llm.KindTimeout, Status: 408, Type: "invalid_request_error",
			Message: "The request body did not arrive in time.", Close: true, Err: err,
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &llm.Error{Kind: llm.KindClientGone, Message: "The request body was cut short.", Close: true, Err: err}
	}
	return &llm.Error{
		Kind: llm.KindBadRequest, Type: "invalid_request_error",
		Message: "The request body is not framed as HTTP/1.1 asks for.", Close: true, Err: err,
	}
}
