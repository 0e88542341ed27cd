package fakeprovider

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

// behaviours is what scripts may name; [Script] describes each. Statuses are
// not listed: their name is the status.
var behaviours = map[string]func(*exchange) error{
	"ok": (*exchange).good, "ctx": contextLength, "policy": policy, "cut": cut, "drop": drop, "hang": hang, "stall": stall,
	"drip": drip, "garbage": garbage, "html200": html, "nothttp": notHTTP, "redirect": redirect, "huge": huge, "endless": endless,
	"length": length, "both": both, "badchunk": badChunk, "headers": headers, "informational": informational, "usage": usage,
	"nodone": noDone, "errfirst": errorFirst, "errlater": errorLater, "after": after, "odd": odd, "echo": echo, "close": closing,
}

// status answers with an error of the status that the script names.
func status(x *exchange) error {
	code, err := strconv.Atoi(strings.TrimPrefix(x.script.Name, "s"))
	if err != nil {
		return errEnd
	}
	if retry, ok := x.script.Params["retry"]; ok {
		x.extra = "Retry-After: " + retry + "\r\n"
	}
	switch code {
	case 400:
		return x.fault(code, "invalid_request_error", "temperature", "invalid_value", "Invalid value for 'temperature'.")
	case 401:
		return x.fault(code, "invalid_request_error", "", "invalid_api_key", "Incorrect API key provided: sk-fake***************cret.")
	case 403:
		return x.fault(code, "insufficient_permissions", "", "forbidden", "You have no access to this project.")
	case 404:
		return x.fault(code, "invalid_request_error", "", "model_not_found", "The model does not exist or you do not have access to it.")
	case 429:
		return x.fault(code, "requests", "", "rate_limit_exceeded", "Rate limit reached for requests.")
	case 529:
		return x.fault(code, "overloaded_error", "", "", "Overloaded.")
	case 503:
		return x.fault(code, "server_error", "", "overloaded", "The engine is currently overloaded, please try again later.")
	default:
		return x.fault(code, "server_error", "", "", "The server had an error while processing your request.")
	}
}

func contextLength(x *exchange) error {
	return x.fault(400, "invalid_request_error", "messages", "context_length_exceeded",
		"This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.")
}

func policy(x *exchange) error {
	return x.fault(400, "invalid_request_error", "", "content_policy_violation", "Your request was rejected by our safety system.")
}

// cut ends the connection inside the body, or before any byte with at=-1.
func cut(x *exchange) error {
	if x.limit = x.at(); x.limit >= 0 {
		if err := x.good(); !errors.Is(err, errLimit) {
			return err
		}
		if err := x.c.flush(); err != nil {
			return err
		}
	}
	if x.script.Params["rst"] != "" {
		x.c.reset()
	}
	return errEnd
}

// at is how many bytes of the body a script lets pass.
func (x *exchange) at() int {
	if x.script.Params["at"] != "id" {
		return x.script.integer("at", 300)
	}
	n, err := strconv.Atoi(x.entry.ID[strings.LastIndexByte(x.entry.ID, '-')+1:])
	if err != nil {
		return -1
	}
	return n
}

func drop(x *exchange) error {
	if x.script.Params["rst"] != "" {
		x.c.reset()
	}
	return errEnd
}

func hang(x *exchange) error {
	if err := x.c.wait(time.Now().Add(time.Hour)); err != nil {
		return err
	}
	return errEnd
}

func stall(x *exchange) error {
	x.limit = x.at()
	if err := x.good(); !errors.Is(err, errLimit) {
		return err
	}
	if err := x.c.flush(); err != nil {
		return err
	}
	return hang(x)
}

func drip(x *exchange) error {
	x.single = max(x.script.Shape.Every, time.Microsecond)
	x.script = x.steady()
	return x.good()
}

// steady is the script without a beat between events.
func (x *exchange) steady() *Script {
	s := *x.script
	s.Shape.Every = 0
	return &s
}

