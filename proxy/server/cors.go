package server

import (
	"github.com/valyala/fasthttp"
)

var (
	keyAllowOrigin  = []byte("access-control-allow-origin")
	keyAllowMethods = []byte("access-control-allow-methods")
	keyAllowHeaders = []byte("access-control-allow-headers")
	keyExpose       = []byte("access-control-expose-headers")
	keyMaxAge       = []byte("access-control-max-age")
	keyCredentials  = []byte("access-control-allow-credentials")
	valueTrue       = []byte("true")
	valueAny        = []byte("*")
	valueMethods    = []byte("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
	valueMaxAge     = []byte("600")
	// With credentials a * would be a name like any other.
	valueExpose = []byte("retry-after, x-request-id, x-litellm-call-id, x-litellm-version, x-litellm-model-id, x-litellm-model-group, " +
		"x-litellm-model-name, x-litellm-attempted-retries, x-litellm-response-duration-ms, x-litellm-overhead-duration-ms, " +
		"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens")
)

// preflight is where CORS preflight requests go, whatever their path.
var preflight = entry{method: "OPTIONS", path: "preflight", handle: (*Server).preflight, public: true, probe: true}

// allowed is the value of Access-Control-Allow-Origin for an origin; nil means
// that it may not read. With * no credentials are ever allowed.
func (s *Server) allowed(origin []byte) []byte {
	if s.c.CORSOrigins == nil {
		return valueAny
	}
	for _, o := range s.c.CORSOrigins {
		if o == "*" {
			return valueAny
		}
		if o == string(origin) {
			return origin
		}
	}
	return nil
}

func (s *Server) cors(h *fasthttp.ResponseHeader, origin []byte) {
	v := s.allowed(origin)
	if v == nil {
		return
	}
	h.SetCanonical(keyAllowOrigin, v)
	if s.c.CORSCredentials && v[0] != '*' {
		h.SetCanonical(keyCredentials, valueTrue)
		h.SetCanonical(keyExpose, valueExpose)
		return
	}
	h.SetCanonical(keyExpose, valueAny)
}

func (s *Server) preflight(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	status := 400
	if s.allowed(k.head.origin) != nil {
		status = 200
		h := &ctx.Response.Header
		h.SetCanonical(keyAllowMethods, valueMethods)
		h.SetCanonical(keyMaxAge, valueMaxAge)
		if len(k.head.wantHeader) > 0 {
			h.SetCanonical(keyAllowHeaders, k.head.wantHeader)
		}
	}
	body := "OK"
	if status != 200 {
		body = "Disallowed CORS origin"
	}
	s.write(ctx, c, k, status, "text/plain; charset=utf-8", []byte(body))
}
