package server

import (
	"bytes"
	"time"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
)

// head is what one pass over a request's raw header lines found. The slices
// alias the header and live as long as the request.
type head struct {
	key        []byte // the credential that counts; nil if none was sent
	malformed  bool   // an Authorization that is no bearer token, and no other key
	mediaType  []byte
	coding     []byte // Content-Encoding
	expect     []byte
	callID     []byte
	forwarded  []byte // X-Forwarded-For, the last line of it
	origin     []byte
	wantMethod []byte // Access-Control-Request-Method
	wantHeader []byte // Access-Control-Request-Headers
	changedBy  []byte // litellm-changed-by
	reason     []byte // x-sluice-reason
	endUser    []byte // the customer that the request is for
	asked      gateway.Timeouts
	said       gateway.Said
	framed     bool // Content-Length or Transfer-Encoding was there
}

// Headers that may come once only: two readers must not disagree on them (F8).
// The numbers are bits of a set.
const (
	onceKeyLiteLLM = 1 << iota
	onceKeyCustom
	onceAuthorization
	onceKeyAzure
	onceKeyAnthropic
	onceKeyGoogle
	onceKeyAPIM
	onceMediaType
	onceCoding
	onceExpect
	onceLength
	onceTransfer
	onceHost
	onceOrigin
	onceCallID
)

// broken is a refusal after which the connection cannot be used: where the
// next request begins is in doubt.
func brokenRequest(message string) *llm.Error {
	return &llm.Error{Kind: llm.KindBadRequest, Type: "invalid_request_error", Message: message, Close: true}
}

// scan reads the raw header lines and refuses what bare fasthttp lets through
// (reliability rows F3 and F8 to F11, RFC 9112). keyHeader is one more name, in
// lower case, that a key may come in.
func (h *head) scan(raw []byte, keyHeader string) *llm.Error {
	*h = head{}
	var seen uint32
	var bearer, other []byte
	rank := 99
	for fields := 1; len(raw) > 0; fields++ {
		end := bytes.IndexByte(raw, '\n')
		line := raw
		if end >= 0 {
			line, raw = raw[:end], raw[end+1:]
		} else {
			raw = nil
		}
		line, ok := bytes.CutSuffix(line, []byte{'\r'})
		if !ok {
			return brokenRequest("A header line must end with CR and LF.")
		}
		if len(line) == 0 {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			return brokenRequest("A header line must not be folded.")
		}
		if fields > maxFields {
			return &llm.Error{
				Kind: llm.KindTooLarge, Status: 431, Type: "invalid_request_error",
				Message: "Too many header fields: 100 are allowed.", Close: true,
			}
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) {
			return brokenRequest("A header name holds a character that is not allowed.")
		}
		name, value := line[:colon], trimOWS(line[colon+1:])
		bit, e := h.field(name, value)
		if e != nil {
			return e
		}
		if bit == 0 && keyHeader != "" && equalFold(name, keyHeader) {
			bit = onceKeyCustom
		}
		if bit == 0 {
			continue
		}
		if seen&bit != 0 {
			return brokenRequest("The header " + string(name) + " was sent twice.")
		}
		seen |= bit
		if r, ok := keyRank(bit); ok {
			if bit == onceAuthorization {
				bearer = value
			} else if r < rank {
				rank, other = r, value
			}
		}
	}
	if seen&onceLength != 0 && seen&onceTransfer != 0 {
		return brokenRequest("Content-Length and Transfer-Encoding were both sent.")
	}
	h.framed = seen&(onceLength|onceTransfer) != 0
	h.choose(bearer, seen&onceAuthorization != 0, other, rank)
	return nil
}

// keyRank orders the headers that carry a key; x-litellm-api-key wins over all.
func keyRank(bit uint32) (int, bool) {
	switch bit {
	case onceKeyLiteLLM:
		return 0, true
	case onceKeyCustom:
		return 1, true
	case onceAuthorization:
		return 2, true
	case onceKeyAzure:
		return 3, true
	case onceKeyAnthropic:
		return 4, true
	case onceKeyGoogle:
		return 5, true
	case onceKeyAPIM:
		return 6, true
	}
	return 0, false
}

// choose picks the credential that counts.
func (h *head) choose(bearer []byte, hasBearer bool, other []byte, rank int) {
	if hasBearer && rank > 2 {
		if token, ok := cutBearer(bearer); ok && len(token) > 0 {
			h.key = token
			return
		}
		h.malformed = other == nil
	}
	if other == nil {
		return
	}
	if token, ok := cutBearer(other); ok {
		other = token
	}
	h.key = other
}

// cutBearer strips the scheme, which is case-insensitive (RFC 9110, 11.1).
func cutBearer(v []byte) ([]byte, bool) {
	if len(v) < 7 || !equalFold(v[:6], "bearer") || v[6] != ' ' {
		return nil, len(v) == 6 && equalFold(v, "bearer")
	}
	return trimOWS(v[7:]), true
}

