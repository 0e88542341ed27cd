package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// contain answers a panic of a handler with 500, settles the exchange and
// closes the connection. fasthttp recovers nothing: without it one request
// would end all of the worker's.
func (s *Server) contain(ctx *fasthttp.RequestCtx, c *conn, r any) int {
	s.panicked(r)
	ctx.Response.Reset()
	e := &llm.Error{Kind: llm.KindInternal, Message: "Internal server error.", Close: true}
	c.watch(nil)
	if k := c.call; k != nil {
		func() {
			defer func() {
				if again := recover(); again != nil { // Settle itself
					s.panicked(again)
					c.call = nil
				}
			}()
			s.refuse(ctx, c, k, e)
		}()
	} else {
		s.reply(ctx, nil, e)
	}
	return ctx.Response.StatusCode()
}

// panicText is what may be said of a panic: any value but an error or a text is
// named by its type, because it may hold anything.
func panicText(r any) string {
	switch r := r.(type) {
	case error:
		return r.Error()
	case string:
		return r
	default:
		return fmt.Sprintf("a value of type %T", r)
	}
}

// panicked counts and logs a panic. The stack is of code, not of data.
func (s *Server) panicked(r any) {
	n := s.own.Panics.Add(1)
	s.log.LogAttrs(context.Background(), slog.LevelError, "panic contained",
		slog.String("panic", panicText(r)), slog.String("stack", string(debug.Stack())))
	if s.c.Panicked != nil {
		s.c.Panicked(n)
	}
}
