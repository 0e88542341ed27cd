package fakeprovider

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// exchange is one request and the answer to it.
type exchange struct {
	c      *conn
	p      *Provider
	req    *request
	asked  asked
	script *Script
	entry  Entry

	limit   int  // bytes of body after which errLimit comes; < 0 is none
	chunked bool // the answer's framing
	single  time.Duration
	extra   string // header lines, each with its CRLF
}

var errLimit = errors.New("as much as the script allows is written")

// handle answers one request. An error means that the connection must end.
func (p *Provider) handle(c *conn, req *request) error {
	x := &exchange{c: c, p: p, req: req, limit: -1}
	switch {
	case req.path == "/":
		return x.answer(200, "text/plain", []byte("ok\n"))
	case req.path == "/ledger" || req.path == "/ledger/reset":
		return p.serveLedger(x)
	case req.method == "GET" && strings.HasSuffix(req.path, "/models"):
		return x.answer(200, "application/json", []byte(`{"object":"list","data":[{"id":"`+p.cfg.Model+`","object":"model","created":1700000000,"owned_by":"fake"}]}`))
	case req.method == "GET" && strings.HasSuffix(req.path, costsPath):
		return p.costs(x)
	case !strings.HasSuffix(req.path, "/chat/completions"):
		return x.fault(404, "invalid_request_error", "", "unknown_url", "Unknown request URL: "+req.method+" "+req.path)
	case req.method != "POST":
		return x.fault(405, "invalid_request_error", "", "method_not_supported", "Only POST is accepted here.")
	}
	var err error
	if x.script, err = p.plans.get(req.path); err != nil {
		return x.fault(400, "fake_script_error", "", "script", err.Error())
	}
	x.asked = scan(req.body)
	if x.asked.cacheKey != "" {
		x.asked.user = x.asked.cacheKey
	}
	return x.run()
}

// run keeps the ledger around the behaviour.
func (x *exchange) run() error {
	x.entry = Entry{
		ID: x.asked.user, Conn: x.c.number, Path: x.req.path, Behaviour: x.script.Name, Model: x.asked.model,
		Streamed: x.asked.stream, Usage: x.asked.usage, Start: time.Now(),
	}
	if x.p.cfg.Raw {
		x.entry.Head = append([]byte(nil), x.req.head...)
		x.entry.Body = append([]byte(nil), x.req.body...)
	}
	slot, epoch := x.p.ledger.begin(&x.entry, x.script.First > 0 || x.p.cfg.Numbered)
	if x.p.cfg.Numbered && x.entry.Attempt > 1 {
		x.asked.user += "#" + strconv.Itoa(x.entry.Attempt)
	}
	x.entry.Seed = x.asked.user
	if x.script.First > 0 && x.entry.Attempt > x.script.First {
		good := *x.script
		good.Name, good.Delay = "ok", 0
		x.script, x.entry.Behaviour = &good, "ok"
	}
	err := x.behave()
	if err == nil {
		// Whoever holds the answer's last byte finds the entry complete.
		x.entry.End, x.entry.Complete = time.Now(), true
		x.p.ledger.end(slot, epoch, &x.entry)
		if err = x.c.flush(); err == nil {
			return nil
		}
	}
	x.entry.End = time.Now()
	if errors.Is(err, errGone) {
		x.entry.Cancelled, x.entry.Gone, x.entry.Complete = true, x.entry.End, false
	}
	x.p.ledger.end(slot, epoch, &x.entry)
	return err
}