func garbage(x *exchange) error {
	return x.answer(200, "application/json", []byte(`{"id": "chatcmpl-`+"\x00\xff"+`", oops`))
}

func html(x *exchange) error {
	return x.answer(200, "text/html", []byte("<html>oops</html>"))
}

func notHTTP(x *exchange) error {
	x.c.out = append(x.c.out, "SSH-2.0-OpenSSH_9.2p1\r\n\r\n"...)
	if err := x.c.flush(); err != nil {
		return err
	}
	return errEnd
}

func redirect(x *exchange) error {
	to := x.script.Params["to"]
	if to == "" {
		to = "/v1/chat/completions"
	}
	x.extra = "Location: " + to + "\r\n"
	return x.answer(307, "text/html", []byte("<a>moved</a>"))
}

func huge(x *exchange) error {
	s := *x.script
	s.Shape.Body = s.integer("bytes", 1<<20)
	x.script = &s
	return x.good()
}

// endless goes on until the client has had enough.
func endless(x *exchange) error {
	if !x.asked.stream {
		x.head(200, "application/json", -1)
		if err := x.emit([]byte(`{"choices":"`)); err != nil {
			return err
		}
		block := bytes.Repeat([]byte("endless "), 1024)
		for {
			if err := x.emit(block); err != nil {
				return err
			}
			if err := x.c.flush(); err != nil {
				return err
			}
		}
	}
	s := *x.script
	s.Shape.Events = Range{1 << 40, 1 << 40}
	if s.Shape.Every == 0 {
		s.Shape.Every = time.Millisecond
	}
	x.script = &s
	return x.stream()
}

// length lies about the body's length and ends the connection, so that a
// body too short is seen at once.
func length(x *exchange) error {
	body := x.script.Shape.Whole(x.asked.user, x.p.cfg.Model)
	x.head(200, "application/json", max(len(body)+x.script.integer("off", 10), 0))
	if err := x.emit(body); err != nil {
		return err
	}
	if err := x.c.flush(); err != nil {
		return err
	}
	if x.script.integer("off", 10) < 0 {
		return nil // what is too much stands where the next answer would
	}
	return errEnd
}

func both(x *exchange) error {
	body := x.script.Shape.Whole(x.asked.user, x.p.cfg.Model)
	x.extra = "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	x.head(200, "application/json", -1)
	if err := x.emit(body); err != nil {
		return err
	}
	return x.finish()
}

func badChunk(x *exchange) error {
	x.head(200, "application/json", -1)
	x.c.out = append(x.c.out, "zz\r\n{}\r\n0\r\n\r\n"...)
	if err := x.c.flush(); err != nil {
		return err
	}
	return errEnd
}

func headers(x *exchange) error {
	line := "x-fake-filler: " + strings.Repeat("f", 1000) + "\r\n"
	x.extra = strings.Repeat(line, x.script.integer("bytes", 1<<20)/len(line)+1)
	return x.good()
}

