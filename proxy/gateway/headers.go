package gateway

import (
	"bytes"
	"strconv"

	"sluice/proxy/llm"
	"sluice/proxy/upstream"
)

// Names of answer headers; call id and version are the server's.
var (
	headModelID   = []byte("x-litellm-model-id")
	headGroup     = []byte("x-litellm-model-group")
	headModelName = []byte("x-litellm-model-name")
	headBase      = []byte("x-litellm-model-api-base")
	headRetries   = []byte("x-litellm-attempted-retries")
	headFallbacks = []byte("x-litellm-attempted-fallbacks")
	headDuration  = []byte("x-litellm-response-duration-ms")
	headTimeout   = []byte("x-litellm-timeout")
	headOverhead  = []byte("x-litellm-overhead-duration-ms")

	providerPrefix = []byte("llm_provider-")
	rateLimit      = []byte("x-ratelimit-")
	zero           = []byte("0")
)

// Bounds of what is passed on of a provider's headers.
const (
	maxProviderHeaders = 64
	maxProviderBytes   = 16 << 10
)

// hides reports whether a provider's header, its name in lower case, is about
// its connection with us or would act on the client.
func hides(name []byte) bool {
	switch string(name) {
	case "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "trailer", "upgrade",
		"set-cookie", "set-cookie2", "www-authenticate", "alt-svc", "strict-transport-security", "public-key-pins":
		return true
	}
	return false
}

// providerHeaders takes over what the provider said beside its answer: each
// line with a prefix, its rate limits plain too.
func (x *Exchange) providerHeaders(resp *upstream.Response) {
	fields := resp.Fields()
	for _, f := range fields[:min(len(fields), maxProviderHeaders)] {
		if len(x.scratch) > maxProviderBytes {
			return
		}
		from := len(x.scratch)
		x.scratch = append(x.scratch, providerPrefix...)
		for _, c := range f.Name {
			if c-'A' < 26 {
				c |= 0x20
			}
			x.scratch = append(x.scratch, c)
		}
		full := x.scratch[from:len(x.scratch):len(x.scratch)]
		plain := full[len(providerPrefix):]
		if hides(plain) {
			x.scratch = x.scratch[:from]
			continue
		}
		v := x.keep(f.Value)
		x.Header = append(x.Header, llm.Field{Name: full, Value: v})
		if bytes.HasPrefix(plain, rateLimit) {
			x.Header = append(x.Header, llm.Field{Name: plain, Value: v})
		}
	}
}

// answerHeaders adds which deployment answered, and how long it took.
func (x *Exchange) answerHeaders(b *binding, name []byte) {
	x.add(headModelID, b.id)
	if b.model != nil {
		x.add(headGroup, b.group)
	} else {
		x.add(headGroup, clean(x.keep(x.Request.Model)))
	}
	x.add(headModelName, name)
	if len(b.base) > 0 {
		x.add(headBase, b.base)
	}
	x.addInt(headRetries, int64(x.Attempts-1-x.redialed))
	x.add(headFallbacks, zero)
	total := x.g.now() - x.Start
	x.addMillis(headDuration, total)
	x.addMillis(headOverhead, max(total-x.UpstreamNanos, 0))
	x.limitHeaders()
	x.costHeaders()
}

func (x *Exchange) add(name, value []byte) {
	x.Header = append(x.Header, llm.Field{Name: name, Value: value})
}

func (x *Exchange) addInt(name []byte, n int64) {
	from := len(x.scratch)
	x.scratch = strconv.AppendInt(x.scratch, n, 10)
	x.add(name, x.scratch[from:len(x.scratch):len(x.scratch)])
}

// drop takes out what the answer has of a header.
func (x *Exchange) drop(name []byte) {
	for i := 0; i < len(x.Header); {
		if bytes.Equal(x.Header[i].Name, name) {
			x.Header = append(x.Header[:i], x.Header[i+1:]...)
		} else {
			i++
		}
	}
}

// replaceInt adds a header in place of those of its name.
func (x *Exchange) replaceInt(name []byte, n int64) {
	x.drop(name)
	x.addInt(name, n)
}

// addMillis writes nanoseconds as milliseconds with three places.
func (x *Exchange) addMillis(name []byte, nanos int64) {
	from := len(x.scratch)
	micros := nanos / 1000
	x.scratch = strconv.AppendInt(x.scratch, micros/1000, 10)
	x.scratch = append(x.scratch, '.', byte('0'+micros/100%10), byte('0'+micros/10%10), byte('0'+micros%10))
	x.add(name, x.scratch[from:len(x.scratch):len(x.scratch)])
}

// failureHeaders adds, to what the provider said, how long it was waited for.
func (x *Exchange) failureHeaders() {
	waits := x.call.Timeouts.Total
	if x.Request.Stream {
		waits = x.call.Timeouts.FirstByte
	}
	if waits <= 0 { // nobody was called
		return
	}
	from := len(x.scratch)
	x.scratch = strconv.AppendFloat(x.scratch, waits.Seconds(), 'f', -1, 64)
	if bytes.IndexByte(x.scratch[from:], '.') < 0 {
		x.scratch = append(x.scratch, ".0"...)
	}
	x.add(headTimeout, x.scratch[from:len(x.scratch):len(x.scratch)])
}

// clean makes a client's text fit for a header, in place.
func clean(b []byte) []byte {
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return b
}
