package server

import (
	"errors"
	"io"

	"github.com/valyala/fasthttp"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
)

// stream is the body of a streamed answer. It is part of its call. Nearly all go
// on aside of fasthttp (aside.go); after bodies in chunks and before pipelined
// requests fasthttp reads it, and closes it after the last byte or a failed write.
// Closing it settles the exchange.
type stream struct {
	s    *Server
	c    *conn
	k    *call
	in   gateway.Stream
	out  chunkWriter
	last bool // the connection ends with it
}

// What keeps caches and nginx from holding events back.
var (
	keyCache       = []byte("cache-control")
	valueCache     = []byte("no-cache")
	keyBuffering   = []byte("x-accel-buffering")
	valueBuffering = []byte("no")
)

// errWritten tells fasthttp that there is nothing left to write.
var errWritten = errors.New("stream was written")

// startStream answers with a stream. The gateway has its first event in hand,
// so the header waits for it and both leave in one write.
func (s *Server) startStream(ctx *fasthttp.RequestCtx, c *conn, k *call, in gateway.Stream) {
	st := &k.stream
	*st = stream{s: s, c: c, k: k, in: in}
	s.own.Streams.Add(1)
	ctx.Response.Header.SetCanonical(keyCache, valueCache)
	ctx.Response.Header.SetCanonical(keyBuffering, valueBuffering)
	s.bad.during(ctx, st)
	if !st.goAside(ctx) {
		ctx.SetBodyStream(st, -1)
	}
}

// Read passes on what the gateway's stream gives. Anything but io.EOF makes
// fasthttp leave the terminating chunk out and close.
func (st *stream) Read(p []byte) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			st.s.panicked(r)
			st.k.x.Err = &llm.Error{Kind: llm.KindInternal, Message: "Internal server error."}
			n = copy(p, st.k.entry.speak.StreamError(nil, st.k.x.Err))
			err = nil
			st.in = broken{st.in}
		}
	}()
	n, err = st.in.Read(p)
	if n > 0 && err != nil && !errors.Is(err, io.EOF) {
		st.in, err = broken{st.in}, nil // the bytes first, then the break
	}
	return n, err
}

// broken is a stream that has failed.
type broken struct{ gateway.Stream }

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Close ends the stream and settles the exchange.
func (st *stream) Close() error {
	s, c, k := st.s, st.c, st.k
	if k == nil {
		return nil
	}
	st.k = nil
	defer func() {
		if r := recover(); r != nil {
			s.panicked(r)
		}
	}()
	_ = st.in.Close()
	c.watch(nil)
	s.own.Streams.Add(-1)
	st.in = nil
	s.end(c, k)
	return nil
}
