package server

import (
	"strconv"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
	"sluice/proxy/route"
)

// models is GET /v1/models: what the caller may use. Patterns are listed when
// return_wildcard_routes asks for them.
func (s *Server) models(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	wild := queryFlag(ctx.Request.Header.RequestURI(), "return_wildcard_routes")
	b := append([]byte(nil), `{"data":[`...)
	first := true
	for _, m := range k.g.ModelsOf(&k.x) {
		if m.Wildcard && !wild {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendModel(b, m)
	}
	s.writeJSON(ctx, c, k, 200, append(b, `],"object":"list"}`...))
}

// oneModel is GET /v1/models/{model}.
func (s *Server) oneModel(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	for _, m := range k.g.ModelsOf(&k.x) {
		if m.ID == string(k.param) && !m.Wildcard {
			s.writeJSON(ctx, c, k, 200, appendModel(nil, m))
			return
		}
	}
	s.refuse(ctx, c, k, &llm.Error{
		Kind: llm.KindNotFound, Status: 404, Type: "invalid_request_error",
		Param: "model", Code: "model_not_found", Message: "The model `" + string(k.param) + "` does not exist.",
	})
}

func appendModel(b []byte, m route.ModelInfo) []byte {
	b = append(b, `{"id":`...)
	b = appendQuoted(b, m.ID)
	b = append(b, `,"object":"model","created":`...)
	b = strconv.AppendInt(b, m.Created, 10)
	b = append(b, `,"owned_by":`...)
	b = appendQuoted(b, m.OwnedBy)
	if m.Mode != "" {
		b = appendQuoted(append(b, `,"mode":`...), m.Mode)
	}
	if m.MaxInput > 0 {
		b = strconv.AppendInt(append(b, `,"max_input_tokens":`...), m.MaxInput, 10)
	}
	if m.MaxOutput > 0 {
		b = strconv.AppendInt(append(b, `,"max_output_tokens":`...), m.MaxOutput, 10)
	}
	return append(b, '}')
}
