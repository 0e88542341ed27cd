package provider

import (
	"strconv"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// Failure is what an answer that is not 2xx says.
type Failure struct {
	Kind    llm.Kind
	Status  int    // to answer with
	Code    string // the provider's own, "" if none
	Param   string
	Message string // the provider's text, "" if there is none or it must not be shown
}

// maxText bounds the text of a provider in a message.
const maxText = 2000

// kindOf classes a status.
func kindOf(status int) (kind llm.Kind, answer int) {
	switch {
	case status == 401:
		return llm.KindAuth, 401
	case status == 403:
		return llm.KindForbidden, 403
	case status == 404:
		return llm.KindNotFound, 404
	case status == 408:
		return llm.KindTimeout, 408
	case status == 413:
		return llm.KindTooLarge, 413
	case status == 429:
		return llm.KindRateLimit, 429
	case status >= 400 && status < 500:
		return llm.KindBadRequest, status
	case status == 503 || status == 529: // 529: Anthropic's and others' "overloaded"
		return llm.KindUpstream, 503
	case status == 502:
		return llm.KindUpstream, 502
	case status == 504:
		return llm.KindTimeout, 504
	case status >= 500:
		return llm.KindUpstream, 500
	default: // a redirect, or a status nobody defined: never followed
		return llm.KindProtocol, 502
	}
}

// Failure implements Adapter.
func (*openai) Failure(status int, body []byte) Failure {
	f := Failure{}
	f.Kind, f.Status = kindOf(status)
	fields := errorFields(body)
	f.Code, f.Param, f.Message = fields.code, fields.param, fields.message
	if status < 400 || status >= 500 || status == 401 || status == 403 {
		// The provider's text is about our credential or its own insides.
		f.Message, f.Param = "", ""
	}
	if status == 401 || status == 403 {
		f.Code = ""
	}
	switch {
	case f.Kind != llm.KindBadRequest:
	case fields.code == "context_length_exceeded":
		f.Kind = llm.KindContextWindow
	case fields.code == "content_policy_violation" || fields.code == "content_filter":
		f.Kind = llm.KindContentPolicy
	}
	return f
}

type errorText struct{ code, typ, param, message string }

// errorFields reads OpenAI's error object, and the looser forms that compatible
// servers answer with.
func errorFields(body []byte) (t errorText) {
	var o jsonscan.Object
	if o.Scan(body) != nil {
		return t
	}
	for _, name := range [...]string{"error", "detail", "message"} {
		m := o.Find(name)
		switch {
		case m == nil:
		case m.Kind == llm.JSONString:
			t.message = text(body, m)
			return t
		case m.Kind == llm.JSONObject:
			inner := m.Value.Of(body)
			if o.Scan(inner) != nil {
				return t
			}
			t.message, t.typ = text(inner, o.Find("message")), text(inner, o.Find("type"))
			t.param, t.code = text(inner, o.Find("param")), text(inner, o.Find("code"))
			return t
		}
	}
	return t
}

// text is a string member's text, bounded, or a number's digits.
func text(b []byte, m *llm.Member) string {
	if m == nil {
		return ""
	}
	switch m.Kind {
	case llm.JSONString:
		s, _ := jsonscan.Text(nil, b, m.Value)
		for len(s) > maxText {
			s = s[:maxText]
			for len(s) > 0 && s[len(s)-1]&0xc0 == 0x80 {
				s = s[:len(s)-1]
			}
		}
		return string(s)
	case llm.JSONNumber:
		return string(m.Value.Of(b))
	default:
		return ""
	}
}

// ErrorIn reads the error object of a document that came with a good status;
// false if there is none.
func (t *Target) ErrorIn(o *jsonscan.Object, body []byte) (Failure, bool) {
	m := o.Find("error")
	if m == nil || m.Kind == llm.JSONNull {
		return Failure{}, false
	}
	return t.Failure(statusOf(errorFields(body)), body), true
}

// statusOf guesses the status of an error that came inside an answer: by its
// code where that is a status, else by its type.
func statusOf(e errorText) int {
	if n, err := strconv.Atoi(e.code); err == nil && n >= 400 && n < 600 {
		return n
	}
	switch e.typ {
	case "invalid_request_error":
		return 400
	case "authentication_error":
		return 401
	case "permission_error":
		return 403
	case "rate_limit_error", "rate_limit_exceeded", "tokens", "requests", "insufficient_quota":
		return 429
	case "overloaded_error":
		return 503
	default:
		return 500
	}
}