// field takes one header in and returns its bit if it may come once only.
func (h *head) field(name, value []byte) (uint32, *llm.Error) {
	switch len(name) {
	case 4:
		if equalFold(name, "host") {
			if !hostOK(value) {
				return 0, brokenRequest("The Host header is not a host name.")
			}
			return onceHost, nil
		}
	case 6:
		if equalFold(name, "expect") {
			h.expect = value
			return onceExpect, nil
		}
		if equalFold(name, "origin") {
			h.origin = value
			return onceOrigin, nil
		}
	case 7:
		if equalFold(name, "api-key") {
			return onceKeyAzure, nil
		}
	case 9:
		if equalFold(name, "x-api-key") {
			return onceKeyAnthropic, nil
		}
	case 10:
		if equalFold(name, "user-agent") {
			h.said.Agent = value
		}
	case 12:
		if equalFold(name, "content-type") {
			h.mediaType = value
			return onceMediaType, nil
		}
	case 13:
		if equalFold(name, "authorization") {
			return onceAuthorization, nil
		}
	case 14:
		if equalFold(name, "content-length") {
			return onceLength, nil
		}
		if equalFold(name, "x-goog-api-key") {
			return onceKeyGoogle, nil
		}
		if equalFold(name, "x-litellm-tags") {
			h.said.Tags = value
		}
	case 15:
		if equalFold(name, "x-forwarded-for") {
			h.forwarded = value
		}
		if equalFold(name, "x-sluice-reason") {
			h.reason = value
		}
	case 16:
		if equalFold(name, "content-encoding") {
			h.coding = value
			return onceCoding, nil
		}
	default:
		return h.longField(name, value)
	}
	return 0, nil
}

func (h *head) longField(name, value []byte) (uint32, *llm.Error) {
	switch len(name) {
	case 17:
		switch {
		case equalFold(name, "transfer-encoding"):
			if !equalFold(value, "chunked") {
				return 0, brokenRequest("The only transfer coding that a request may use is chunked.")
			}
			return onceTransfer, nil
		case equalFold(name, "x-litellm-api-key"):
			return onceKeyLiteLLM, nil
		case equalFold(name, "x-litellm-call-id"):
			if len(value) <= 256 {
				h.callID = value
			}
			return onceCallID, nil
		case equalFold(name, "x-litellm-timeout"):
			return 0, seconds(value, "x-litellm-timeout", &h.asked.Total)
		}
	case 18:
		if equalFold(name, "litellm-changed-by") {
			h.changedBy = value
		}
		if equalFold(name, "x-litellm-trace-id") && h.said.Session == nil {
			h.said.Session = value
		}
	case 20:
		if equalFold(name, "x-litellm-session-id") {
			h.said.Session = value
		}
	case 21:
		if equalFold(name, "x-litellm-customer-id") || equalFold(name, "x-litellm-end-user-id") {
			h.endUser = value
		}
	case 24:
		if equalFold(name, "x-litellm-stream-timeout") {
			return 0, seconds(value, "x-litellm-stream-timeout", &h.asked.Stream)
		}
	case 25:
		if equalFold(name, "ocp-apim-subscription-key") {
			return onceKeyAPIM, nil
		}
	case 29:
		if equalFold(name, "access-control-request-method") {
			h.wantMethod = value
		}
		if equalFold(name, "x-litellm-spend-logs-metadata") {
			h.said.Metadata = value
		}
	case 30:
		if equalFold(name, "access-control-request-headers") {
			h.wantHeader = value
		}
	case 34:
		if equalFold(name, "x-litellm-enable-message-redaction") {
			h.said.Redact = equalFold(value, "true") || string(value) == "1"
		}
	}
	return 0, nil
}

// seconds reads a positive decimal number of seconds, at most a day.
func seconds(v []byte, name string, into *time.Duration) *llm.Error {
	var whole, frac, scale int64 = 0, 0, 1
	dot := false
	ok := len(v) > 0 && len(v) <= 16
	for _, c := range v {
		switch {
		case c == '.' && !dot:
			dot = true
		case c < '0' || c > '9':
			ok = false
		case !dot && whole < 1e6:
			whole = whole*10 + int64(c-'0')
		case dot && scale < 1e9:
			frac, scale = frac*10+int64(c-'0'), scale*10
		}
	}
	d := time.Duration(whole)*time.Second + time.Duration(frac*int64(time.Second)/scale)
	if !ok || d <= 0 {
		return &llm.Error{
			Kind: llm.KindBadRequest, Type: "invalid_request_error", Param: name,
			Message: "The header " + name + " must be a positive number of seconds.",
		}
	}
	*into = min(d, 24*time.Hour)
	return nil
}

// hostOK reports whether v can be a host with an optional port: RFC 9112
// section 3.2 wants 400 for anything else.
func hostOK(v []byte) bool {
	if len(v) == 0 || len(v) > 255 {
		return false
	}
	name, port := v, []byte(nil)
	if v[0] == '[' {
		end := bytes.IndexByte(v, ']')
		if end < 2 || !all(v[1:end], isAddressByte) {
			return false
		}
		name, port = v[:end+1], v[end+1:]
	} else {
		if n := bytes.IndexByte(v, ':'); n >= 0 {
			name, port = v[:n], v[n:]
		}
		if !all(name, isNameByte) {
			return false
		}
	}
	if len(port) > 0 && port[0] != ':' {
		return false
	}
	return len(name) > 0 && len(port) <= 6 && all(port[min(1, len(port)):], isDigit)
}

// all reports whether ok holds for every byte of v.
func all(v []byte, ok func(byte) bool) bool {
	for _, c := range v {
		if !ok(c) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool       { return c >= '0' && c <= '9' }
func isAddressByte(c byte) bool { return isHex(c) || c == ':' || c == '.' }
func isNameByte(c byte) bool {
	return isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

// tokenBytes marks the characters of a token (RFC 9110, section 5.6.2).
var tokenBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = isAlnum(byte(c)) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return t
}()

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenBytes[c] {
			return false
		}
	}
	return len(b) > 0
}

func isAlnum(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }
func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// equalFold compares ASCII without regard to case; lower is in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
