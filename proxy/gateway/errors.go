package gateway

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/provider"
	"sluice/proxy/upstream"
)

// missingError says what a deployment lacks.
type missingError string

func (e missingError) Error() string { return string(e) }

// maxErrorBody bounds what is read of an answer that is an error, in bytes.
const maxErrorBody = 64 << 10

// group is the model group as errors name it.
func (x *Exchange) group() string { return "model group '" + x.Model + "'" }

// broke is the error of a call that gave no whole answer.
func (x *Exchange) broke(err error) *llm.Error {
	if gone := x.canceled(); gone != nil {
		gone.Err = err
		return gone
	}
	var u *upstream.Error
	switch {
	case errors.Is(err, upstream.ErrRefused):
		return refusedAddress(err)
	case errors.Is(err, upstream.ErrNoRoom):
		return &llm.Error{
			Kind: llm.KindUnavailable, RetryAfter: time.Second, Err: err,
			Message: "Too many answer bytes are in memory; try again.",
		}
	case errors.Is(err, upstream.ErrTooLarge):
		return x.protocol("its answer is too large", err)
	case errors.Is(err, upstream.ErrProtocol):
		return x.protocol("its answer breaks HTTP", err)
	case errors.As(err, &u) && u.Timeout && u.Phase > upstream.PhaseTLS:
		after := time.Duration(x.g.now() - x.began).Round(time.Millisecond)
		return &llm.Error{
			Kind: llm.KindTimeout, Type: "invalid_request_error", Err: err,
			Message: "litellm.Timeout: the provider of " + x.group() + " did not answer in time; given up after " + after.String() + ".",
		}
	case errors.As(err, &u) && u.Phase == upstream.PhaseBody:
		return x.cutShort()
	default:
		return &llm.Error{
			Kind: llm.KindConnection, Err: err,
			Message: "litellm.InternalServerError: the provider of " + x.group() + " could not be reached.",
		}
	}
}

// cutShort is the error of an answer that ended before its end.
func (x *Exchange) cutShort() *llm.Error {
	return &llm.Error{
		Kind:    llm.KindConnection,
		Message: "litellm.APIConnectionError: the provider of " + x.group() + " broke off its answer before its end.",
	}
}

// protocol is the error of an answer that cannot be understood.
func (x *Exchange) protocol(what string, err error) *llm.Error {
	return &llm.Error{
		Kind: llm.KindProtocol, Err: err,
		Message: "litellm.InternalServerError: the provider of " + x.group() + " gave an invalid answer: " + what + ".",
	}
}

// notStream is the error of a document that came where a stream was asked for:
// what it says, if it is an error.
func (x *Exchange) notStream(b *binding) *llm.Error {
	if x.object.Scan(x.whole) == nil {
		if f, bad := b.target.ErrorIn(&x.object, x.whole); bad {
			return x.failure(f, 0)
		}
	}
	return x.protocol("it is not an event stream", nil)
}

// garbage is the error of a whole answer that is not a JSON object.
func (x *Exchange) garbage(err error) *llm.Error {
	return x.protocol("its body is not a JSON object", err)
}

// refused is the error of an answer with another status than 200.
func (g *Gateway) refused(x *Exchange, b *binding, resp *upstream.Response) *llm.Error {
	body, err := resp.ReadAll(x.whole[:0], maxErrorBody, nil)
	after := retryAfter(resp.Header("retry-after"), resp.Header("date"))
	status := resp.Status
	resp.Close()
	x.whole = body
	x.UpstreamNanos += g.now() - x.began
	if gone := x.canceled(); gone != nil {
		return gone
	}
	if err != nil && len(body) == 0 {
		body = nil
	}
	return x.failure(b.target.Failure(status, body), after)
}

// failure puts a provider's failure into words.
func (x *Exchange) failure(f provider.Failure, after time.Duration) *llm.Error {
	e := &llm.Error{Kind: f.Kind, Status: f.Status, Code: f.Code, Param: f.Param, RetryAfter: after}
	switch f.Kind {
	case llm.KindAuth:
		e.Type = "authentication_error"
	case llm.KindTimeout, llm.KindTooLarge:
		e.Type = "invalid_request_error"
	}
	said := f.Message
	if said == "" {
		said = "the provider of " + x.group() + " refused the call"
		switch f.Kind {
		case llm.KindAuth, llm.KindForbidden:
			said = "the provider of " + x.group() + " did not accept the gateway's credential"
			if x.Request.Credential != "" {
				said = "the provider of " + x.group() + " did not accept the credential that came with the request"
			}
		case llm.KindUpstream, llm.KindTimeout:
			said = "the provider of " + x.group() + " failed with status " + strconv.Itoa(f.Status)
		case llm.KindProtocol:
			said = "the provider of " + x.group() + " answered with a redirect or an unknown status"
		}
	} else {
		said += " (" + x.group() + ")"
	}
	e.Message = "litellm." + class(f) + ": " + said
	return e
}

// class is LiteLLM's name of the exception, which clients look for in messages.
func class(f provider.Failure) string {
	switch f.Status {
	case 422:
		return "UnprocessableEntityError"
	case 502:
		return "BadGatewayError"
	case 503:
		return "ServiceUnavailableError"
	default:
		return f.Kind.Class()
	}
}

// Retry-After is believed within these bounds.
const maxRetryAfter = 300 * time.Second

// retryAfter reads a Retry-After header: seconds, or a date (RFC 9110, section
// 10.2.3) that is compared with the answer's own. What makes no sense is 0.
func retryAfter(value, date []byte) time.Duration {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return 0
	}
	if n, err := strconv.ParseFloat(string(value), 64); err == nil {
		if !(n > 0) {
			return 0
		}
		return min(time.Duration(min(n, 1e6)*float64(time.Second)), maxRetryAfter)
	}
	at, err := time.Parse(time.RFC1123, string(value))
	if err != nil {
		return 0
	}
	from, err := time.Parse(time.RFC1123, string(date))
	if err != nil {
		from = time.Now()
	}
	return min(max(at.Sub(from), 0), maxRetryAfter)
}
