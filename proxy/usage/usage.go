// Package usage reads what a provider says that a call consumed, in the dialects
// that arrive from providers of OpenAI's format. The forms differ in whether the
// tokens of the provider's cache are a part of the prompt's:
//
//	prompt_tokens, prompt_tokens_details.cached_tokens      OpenAI and most others
//	prompt_tokens, prompt_cache_hit_tokens                  DeepSeek
//	prompt_tokens, cached_tokens                            Moonshot
//	prompt_tokens, cache_read_input_tokens, ...             LiteLLM: a part
//	input_tokens, input_tokens_details.cached_tokens        OpenAI's other endpoints
//	input_tokens, cache_read_input_tokens, ...              Anthropic: beside them
//
// and in whether those of reasoning are a part of the answer's: with xAI and
// Google they are not, which the total tells. Google does not say how many there
// were: they are what the total has beside prompt and answer.
package usage

import (
	"bytes"
	"unsafe"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Most is more tokens than any one call has used.
const Most = 1 << 30

// reader is a usage object while it is read.
type reader struct {
	u         llm.Usage
	openai    bool // prompt_tokens stands there
	anthropic bool // input_tokens does
	beside    bool // a count of the cache has Anthropic's name
	byok      bool
	upstream  money.Nano
}

// Read reads a usage object, for whose members it uses the memory of outer and
// inner. What is missing stays 0; what cannot be is brought into range, or not
// believed at all, which is false.
func Read(b []byte, outer, inner *jsonscan.Object) (llm.Usage, bool) {
	outer.Lenient = true
	if outer.Scan(b) != nil {
		return llm.Usage{}, false
	}
	r := reader{}
	for i := range outer.Members {
		if m := &outer.Members[i]; !m.Ours {
			r.member(m, m.Value.Of(b), inner)
		}
	}
	return r.usage()
}

// Tier is the class of service that a value of service_tier names.
func Tier(m *llm.Member, value []byte) llm.Tier {
	if m.Kind != llm.JSONString {
		return llm.TierStandard
	}
	return llm.TierNamed(value[1 : len(value)-1])
}

// SearchSize is the size that a value of search_context_size names.
func SearchSize(m *llm.Member, value []byte) llm.SearchSize {
	if m.Kind != llm.JSONString {
		return llm.SearchUnsaid
	}
	return llm.SearchSizeNamed(value[1 : len(value)-1])
}

// member takes one member of the object.
func (r *reader) member(m *llm.Member, value []byte, inner *jsonscan.Object) {
	u := &r.u
	switch string(m.Name) {
	case "prompt_tokens":
		r.openai = true
		u.Input = max(u.Input, count(m, value))
	case "input_tokens":
		r.anthropic = true
		u.Input = max(u.Input, count(m, value))
	case "completion_tokens", "output_tokens":
		u.Output = max(u.Output, count(m, value))
	case "total_tokens":
		u.Total = count(m, value)
	case "cached_tokens", "prompt_cache_hit_tokens":
		u.CachedIn = max(u.CachedIn, count(m, value))
	case "cache_read_input_tokens":
		r.beside = true
		u.CachedIn = max(u.CachedIn, count(m, value))
	case "cache_creation_input_tokens":
		r.beside = true
		u.CacheWrite = max(u.CacheWrite, count(m, value))
	case "reasoning_tokens":
		u.Reasoning = max(u.Reasoning, count(m, value))
	case "citation_tokens":
		u.Citations = count(m, value)
	case "num_search_queries":
		u.Searches = max(u.Searches, count(m, value))
	case "search_context_size":
		u.SearchSize = SearchSize(m, value)
	case "service_tier":
		u.Tier = Tier(m, value)
	case "seconds": // of a transcription that is billed by time
		u.Millis = thousandths(m, value)
	case "is_byok":
		r.byok = m.Kind == llm.JSONTrue
	case "cost":
		r.cost(m, value, inner)
	case "cost_in_usd_ticks":
		r.ticks(m, value)
	default:
		r.details(m, value, inner)
	}
}

// details takes the parts of the objects that say what tokens were.
func (r *reader) details(m *llm.Member, value []byte, inner *jsonscan.Object) {
	u := &r.u
	var names []detail
	switch string(m.Name) {
	case "prompt_tokens_details", "input_tokens_details":
		names = []detail{
			{"cached_tokens", &u.CachedIn},
			{"audio_tokens", &u.AudioIn},
			{"image_tokens", &u.ImageIn},
			{"video_tokens", &u.VideoIn},
			{"cache_write_tokens", &u.CacheWrite},
			{"cache_creation_tokens", &u.CacheWrite},
			{"web_search_requests", &u.Searches},
		}
	case "completion_tokens_details", "output_tokens_details":
		// Tokens of a prediction, taken or not, are plain tokens of the answer.
		names = []detail{{"reasoning_tokens", &u.Reasoning}, {"audio_tokens", &u.AudioOut}, {"image_tokens", &u.ImageOut}, {"video_tokens", &u.VideoOut}}
	case "cached_tokens_details":
		names = []detail{{"audio_tokens", &u.CachedAudio}, {"image_tokens", &u.CachedImage}}
	case "cache_creation":
		names = []detail{{"ephemeral_1h_input_tokens", &u.CacheWriteHour}}
	case "server_tool_use":
		names = []detail{{"web_search_requests", &u.Searches}}
	case "cost_details":
		if r.scan(m, value, inner) {
			if d := inner.Find("upstream_inference_cost"); d != nil {
				if n, ok := dollars(d, d.Value.Of(value)); ok {
					r.upstream = n
				}
			}
		}
		return
	default:
		return
	}
	if !r.scan(m, value, inner) {
		return
	}
	for _, n := range names {
		if d := inner.Find(n.name); d != nil {
			*n.to = max(*n.to, count(d, d.Value.Of(value)))
		}
	}
	// LiteLLM has what the cache keeps for how long one level deeper.
	if d := inner.Find("cache_creation_token_details"); d != nil {
		r.details(&llm.Member{Name: cacheCreation, Kind: d.Kind}, d.Value.Of(value), inner)
	}
}

var cacheCreation = []byte("cache_creation")

type detail struct {
	name string
	to   *int64
}

func (r *reader) scan(m *llm.Member, value []byte, inner *jsonscan.Object) bool {
	inner.Lenient = true
	return m.Kind == llm.JSONObject && inner.Scan(value) == nil
}

// cost takes what the provider says it charges, in dollars: a number, or an
// object with their total.
func (r *reader) cost(m *llm.Member, value []byte, inner *jsonscan.Object) {
	if r.scan(m, value, inner) {
		if m = inner.Find("total_cost"); m == nil {
			return
		}
		value = m.Value.Of(value)
	}
	if n, ok := dollars(m, value); ok {
		r.u.Charged, r.u.Priced = int64(n), true
	}
}

// ticks takes what xAI says it charges, in 10⁻¹⁰ dollars. That nothing is charged
// is not believed: it is what stands there where nobody has computed it.
//
// Source: https://docs.x.ai/developers/cost-tracking
func (r *reader) ticks(m *llm.Member, value []byte) {
	if bytes.ContainsAny(value, "eE") {
		return
	}
	n := count(m, value)
	nano := n / 10
	if rest := n % 10; rest > 5 || rest == 5 && nano%2 == 1 {
		nano++
	}
	if n > 0 && n <= 10*int64(maxCharge) {
		r.u.Charged, r.u.Priced = nano, true
	}
}

// maxCharge is more than any one call has cost.
const maxCharge = 10_000 * money.Dollar

// dollars reads an amount. The text lives as long as the call.
func dollars(m *llm.Member, value []byte) (money.Nano, bool) {
	if m.Kind != llm.JSONNumber {
		return 0, false
	}
	n, err := money.Parse(unsafe.String(unsafe.SliceData(value), len(value)))
	return n, err == nil && n >= 0 && n <= maxCharge
}

// usage puts together what was read; false if it cannot be.
func (r *reader) usage() (llm.Usage, bool) {
	u := &r.u
	if r.apart() {
		u.Input += u.CachedIn + u.CacheWrite
	}
	switch rest := u.Total - u.Input - u.Output; {
	case rest <= 0:
	case rest == u.Reasoning:
		u.Output += rest
	case u.Reasoning == 0 && u.Input > 0 && u.Citations == 0:
		u.Output += rest
		u.Reasoning = rest
	}
	u.Total = max(u.Total, u.Input+u.Output)
	if u.Total > Most || u.CachedIn > u.Total || u.Reasoning > u.Total {
		return llm.Usage{}, false // nonsense: counted by us instead
	}
	u.CachedIn, u.CacheWrite = min(u.CachedIn, u.Input), min(u.CacheWrite, u.Input)
	u.CacheWriteHour = min(u.CacheWriteHour, u.CacheWrite)
	u.CachedAudio, u.CachedImage = min(u.CachedAudio, u.CachedIn), min(u.CachedImage, u.CachedIn)
	for _, n := range [...]*int64{&u.AudioIn, &u.ImageIn, &u.VideoIn} {
		*n = min(*n, u.Input)
	}
	for _, n := range [...]*int64{&u.Reasoning, &u.AudioOut, &u.ImageOut, &u.VideoOut} {
		*n = min(*n, u.Output)
	}
	for _, n := range [...]*int64{&u.Citations, &u.Searches} {
		*n = min(*n, Most)
	}
	if r.byok { // what the caller's own contract with the provider behind it costs comes on top
		u.Charged = min(u.Charged+int64(r.upstream), int64(maxCharge))
	}
	u.Reported = u.Input+u.Output > 0 || u.Millis > 0
	return *u, true
}

// apart reports whether the tokens of the cache are beside those of the prompt.
func (r *reader) apart() bool {
	u := &r.u
	cache := u.CachedIn + u.CacheWrite
	switch {
	case !r.beside:
		return false
	case r.anthropic && !r.openai, cache > u.Input:
		return true
	default:
		return cache > 0 && u.Total == u.Input+cache+u.Output
	}
}

func count(m *llm.Member, value []byte) int64 {
	if m.Kind != llm.JSONNumber {
		return 0
	}
	return jsonscan.Count(value)
}

// thousandths reads a decimal number in thousandths, rounded up.
func thousandths(m *llm.Member, value []byte) int64 {
	n, ok := dollars(m, value) // of which there are a thousand million to one
	if !ok {
		return 0
	}
	return int64(n+money.Dollar/1000-1) / int64(money.Dollar/1000)
}
