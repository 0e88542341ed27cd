package provider

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// Mock answers like a provider without calling one (mock_response).
type Mock struct {
	Delay time.Duration // before it answers

	text string
	fail *llm.Error // text names an error
}

// Tokens that every mocked answer reports.
const (
	mockInput  = 10
	mockOutput = 20
)

// mockErrors are the texts that make a mock fail. They are LiteLLM's.
var mockErrors = map[string]llm.Error{
	"litellm.RateLimitError":              {Kind: llm.KindRateLimit, Message: "litellm.RateLimitError: the mock was told to be over its limit"},
	"litellm.InternalServerError":         {Kind: llm.KindUpstream, Message: "litellm.InternalServerError: the mock was told to fail"},
	"litellm.ContextWindowExceededError":  {Kind: llm.KindContextWindow, Code: "context_length_exceeded", Message: "litellm.ContextWindowExceededError: the mock was told that the prompt is too long"},
	"litellm.ContentPolicyViolationError": {Kind: llm.KindContentPolicy, Code: "content_policy_violation", Message: "litellm.ContentPolicyViolationError: the mock was told to refuse"},
	"litellm.MockException":               {Kind: llm.KindUpstream, Message: "litellm.MockException: the mock was told to fail"},
	"litellm.Timeout":                     {Kind: llm.KindTimeout, Message: "litellm.Timeout: the mock was told to be late"},
	"litellm.AuthenticationError":         {Kind: llm.KindAuth, Type: "authentication_error", Message: "litellm.AuthenticationError: the mock was told to refuse its key"},
	"litellm.ServiceUnavailableError":     {Kind: llm.KindUpstream, Status: 503, Message: "litellm.ServiceUnavailableError: the mock was told to be away"},
}

// NewMock makes a mock of its mock_response.
func NewMock(response string) *Mock {
	if e, ok := mockErrors[strings.TrimSuffix(response, "()")]; ok {
		return &Mock{fail: &e}
	}
	return &Mock{text: response}
}

// Fail is the error that the mock stands for; nil if it answers.
func (m *Mock) Fail() *llm.Error {
	if m.fail == nil {
		return nil
	}
	e := *m.fail
	return &e
}

// Append writes the mock's answer as a provider would send it: one document,
// or the events of a stream with three characters of text in each. model is
// JSON text; id makes the answer's id; created is in unix seconds.
func (m *Mock) Append(dst []byte, req *llm.Request, model, id []byte, created int64) []byte {
	if req.Stream {
		return m.appendStream(dst, model, id, created)
	}
	dst = appendMockHead(dst, "chat.completion", model, id, created)
	dst = append(dst, `[{"index":0,"message":{"role":"assistant","content":`...)
	dst = jsonscan.AppendString(dst, m.text)
	dst = append(dst, `},"finish_reason":"stop"}],"usage":`...)
	dst = appendMockUsage(dst)
	return append(dst, '}')
}

func (m *Mock) appendStream(dst, model, id []byte, created int64) []byte {
	role := `"role":"assistant",`
	for text := m.text; ; {
		n := 0
		for range 3 {
			_, size := utf8.DecodeRuneInString(text[n:])
			n += size
		}
		dst = appendMockHead(append(dst, "data: "...), "chat.completion.chunk", model, id, created)
		dst = append(dst, `[{"index":0,"delta":{`...)
		dst = append(append(dst, role...), `"content":`...)
		dst = jsonscan.AppendString(dst, text[:n])
		dst = append(dst, "},\"finish_reason\":null}]}\n\n"...)
		if text, role = text[n:], ""; text == "" {
			break
		}
	}
	dst = appendMockHead(append(dst, "data: "...), "chat.completion.chunk", model, id, created)
	dst = append(dst, "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"...)
	dst = appendMockHead(append(dst, "data: "...), "chat.completion.chunk", model, id, created)
	dst = append(dst, `[],"usage":`...)
	dst = appendMockUsage(dst)
	return append(dst, "}\n\ndata: [DONE]\n\n"...)
}

func appendMockHead(dst []byte, object string, model, id []byte, created int64) []byte {
	dst = append(append(append(dst, `{"id":"chatcmpl-`...), id...), `","object":"`...)
	dst = append(append(dst, object...), `","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(append(append(dst, `,"model":`...), model...), `,"choices":`...)
	return dst
}

func appendMockUsage(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"prompt_tokens":`...), mockInput, 10)
	dst = strconv.AppendInt(append(dst, `,"completion_tokens":`...), mockOutput, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), mockInput+mockOutput, 10)
	return append(dst, '}')
}
