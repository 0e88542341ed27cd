package dialect

import (
	"bytes"
	"strconv"
	"time"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// openAIChat is OpenAI's chat completions as LiteLLM's clients speak it: with
// the gateway's own fields beside OpenAI's in the body.
type openAIChat struct{}

var _ Dialect = openAIChat{}

// OpenAIChat is the dialect of /v1/chat/completions.
func OpenAIChat() Dialect { return openAIChat{} }

// Error implements Dialect.
func (openAIChat) Error(dst []byte, e *llm.Error) []byte { return appendOpenAIError(dst, e) }

// StreamError implements Dialect.
func (openAIChat) StreamError(dst []byte, e *llm.Error) []byte {
	dst = append(dst, "data: "...)
	return append(appendOpenAIError(dst, e), "\n\n"...)
}

// Decode implements Dialect.
func (openAIChat) Decode(body, pathModel []byte, req *llm.Request) *llm.Error {
	o := jsonscan.Object{Members: req.Members, Scratch: req.Scratch, Lenient: req.Lenient}
	if err := o.Scan(body); err != nil {
		if len(bytes.TrimSpace(body)) == 0 {
			return missingMessages() // as if nothing had been said
		}
		return badBody(body, err)
	}
	req.Body, req.Members, req.Scratch, req.Open = body, o.Members, o.Scratch, o.Open
	messages := false
	for i := range req.Members {
		m := &req.Members[i]
		if m.Ours { // replaced by a later one of its name
			continue
		}
		switch string(m.Name) {
		case "model":
			if err := readModel(m, pathModel, req); err != nil {
				return err
			}
		case "messages":
			messages = m.Kind != llm.JSONNull
			if messages && m.Kind != llm.JSONArray {
				return wrongType("messages", "an array", m.Kind)
			}
		case "stream":
			if m.Kind != llm.JSONTrue && m.Kind != llm.JSONFalse && m.Kind != llm.JSONNull {
				return wrongType("stream", "true or false", m.Kind)
			}
			req.Stream = m.Kind == llm.JSONTrue
		case "stream_options":
			if err := readStreamOptions(m, req); err != nil {
				return err
			}
		case "n", "max_tokens", "max_completion_tokens":
			if err := plausible(m, req.Body); err != nil {
				return err
			}
		default:
			readExtra(m, req)
		}
	}
	if len(pathModel) > 0 {
		req.Model = pathModel
	}
	if !messages {
		return missingMessages()
	}
	if req.Model == nil {
		return &llm.Error{
			Kind:    llm.KindBadRequest,
			Message: "litellm.BadRequestError: no model is named in the request. `GET /v1/models` lists those that are served.",
		}
	}
	return nil
}

// Bounds of what one request may ask for (row F16): beyond them it is a slip or
// an attack. No provider allows as much.
const (
	maxChoices = 10_000
	maxTokens  = 1_000_000_000
)

// plausible refuses absurd amounts. What is no number is the provider's to
// refuse.
func plausible(m *llm.Member, body []byte) *llm.Error {
	most := int64(maxTokens)
	if len(m.Name) == 1 {
		most = maxChoices
	}
	if m.Kind != llm.JSONNumber || jsonscan.Count(m.Value.Of(body)) <= most {
		return nil
	}
	return &llm.Error{
		Kind: llm.KindBadRequest, Param: string(m.Name),
		Message: "'" + string(m.Name) + "' must be at most " + strconv.FormatInt(most, 10) + ".",
	}
}

func missingMessages() *llm.Error {
	return &llm.Error{
		Kind: llm.KindBadRequest, Param: "messages",
		Message: "/chat/completions: Missing required parameter: 'messages'.",
	}
}

func readModel(m *llm.Member, pathModel []byte, req *llm.Request) *llm.Error {
	req.ModelValue = m.Value
	switch m.Kind {
	case llm.JSONString:
		req.Model, req.Scratch = jsonscan.Text(req.Scratch, req.Body, m.Value)
	case llm.JSONNull:
	default:
		if len(pathModel) == 0 {
			return &llm.Error{
				Kind: llm.KindBadRequest, Type: "bad_request_error", Param: "model",
				Message: "'model' must be a string.",
			}
		}
	}
	return nil
}

// readStreamOptions finds include_usage.
func readStreamOptions(m *llm.Member, req *llm.Request) *llm.Error {
	req.StreamOptions, req.StreamOptionsKind = m.Value, m.Kind
	if m.Kind == llm.JSONNull {
		return nil
	}
	if m.Kind != llm.JSONObject {
		return wrongType("stream_options", "an object", m.Kind)
	}
	var room [4]llm.Member
	o := jsonscan.Object{Members: room[:0], Scratch: req.Scratch, Lenient: req.Lenient}
	if err := o.Scan(m.Value.Of(req.Body)); err != nil {
		err.Offset += m.Value.From
		return badBody(req.Body, err)
	}
	req.Scratch, req.StreamOptionsSize = o.Scratch, len(o.Members)
	if u := o.Find("include_usage"); u != nil {
		req.IncludeUsage = u.Kind == llm.JSONTrue
		if !req.IncludeUsage {
			req.IncludeUsageValue = llm.Span{From: m.Value.From + u.Value.From, To: m.Value.From + u.Value.To}
		}
	}
	return nil
}

// readExtra marks what is meant for the gateway, and reads what has an effect.
func readExtra(m *llm.Member, req *llm.Request) {
	x, ok := extras[string(m.Name)]
	if !ok && !bytes.HasPrefix(m.Name, reserved) && !bytes.HasPrefix(m.Name, mocking) {
		return
	}
	m.Ours = true
	value := m.Value.Of(req.Body)
	switch x {
	case extraTimeout:
		if m.Kind == llm.JSONNumber {
			req.Timeout = seconds(value)
		}
	case extraStreamTimeout:
		if m.Kind == llm.JSONNumber {
			req.StreamTimeout = seconds(value)
		}
	case extraRetries:
		if m.Kind == llm.JSONNumber {
			req.Retries = int(min(jsonscan.Count(value), 100))
		}
	case extraMock:
		if m.Kind == llm.JSONString {
			req.Mock, req.Scratch = jsonscan.Text(req.Scratch, req.Body, m.Value)
		}
	case extraMockDelay, extraMockTimeout, extraMockFail:
		readMockTest(x, m, value, &req.Test)
	case extraDrop:
		req.DropParams = m.Kind == llm.JSONTrue
	case extraAllow:
		if m.Kind == llm.JSONArray {
			req.AllowParams = m.Value
		}
	case extraDropAlso:
		if m.Kind == llm.JSONArray {
			req.DropAlso = m.Value
		}
	case extraCredential:
		if req.Credential == "" && m.Kind != llm.JSONNull {
			req.Credential = string(m.Name)
		}
	case extraConsumed:
	}
}

func readMockTest(x extra, m *llm.Member, value []byte, t *llm.MockTest) {
	switch {
	case x == extraMockDelay && m.Kind == llm.JSONNumber:
		t.Delay = seconds(value)
	case x == extraMockTimeout:
		t.Timeout = m.Kind == llm.JSONTrue
	case x == extraMockFail && m.Kind == llm.JSONTrue:
		t.Fail, t.Kind = true, mockKinds[string(m.Name)]
	}
}

func seconds(number []byte) time.Duration {
	return time.Duration(jsonscan.Seconds(number) * float64(time.Second))
}

func wrongType(param, want string, got llm.JSONKind) *llm.Error {
	return &llm.Error{
		Kind: llm.KindBadRequest, Param: param,
		Message: "'" + param + "' must be " + want + ", not " + got.String() + ".",
	}
}

// badBody says what is wrong with a body that is not the JSON we read.
func badBody(body []byte, err *jsonscan.Error) *llm.Error {
	e := &llm.Error{Kind: llm.KindBadRequest, Param: "request_body"}
	if err.Reason == jsonscan.NotObject {
		e.Message = "Invalid request body: a JSON object was expected."
		return e
	}
	line, column := 1, 1
	for _, c := range body[:min(err.Offset, len(body))] {
		if column++; c == '\n' {
			line, column = line+1, 1
		}
	}
	e.Message = "Invalid JSON payload: " + err.Reason + ": line " + strconv.Itoa(line) + " column " + strconv.Itoa(column) +
		" (byte " + strconv.Itoa(err.Offset) + ")"
	return e
}
