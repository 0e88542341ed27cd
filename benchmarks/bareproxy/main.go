// Command bareproxy is the least that a proxy on fasthttp can be: its server,
// its HostClient, and the provider's body streamed through. It is the line
// that the gateway's own work is measured from, and nothing to be used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/valyala/fasthttp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bareproxy:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("bareproxy", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on")
	upstream := flags.String("upstream", "127.0.0.1:9101", "address of the provider")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return usage(err)
	}
	client := &fasthttp.HostClient{
		Addr: *upstream, MaxConns: 100_000, StreamResponseBody: true, NoDefaultUserAgentHeader: true, MaxIdemponentCallAttempts: 1,
	}
	server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) { forward(client, ctx) }}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", *addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", *addr, err)
	}
	return server.Serve(ln)
}

// forward sends the request on and answers with what comes, as it comes.
func forward(client *fasthttp.HostClient, ctx *fasthttp.RequestCtx) {
	ctx.Request.Header.Del("Connection")
	res := fasthttp.AcquireResponse()
	res.StreamBody = true
	if err := client.Do(&ctx.Request, res); err != nil {
		fasthttp.ReleaseResponse(res)
		ctx.Error("upstream", fasthttp.StatusBadGateway)
		return
	}
	res.Header.Del("Connection")
	length := res.Header.ContentLength()
	res.Header.CopyTo(&ctx.Response.Header)
	if length >= 0 && length <= 64<<10 {
		body, err := io.ReadAll(res.BodyStream())
		if err != nil {
			ctx.Error("upstream", fasthttp.StatusBadGateway)
		} else {
			ctx.Response.SetBodyRaw(body)
		}
		fasthttp.ReleaseResponse(res)
		return
	}
	ctx.Response.ImmediateHeaderFlush = true
	ctx.Response.SetBodyStream(&body{res: res, r: res.BodyStream()}, -1)
}

// body gives the provider's response back when the stream is over.
type body struct {
	res *fasthttp.Response
	r   io.Reader
}

func (b *body) Read(p []byte) (int, error) { return b.r.Read(p) }

func (b *body) Close() error {
	err := b.res.CloseBodyStream()
	fasthttp.ReleaseResponse(b.res)
	return err
}

// usage makes the request for help no error.
func usage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}