func (x *exchange) behave() error {
	if x.script.Delay > 0 {
		if err := x.c.wait(time.Now().Add(x.script.Delay)); err != nil {
			return err
		}
	}
	if !x.asked.object {
		return x.fault(400, "invalid_request_error", "", "", "We could not parse the JSON body of your request.")
	}
	if !x.asked.messages {
		return x.fault(400, "invalid_request_error", "messages", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	if do := behaviours[x.script.Name]; do != nil {
		return do(x)
	}
	return status(x)
}

// good is the answer of a provider that is well.
func (x *exchange) good() error {
	if x.asked.stream {
		return x.stream()
	}
	return x.whole(appendUsage(nil, x.script.Shape.Tokens(x.asked.user, false)))
}

func (x *exchange) whole(usage []byte) error {
	x.entry.Answer = AnswerID(x.asked.user)
	if usage != nil {
		x.entry.Tokens = x.script.Shape.Tokens(x.asked.user, false)
	}
	return x.answer(200, "application/json", x.script.Shape.appendWhole(nil, x.asked.user, x.p.cfg.Model, usage))
}

// answer writes a whole answer; its last bytes are sent when the exchange ends.
func (x *exchange) answer(status int, contentType string, body []byte) error {
	x.head(status, contentType, len(body))
	return x.emit(body)
}

// fault writes an error in OpenAI's shape; an empty param or code is null.
func (x *exchange) fault(status int, kind, param, code, message string) error {
	orNull := func(s string) string {
		if s == "" {
			return "null"
		}
		return strconv.Quote(s)
	}
	return x.answer(status, "application/json", []byte(`{"error":{"message":`+strconv.Quote(message)+`,"type":`+orNull(kind)+
		`,"param":`+orNull(param)+`,"code":`+orNull(code)+`}}`))
}

// head writes status line and header; a negative length means chunked.
func (x *exchange) head(status int, contentType string, length int) {
	x.entry.Status = status
	b := append(x.c.out, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason(status)...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, contentType...)
	b = append(b, "\r\nx-request-id: req-"...)
	b = appendID(b, hash(x.asked.user))
	b = append(b, "\r\nx-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nopenai-processing-ms: 1\r\n"...)
	b = append(b, x.extra...)
	if x.req.close {
		b = append(b, "Connection: close\r\n"...)
	}
	if x.chunked = length < 0; x.chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
	} else {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(length), 10)
		b = append(b, "\r\n\r\n"...)
	}
	x.c.out = b
}

func reason(status int) string {
	switch status {
	case 200:
		return "OK"
	case 307:
		return "Temporary Redirect"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 429:
		return "Too Many Requests"
	case 500:
		return "Internal Server Error"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	default:
		return "Status"
	}
}

// emit writes a piece of the body, as far as the script lets it.
func (x *exchange) emit(p []byte) error {
	var limited error
	if left := x.limit - int(x.entry.Bytes); x.limit >= 0 && len(p) > left {
		p, limited = p[:max(left, 0)], errLimit
	}
	if x.single == 0 {
		x.frame(p)
		return limited
	}
	if err := x.c.flush(); err != nil {
		return err
	}
	for i := range p {
		x.frame(p[i : i+1])
		if err := x.c.flush(); err != nil {
			return err
		}
		if err := x.c.wait(time.Now().Add(x.single)); err != nil {
			return err
		}
	}
	return limited
}

func (x *exchange) frame(p []byte) {
	if len(p) == 0 {
		return
	}
	x.entry.Bytes += int64(len(p))
	if x.chunked {
		x.c.out = strconv.AppendInt(x.c.out, int64(len(p)), 16)
		x.c.out = append(x.c.out, '\r', '\n')
	}
	x.c.out = append(x.c.out, p...)
	if x.chunked {
		x.c.out = append(x.c.out, '\r', '\n')
	}
}

// stream writes the streamed answer on the script's beat.
func (x *exchange) stream() error {
	return x.events(x.script.Shape.Chunks(x.asked.user, x.asked.usage), nil)
}

// events writes the first n events; said replaces the usage object.
func (x *exchange) events(n int, said []byte) error {
	shape, start := x.script.Shape, time.Now()
	x.entry.Answer = AnswerID(x.asked.user)
	x.head(200, "text/event-stream; charset=utf-8", -1)
	var event []byte
	for i := range n {
		if i > 0 && shape.Every > 0 {
			if err := x.c.flush(); err != nil {
				return err
			}
			if err := x.c.wait(start.Add(time.Duration(i) * shape.Every)); err != nil {
				return err
			}
		}
		event = shape.appendEvent(event[:0], x.asked.user, x.p.cfg.Model, x.asked.usage, i, said)
		if err := x.emit(event); err != nil {
			return err
		}
		x.entry.Events++
		if x.asked.usage && i == shape.Chunks(x.asked.user, true)-2 {
			x.entry.Tokens = shape.Tokens(x.asked.user, true)
		}
		if len(x.c.out) > 64<<10 {
			if err := x.c.flush(); err != nil {
				return err
			}
		}
	}
	return x.finish()
}

// finish ends a chunked body as it should end; it is sent when the exchange ends.
func (x *exchange) finish() error {
	x.c.out = append(x.c.out, "0\r\n\r\n"...)
	return nil
}