func informational(x *exchange) error {
	for range x.script.integer("n", 100) {
		x.c.out = append(x.c.out, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"...)
	}
	return x.good()
}

// usage answers well but for what it says of tokens.
func usage(x *exchange) error {
	said := map[string]string{
		"missing": "", "null": "null", "negative": `{"prompt_tokens":-5,"completion_tokens":-7,"total_tokens":-12}`,
		"absurd": `{"prompt_tokens":99999999999999999999999,"completion_tokens":1e300,"total_tokens":9223372036854775807}`,
		"float":  `{"prompt_tokens":12.5,"completion_tokens":7.25,"total_tokens":19.75}`,
		"cost":   `{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19,"cost":0.4}`,
		"text":   `{"prompt_tokens":"12","completion_tokens":"7","total_tokens":"19"}`,
	}[x.script.Params["kind"]]
	if x.asked.stream {
		if said == "" {
			x.asked.usage = false
		}
		err := x.events(x.script.Shape.Chunks(x.asked.user, x.asked.usage), []byte(said))
		x.entry.Tokens = Tokens{}
		return err
	}
	var object []byte
	if said != "" {
		object = []byte(said)
	}
	err := x.whole(object)
	x.entry.Tokens = Tokens{}
	return err
}

func noDone(x *exchange) error {
	if !x.asked.stream {
		return x.good()
	}
	return x.events(x.script.Shape.Chunks(x.asked.user, x.asked.usage)-1, nil)
}

const streamError = `data: {"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}` + "\n\n"

func errorFirst(x *exchange) error {
	x.head(200, "text/event-stream; charset=utf-8", -1)
	if err := x.emit([]byte(streamError)); err != nil {
		return err
	}
	return x.finish()
}

func errorLater(x *exchange) error {
	x.head(200, "text/event-stream; charset=utf-8", -1)
	for i := range x.script.Shape.Chunks(x.asked.user, false) / 2 {
		if err := x.emit(x.script.Shape.appendEvent(nil, x.asked.user, x.p.cfg.Model, false, i, nil)); err != nil {
			return err
		}
		x.entry.Events++
	}
	if err := x.emit([]byte(streamError)); err != nil {
		return err
	}
	return x.finish()
}

// after glues an answer that nobody asked for to the end of the good one.
func after(x *exchange) error {
	if err := x.good(); err != nil {
		return err
	}
	x.c.out = append(x.c.out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"...)
	return nil
}

// odd is a good stream in a form that is rarely seen.
func odd(x *exchange) error {
	all := x.script.Shape.Stream(x.asked.user, x.p.cfg.Model, x.asked.usage)
	kind := x.script.Params["kind"]
	switch kind {
	case "cr":
		all = bytes.ReplaceAll(all, []byte("\n"), []byte("\r"))
	case "bom":
		all = append([]byte("\xef\xbb\xbf"), all...)
	case "comment":
		all = bytes.ReplaceAll(all, []byte("data: {"), []byte(": ping\n\n: ping\ndata: {"))
	case "split": // one JSON document over two data lines
		all = bytes.ReplaceAll(all, []byte(`,"choices":`), []byte(",\ndata: \"choices\":"))
	case "nospace":
		all = bytes.ReplaceAll(all[len("data: "):], []byte("\n\ndata: "), []byte("\n\ndata:"))
		all = append([]byte("data:"), all...)
	case "event":
		all = bytes.ReplaceAll(all, []byte("data: {"), []byte("event: message\nid: 7\nretry: 10\ndata: {"))
	case "longline":
		all = append([]byte(": "+strings.Repeat("x", x.script.integer("bytes", 16<<20))+"\n\n"), all...)
	default:
		all = bytes.ReplaceAll(all, []byte("\n"), []byte("\r\n"))
	}
	x.head(200, "text/event-stream; charset=utf-8", -1)
	for len(all) > 0 {
		n := min(len(all), 7+int(hash(x.asked.user)%400))
		if err := x.emit(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return x.finish()
}

// echo puts the request as it arrived into the answer's text.
func echo(x *exchange) error {
	content, err := json.Marshal(string(x.req.head) + string(x.req.body))
	if err != nil {
		return errEnd
	}
	body := []byte(`{"id":"chatcmpl-echo","object":"chat.completion","created":1700000000,"model":"` + x.p.cfg.Model +
		`","choices":[{"index":0,"message":{"role":"assistant","content":` + string(content) +
		`},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
	if !x.asked.stream {
		return x.answer(200, "application/json", body)
	}
	event := `data: {"id":"chatcmpl-echo","object":"chat.completion.chunk","created":1700000000,"model":"` + x.p.cfg.Model +
		`","choices":[{"index":0,"delta":{"role":"assistant","content":` + string(content) + "},\"finish_reason\":null}]}\n\n"
	x.head(200, "text/event-stream; charset=utf-8", -1)
	if err := x.emit([]byte(event + "data: [DONE]\n\n")); err != nil {
		return err
	}
	return x.finish()
}

func closing(x *exchange) error {
	x.req.close = true
	return x.good()
}
