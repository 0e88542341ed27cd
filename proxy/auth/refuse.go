package auth

import (
	"encoding/hex"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/llm"
)

func unauthorized(typ, param, message string) *llm.Error {
	return &llm.Error{Kind: llm.KindAuth, Type: typ, Param: param, Message: message}
}

func noKey() *llm.Error {
	return unauthorized("auth_error", "None", "Authentication Error, No api key passed in.")
}

func malformed() *llm.Error {
	return unauthorized("auth_error", "None", "Authentication Error, a key starts with 'sk-'; the one received does not.")
}

func tooLong() *llm.Error {
	return unauthorized("auth_error", "None", "Authentication Error, the key received is longer than any key is.")
}

func unknown(digest *[32]byte) *llm.Error {
	return unauthorized("token_not_found_in_db", "key",
		"Authentication Error, Invalid proxy server token passed. Key Hash (Token) = "+hex.EncodeToString(digest[:])+" is not known.")
}

func expired(f *keyFacts, now time.Time) *llm.Error {
	name := f.key.Name
	if name == "" {
		name = "sk-..."
	}
	return unauthorized("expired_key", name, "Authentication Error - Expired Key. Key Expiry time "+
		f.key.Expires.UTC().Format(time.RFC3339)+" and current time "+now.UTC().Format(time.RFC3339))
}

func blockedKey() *llm.Error {
	return unauthorized("auth_error", "None",
		"Authentication Error, Key is blocked. An administrator can unblock it by `/key/unblock`.")
}

func blockedObject(o *object) *llm.Error {
	return unauthorized("auth_error", "None", "Authentication Error, the "+o.kind.String()+" of this key is blocked: "+o.id+".")
}

func missingObject(o *object) *llm.Error {
	return unauthorized("auth_error", "None",
		"Authentication Error, the "+o.kind.String()+" that this key belongs to does not exist any more: "+o.id+".")
}

func blockedCustomer(id string) *llm.Error {
	return unauthorized("auth_error", "None",
		"Authentication Error, the customer named by this request is blocked: "+id+". An administrator can unblock it by `/customer/unblock`.")
}

// away is the answer while the database cannot say who calls. It is never 401:
// a client must not throw a good key away.
func away() *llm.Error {
	return badAway(&llm.Error{
		Kind: llm.KindUnavailable, Type: "db_unavailable", RetryAfter: 2 * time.Second,
		Message: "The key cannot be checked now, because the database is not available. Try again shortly.",
	})
}

func crowded() *llm.Error {
	return &llm.Error{
		Kind: llm.KindUnavailable, Type: "overloaded_error", RetryAfter: time.Second,
		Message: "Too many unknown keys are being checked at once. Try again shortly.",
	}
}

func onlyModels() *llm.Error {
	e := away()
	e.Message = "While the database is not available, a key that cannot be checked may call models only. Try again shortly."
	return e
}

func unavailableSpent() *llm.Error {
	e := away()
	e.RetryAfter = 10 * time.Second
	e.Message = "While the database is not available, requests with keys that cannot be checked are limited (db_unavailable_rpm), " +
		"and the limit of this minute is reached. Try again shortly."
	return e
}

func wrongRoute(s *routeSet, r *access.Route) *llm.Error {
	return &llm.Error{
		Kind: llm.KindForbidden, Status: 403, Detail: true,
		Message: "Virtual key is not allowed to call this route. Only allowed to call routes: ['" +
			strings.Join(s.shown, "', '") + "']. Tried to call route: " + r.Path,
	}
}

func wrongAddress() *llm.Error {
	return &llm.Error{
		Kind: llm.KindForbidden, Status: 403, Type: "auth_error", Param: "None",
		Message: "Access forbidden: requests from this IP address are not allowed.",
	}
}

// wrongModel refuses a model. level is whose list of models does not have it.
func wrongModel(level, model string) *llm.Error {
	const most = 200
	if len(model) > most {
		model = model[:most] + "…"
	}
	return &llm.Error{
		Kind: llm.KindForbidden, Status: 403, Type: level + "_model_access_denied", Param: "model",
		Message: "The model '" + strings.ToValidUTF8(model, "?") + "' may not be called with this key, or there is no such model: the " +
			levelNames[level] + " does not allow it. `/v1/models` lists the models that it may call.",
	}
}

var levelNames = map[string]string{
	"key": "key", "team": "team of the key", "user": "user of the key", "org": "organization of the key",
	"project": "project of the key", "member": "membership in the team", "unavailable": "setting db_unavailable_models",
}
