package gateway

import (
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
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
	u.Tier = max(u.Tier, x.Usage.Tier) // which may stand outside, in an earlier event
	x.Usage = u
	x.searched()
}

// readTier takes the class of service that an answer, or an event of one, names.
func (x *Exchange) readTier(o *jsonscan.Object, b []byte) {
	if m := o.Find("service_tier"); m != nil && x.Usage.Tier == llm.TierStandard {
		x.Usage.Tier = usage.Tier(m, m.Value.Of(b))
	}
}

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
