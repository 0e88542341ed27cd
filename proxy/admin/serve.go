package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/llm"
)

// callTime is how long a management call may take.
const callTime = 10 * time.Second

// Serve answers one management call. The caller is known and its key may call
// the route; what it may do is decided here, by the database as it is now.
func (a *API) Serve(ctx context.Context, r *Request) Reply {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c := &Call{Request: *r, Ctx: ctx, Now: a.c.Now().UTC(), api: a}
	v, e := a.serve(c)
	if e != nil && ctx.Err() != nil {
		e = c.late(e)
	}
	if e != nil {
		return c.refused(e)
	}
	return a.answered(c, v)
}

// serve is the order of a management call.
func (a *API) serve(c *Call) (any, *llm.Error) {
	if !c.Route.Public && (c.Caller == nil || !c.Caller.Known) {
		return nil, nobody()
	}
	if c.Route.Later != "" {
		return nil, later(c.Route)
	}
	if a.c.Store == nil && !c.Route.NoDatabase {
		return nil, noDatabase(c.Route)
	}
	var e *llm.Error
	if c.Body, e = decode(c.Request.Body); e != nil {
		return nil, e
	}
	if e = c.mayCall(); e != nil {
		return nil, e
	}
	if e = checkQuery(c.Route.Query, c.Query); e != nil {
		return nil, e
	}
	if c.ignored, e = c.Body.check(c.Route.Body, "body"); e != nil {
		return nil, e
	}
	if len(c.ignored) > 0 && a.c.Strict {
		return nil, badRequest("The request has fields that are not known: "+strings.Join(c.ignored, ", ")+
			". Leave them out, or start without --strict.", c.ignored[0])
	}
	return a.handlers[c.Route.Method+" "+c.Route.Path](a, c)
}

// nobody is the answer to a call that nobody proved to be theirs. The server
// lets none through; what stands behind it does not rely on that.
func nobody() *llm.Error {
	return &llm.Error{
		Kind: llm.KindAuth, Type: "auth_error", Param: "None", Message: "Authentication Error, No api key passed in.",
	}
}

// mayCall refuses a caller whom no column of the route's actions ever allows.
func (c *Call) mayCall() *llm.Error {
	if len(c.Route.Actions) == 0 {
		return nil
	}
	who, e := c.Standing()
	if e != nil {
		return e
	}
	return refusal(access.Possible(c.Route.Actions, who, c.Route.Path))
}

// answered marshals what a handler returned.
func (a *API) answered(c *Call, v any) Reply {
	r, ready := v.(Reply)
	if !ready {
		var b bytes.Buffer
		out := json.NewEncoder(&b)
		out.SetEscapeHTML(false)
		if err := out.Encode(v); err != nil {
			a.c.Log.Error("management answer cannot be written", slog.String("route", c.Route.Path), slog.Any("error", err))
			return c.refused(&llm.Error{Kind: llm.KindInternal, Message: "Internal server error.", Err: err})
		}
		r = Reply{Body: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
	}
	if r.Status == 0 {
		r.Status = 200
	}
	r.Headers = append(r.Headers, c.notes()...)
	return r
}

// refused is the answer to a call that failed.
func (c *Call) refused(e *llm.Error) Reply {
	r := Reply{Status: e.HTTPStatus(), Body: e.Body, Err: e, Headers: c.notes()}
	if e.RetryAfter > 0 {
		secs := int64((e.RetryAfter + time.Second - 1) / time.Second)
		r.Headers = append(r.Headers, llm.Field{Name: []byte("retry-after"), Value: strconv.AppendInt(nil, secs, 10)})
	}
	if r.Body != nil {
		return r
	}
	var doc struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	doc.Error.Message, doc.Error.Type, doc.Error.Param, doc.Error.Code = e.Message, e.TypeName(), null(e.Param), e.CodeText()
	r.Body, _ = json.Marshal(doc) // texts always marshal
	return r
}

// notes are the headers that tell of fields that were passed over.
func (c *Call) notes() []llm.Field {
	if len(c.ignored) == 0 {
		return nil
	}
	text := make([]byte, 0, 64)
	for _, name := range c.ignored {
		if len(text) > 1024 {
			text = append(text, ", ..."...)
			break
		}
		if len(text) > 0 {
			text = append(text, ", "...)
		}
		// A name is the client's: only what a header may hold is repeated.
		for _, r := range name {
			if r <= 0x20 || r >= 0x7f || r == ',' {
				r = '?'
			}
			text = append(text, byte(r))
		}
	}
	return []llm.Field{{Name: []byte("x-sluice-ignored-fields"), Value: text}}
}

// late is what became of a call whose time was up.
func (c *Call) late(e *llm.Error) *llm.Error {
	if e.Kind != llm.KindInternal && e.Kind != llm.KindUnavailable {
		return e
	}
	if !errors.Is(e, context.DeadlineExceeded) && e.Kind != llm.KindUnavailable {
		return e
	}
	message := "The database did not answer in time. Read the object before you send the request again: the change may have been made."
	if c.Route.Method == http.MethodGet {
		message = "The database did not answer in time. Ask for less, such as a shorter period or a smaller page, or again shortly."
	}
	return &llm.Error{Kind: llm.KindUnavailable, Status: 503, Type: "db_unavailable", RetryAfter: time.Second, Err: e, Message: message}
}

// noDatabase is the answer where none is configured, in the forms that LiteLLM
// gives to its routes.
func noDatabase(r *access.Route) *llm.Error {
	const message = "No database is connected. This route needs one: set DATABASE_URL to a PostgreSQL connection string (postgresql://...)."
	e := &llm.Error{Kind: llm.KindInternal, Status: 500, Type: "internal_server_error", Message: message}
	switch r.Method + " " + r.Path {
	case "GET /team/list", "GET /budget/list":
		return detailError(400, message)
	case "POST /budget/new":
		return detailError(500, message)
	case "POST /user/new":
		e.Status = 400
	case "POST /key/update", "POST /model/new":
		e.Type, e.Param = "auth_error", "None"
	case "GET /spend/logs", "GET /global/spend":
		e.Type, e.Param = "internal_error", "None"
	}
	return e
}

// later is the answer of a route that a release to come will serve.
func later(r *access.Route) *llm.Error {
	return &llm.Error{Kind: llm.KindBadRequest, Status: 501, Type: "not_implemented_error", Message: r.Later}
}
