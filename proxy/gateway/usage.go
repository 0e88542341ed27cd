package gateway

import (
	"time"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/tokens"
	"sluice/proxy/usage"
)

// maxTokens is more than any one call has used.
const maxTokens = usage.Most

// readUsage reads a usage object.
func (x *Exchange) readUsage(b []byte) {
	u, ok := usage.Read(b, &x.inner[0], &x.inner[1])
	if !ok {
		return // counted by us instead
	}
	was := &x.Usage
	if u.Tier == llm.TierStandard {
		u.Tier = was.Tier // which may stand outside, in an earlier event
	}
	if was.Reported && !u.Reported { // some end with an empty one
		if u.Priced {
			was.Charged, was.Priced = u.Charged, true
		}
		return
	}
	x.Usage = u
	x.searched()
}

// readTier takes the class of service that an answer, or an event of one, names
// beside the usage; before that is read, which may name one too.
func (x *Exchange) readTier(o *jsonscan.Object, b []byte) {
	if m := o.Find("service_tier"); m != nil && m.Kind == llm.JSONString {
		x.Usage.Tier = usage.Tier(m, m.Value.Of(b))
	}
}

// settleUsage completes the usage of an answer that is whole or was cut.
func (x *Exchange) settleUsage(cut bool) {
	p := x.price
	if x.Usage.Reported {
		x.complete(cut)
	} else {
		x.estimate()
	}
	if x.cited { // LiteLLM takes it for one search too
		x.Usage.Searches = max(x.Usage.Searches, 1)
	}
	if p.Timed() && x.Usage.Millis == 0 {
		x.Usage.Millis = max(x.g.now()-x.began, 0) / int64(time.Millisecond)
	}
	if p.OffPeak(time.Now()) && x.Usage.Tier == llm.TierStandard {
		x.Usage.Tier = llm.TierOffPeak
	}
}

// complete counts what was said beyond what the usage holds: behind it, where the
// answer was cut, or all of it, where the usage has no tokens of an answer.
func (x *Exchange) complete(cut bool) {
	u, p, n := &x.Usage, &x.pump, int64(0)
	switch {
	case !x.Streamed && u.Output == 0:
		n = tokens.Choices(x.Deployment.Model, x.choices.Of(x.whole))
	case !x.Streamed:
	case u.Output == 0:
		n = p.spoken.count(x.Deployment.Model)
	case cut && p.spoken.said > p.told:
		n = p.spoken.after(x.Deployment.Model, p.told)
	}
	if n > 0 {
		u.Output += n
		u.Total += n
		u.Estimated, u.Reported = true, false
	}
}

// citation is in answers of models that have searched the web, and nowhere else:
// within a text its quotes are escaped.
var citation = []byte(`"url_citation"`)

// searched notes the search of a request that asks for one, where the provider
// does not count searches: such a model searches once for each answer.
func (x *Exchange) searched() {
	m := x.Request.Find("web_search_options")
	if m == nil || m.Kind != llm.JSONObject {
		return
	}
	x.Usage.Searches = max(x.Usage.Searches, 1)
	o := &x.inner[0]
	o.Lenient = true
	options := m.Value.Of(x.Request.Body)
	if x.Usage.SearchSize != llm.SearchUnsaid || o.Scan(options) != nil {
		return
	}
	if size := o.Find("search_context_size"); size != nil {
		x.Usage.SearchSize = usage.SearchSize(size, size.Value.Of(options))
	}
}
