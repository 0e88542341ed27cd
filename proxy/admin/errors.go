package admin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// badRequest is a request that is wrong: the sentence says which field, what
// was wrong with it and what is allowed.
func badRequest(message, param string) *llm.Error {
	return &llm.Error{Kind: llm.KindBadRequest, Status: 400, Type: "invalid_request_error", Param: param, Message: message}
}

// notFound is an object that there is not, or that the caller may not see.
func notFound(message, param string) *llm.Error {
	return &llm.Error{Kind: llm.KindNotFound, Status: 404, Type: "not_found_error", Param: param, Message: message}
}

// conflict is an object that there is already.
func conflict(message, param string) *llm.Error {
	return &llm.Error{Kind: llm.KindBadRequest, Status: 409, Type: "invalid_request_error", Param: param, Message: message}
}

// forbidden is a known caller who may not.
func forbidden(message, param string) *llm.Error {
	return &llm.Error{Kind: llm.KindForbidden, Status: 403, Type: "permission_error", Param: param, Message: message}
}

// kindOf is the kind that a status stands for in logs and metrics.
func kindOf(status int) llm.Kind {
	switch {
	case status == 401:
		return llm.KindAuth
	case status == 403:
		return llm.KindForbidden
	case status == 404:
		return llm.KindNotFound
	case status == 503:
		return llm.KindUnavailable
	case status >= 500:
		return llm.KindInternal
	}
	return llm.KindBadRequest
}

// detail is an error of the form {"detail": what}, which LiteLLM's framework
// gives to some.
func detail(status int, what any) *llm.Error {
	doc, err := json.Marshal(struct {
		Detail any `json:"detail"`
	}{what})
	if err != nil {
		panic("BUG: the detail of an error is no JSON: " + err.Error())
	}
	message, _ := what.(string)
	if message == "" {
		message = string(doc)
	}
	return &llm.Error{Kind: kindOf(status), Status: status, Message: message, Body: doc}
}

// detailError is an error of the form {"detail":{"error": message}}.
func detailError(status int, message string) *llm.Error {
	e := detail(status, map[string]string{"error": message})
	e.Message = message
	return e
}

// Violation is one field that is not as its route's row says. Type, place and
// message are those of pydantic, which clients of LiteLLM know.
type Violation struct {
	Type string `json:"type"`
	Loc  []any  `json:"loc"` // "body" or "query", then names and indexes
	Msg  string `json:"msg"`
}

// at is the violation under one more step of its place.
func at(place []any, step any) []any { return append(slices.Clone(place), step) }

// validation is the 422 that lists what is wrong with a body or a query.
func validation(v ...Violation) *llm.Error {
	e := detail(422, v)
	e.Message = v[0].Msg
	return e
}

// failed is what a client is told about an error of the store. An *llm.Error
// that came through a transaction stays what it is.
func (a *API) failed(err error) *llm.Error {
	var e *llm.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, store.ErrStaleSeal):
		return noKey(err)
	case errors.Is(err, store.ErrAway):
		return &llm.Error{
			Kind: llm.KindUnavailable, Status: 503, Type: "db_unavailable", RetryAfter: time.Second, Err: err,
			Message: "The database is not available. Nothing was changed; send the request again shortly.",
		}
	case errors.Is(err, store.ErrNotFound):
		e = notFound("The object is not there any more.", "")
	case errors.Is(err, store.ErrInvalid):
		e = invalidValue(err)
	case errors.Is(err, store.ErrExists):
		e = conflict("An object with this id or name exists already.", "")
	default:
		e = &llm.Error{Kind: llm.KindInternal, Message: "Internal server error."}
		a.c.Log.Error("management call failed", slog.Any("error", err))
	}
	e.Err = err
	return e
}

// invalidValue says which value of the request cannot be stored. Fields of the
// API that have no column of their own stand in settings.
func invalidValue(err error) *llm.Error {
	var v *store.InvalidError
	if !errors.As(err, &v) {
		return badRequest("A value of the request cannot be stored: it is too large, or no text that a database takes.", "")
	}
	name, param := v.Column, v.Column
	if name == "" || name == "settings" {
		name, param = "A value of the request", ""
	}
	return badRequest(name+" "+v.Problem+".", param)
}

// change runs fn in a transaction, for a caller who may still make this call
// there. An error of fn leaves nothing behind. Where something was sealed with a
// key that is not in use any more, fn is run once more with the one that is.
func (a *API) change(c *Call, fn func(tx *store.Tx) *llm.Error) *llm.Error {
	e := a.changeOnce(c, fn)
	if e == nil || !errors.Is(e, store.ErrStaleSeal) || a.c.Models.Keys.Renew == nil {
		return e
	}
	if err := a.c.Models.Keys.Renew(c.Ctx); err != nil {
		a.c.Log.Error("the key to seal with is not known", slog.Any("error", err))
		return e
	}
	return a.changeOnce(c, fn)
}

func (a *API) changeOnce(c *Call, fn func(tx *store.Tx) *llm.Error) *llm.Error {
	return a.failed(a.c.Store.Change(c.Ctx, c.Actor(), func(tx *store.Tx) error {
		e := c.recheck(tx)
		if e == nil {
			e = fn(tx)
		}
		if e != nil {
			return e // not a typed nil
		}
		return nil
	}))
}

// missing says whether the store has no such object.
func missing(err error) bool { return errors.Is(err, store.ErrNotFound) }
