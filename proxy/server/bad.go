//go:build sluicebad

package server

import (
	"os"

	"github.com/valyala/fasthttp"

	"sluice/proxy/gateway"
)

// badness is the known-bad behaviour that the tests of recycling must catch.
// SLUICE_TEST_BAD names it: shutdown-drain closes idle connections at once, as
// fasthttp's Shutdown does; own-listener is a worker that binds its own
// listener and closes it when it stops. X-Sluice-Panic asks for a panic.
type badness struct{ name string }

func readBadness() badness { return badness{os.Getenv("SLUICE_TEST_BAD")} } //nolint:forbidigo // test builds only

func (b badness) shutdown() bool { return b.name == "shutdown-drain" }

func (badness) before(h *fasthttp.RequestHeader) {
	if string(h.Peek("X-Sluice-Panic")) == "before" {
		panic("asked for: before the answer")
	}
}

func (badness) during(ctx *fasthttp.RequestCtx, st *stream) {
	if string(ctx.Request.Header.Peek("X-Sluice-Panic")) == "during" {
		st.in = panicking{st.in}
	}
}

type panicking struct{ gateway.Stream }

func (panicking) Read([]byte) (int, error) { panic("asked for: during the answer") }
