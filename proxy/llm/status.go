package llm

import "strconv"

// kindStatus is the HTTP status and the OpenAI error type that follow from a
// kind. The numbers are those that LiteLLM's clients know.
var kindStatus = [...]struct {
	status int
	typ    string
}{
	KindInternal:      {500, "internal_server_error"},
	KindBadRequest:    {400, "invalid_request_error"},
	KindAuth:          {401, "auth_error"},
	KindForbidden:     {403, "permission_error"},
	KindNotFound:      {404, "invalid_request_error"},
	KindTimeout:       {408, "timeout_error"},
	KindTooLarge:      {413, "invalid_request_error"},
	KindRateLimit:     {429, "throttling_error"},
	KindClientGone:    {499, "client_disconnected"},
	KindConnection:    {500, "internal_server_error"},
	KindProtocol:      {500, "internal_server_error"},
	KindUpstream:      {500, "internal_server_error"},
	KindUnavailable:   {503, "service_unavailable"},
	KindContextWindow: {400, "invalid_request_error"},
	KindContentPolicy: {400, "invalid_request_error"},
}

// HTTPStatus is the status that the error is answered with.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return kindStatus[e.Kind].status
}

// TypeName is the error's type field.
func (e *Error) TypeName() string {
	if e.Type != "" {
		return e.Type
	}
	return kindStatus[e.Kind].typ
}

// CodeText is the error's code field: the provider's own where it sent one,
// else the status as text.
func (e *Error) CodeText() string {
	if e.Code != "" {
		return e.Code
	}
	return strconv.Itoa(e.HTTPStatus())
}

var kindNames = [...]string{
	"internal", "bad_request", "auth", "forbidden", "not_found", "timeout", "too_large", "rate_limit",
	"client_gone", "connection", "protocol", "upstream", "unavailable", "context_window", "content_policy",
}

// String is the kind's name in logs.
func (k Kind) String() string { return kindNames[k] }

// kindClasses are the exception classes of LiteLLM's metrics.
var kindClasses = [...]string{
	"InternalServerError", "BadRequestError", "AuthenticationError", "PermissionDeniedError", "NotFoundError",
	"Timeout", "BadRequestError", "RateLimitError", "APIConnectionError", "APIConnectionError", "APIError",
	"InternalServerError", "ServiceUnavailableError", "ContextWindowExceededError", "ContentPolicyViolationError",
}

// Class is the exception class that LiteLLM's clients and dashboards know.
func (k Kind) Class() string { return kindClasses[k] }
