package fakeprovider

import (
	"strconv"
	"time"
)

// Model is the provider's own name for what it serves; it stands in every
// answer whatever was asked for, so that a gateway's splicing is visible.
const Model = "fake-large-2026-05-13"

// Range is a number of which the request's id picks the value, Min to Max.
type Range struct{ Min, Max int }

func (r Range) pick(seed uint64) int {
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + int(seed%uint64(r.Max-r.Min+1))
}

// Shape says how large answers are and how fast streams come.
type Shape struct {
	Body   int           // bytes of a whole answer's body; it is never shorter than its frame
	Events Range         // content events of a stream
	Size   Range         // bytes of text in one content event
	Every  time.Duration // time between two events; 0 sends all at once
	Null   bool          // where usage was asked for, the other chunks say "usage":null, as OpenAI's do
	Prompt int           // tokens that the prompt is said to have; 0 is 8 to 71, by the id
}

// DefaultShape is what an empty script serves: 1 KB, or 20 events at once.
var DefaultShape = Shape{Body: 1024, Events: Range{20, 20}, Size: Range{24, 24}}

// Tokens is what the provider says that a request cost.
type Tokens struct {
	Prompt     int64 `json:"prompt"`
	Completion int64 `json:"completion"`
}

// hash is FNV-1a over the id, finished so that low bits are good.
func hash(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	return h ^ h>>33
}

// words are what answers are made of. Some are traps for whoever edits JSON
// by searching for text.
var words = [64]string{
	"sluice ", "water ", "gate ", "river ", "lock ", "weir ", "canal ", "basin ", "level ", "flow ", "the ", "a ", "of ", "and ", "to ", "in ",
	"model ", "usage ", "choices ", "opens ", "closes ", "rises ", "falls ", "holds ", "one ", "two ", "three ", "four ", "north ", "south ", "east ", "west ",
	"bridge ", "mill ", "stone ", "timber ", "iron ", "clay ", "bank ", "keeper ", "night ", "day ", "hour ", "barge ", "boat ", "rope ", "chain ", "wheel ",
	`\"model\":\"x\" `, `\"usage\":{} `, `data: [DONE]\n\n`, `{\"a\":[1]} `, "\u00e9t\u00e9 ", `\u00e9 `, "\u6c34\u9580 ", "\U0001f30a ", `\\ `, `\/ `, `\t`, `}]} `, `,\"id\" `, "quay ", "pier ", "dam ",
}

// appendText adds exactly n bytes of a JSON string's inside.
func appendText(dst []byte, seed uint64, n int) []byte {
	for n > 0 {
		seed = seed*6364136223846793005 + 1442695040888963407
		w := words[seed>>58]
		if len(w) > n {
			for ; n > 0; n-- {
				dst = append(dst, '.')
			}
			break
		}
		dst = append(dst, w...)
		n -= len(w)
	}
	return dst
}

func appendID(dst []byte, h uint64) []byte {
	dst = append(dst, "chatcmpl-"...)
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[h>>uint(shift)&15])
	}
	return dst
}

// Tokens says what an answer of this shape costs.
func (s Shape) Tokens(id string, stream bool) Tokens {
	h := hash(id)
	prompt := int64(8 + h>>40%64)
	if s.Prompt > 0 {
		prompt = int64(s.Prompt)
	}
	if stream {
		return Tokens{Prompt: prompt, Completion: int64(s.Events.pick(h))}
	}
	return Tokens{Prompt: prompt, Completion: int64(max(s.Body/5, 1))}
}

func appendUsage(dst []byte, t Tokens) []byte {
	dst = append(dst, `{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, t.Prompt, 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, t.Completion, 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, t.Prompt+t.Completion, 10)
	return append(dst, `,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}`...)
}

// Whole is the body of the answer to a request that is not streamed. Another
// model name than the provider's own changes nothing else, as splicing does.
func (s Shape) Whole(id, model string) []byte {
	return s.appendWhole(nil, id, model, appendUsage(nil, s.Tokens(id, false)))
}

func (s Shape) appendWhole(dst []byte, id, model string, usage []byte) []byte {
	h, start := hash(id), len(dst)
	dst = append(dst, `{"id":"`...)
	dst = appendID(dst, h)
	dst = append(dst, `","object":"chat.completion","created":1700000000,"model":"`...)
	dst = append(dst, model...)
	dst = append(dst, `","choices":[{"index":0,"message":{"role":"assistant","content":"`...)
	const tail = `","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}]`
	const last = `,"service_tier":"default","system_fingerprint":"fp_fake"}`
	length := s.Body - (len(dst) - start - len(model) + len(Model)) - len(tail) - len(`,"usage":`) - len(usage) - len(last)
	dst = appendText(dst, h, max(length, 1))
	dst = append(dst, tail...)
	if usage != nil {
		dst = append(dst, `,"usage":`...)
		dst = append(dst, usage...)
	}
	return append(dst, last...)
}

// Stream is the body of the streamed answer, all events in order with
// data: [DONE] last; usage says whether the usage chunk is among them.
func (s Shape) Stream(id, model string, usage bool) []byte {
	var dst []byte
	for i, n := 0, s.Chunks(id, usage); i < n; i++ {
		dst = s.appendEvent(dst, id, model, usage, i, nil)
	}
	return dst
}

// Chunks counts the events of a stream: the opening one, the content, the
// closing one, the usage where it was asked for, and [DONE].
func (s Shape) Chunks(id string, usage bool) int {
	n := s.Events.pick(hash(id)) + 3
	if usage {
		n++
	}
	return n
}

// appendEvent adds event i. said replaces the usage object where it is not nil.
func (s Shape) appendEvent(dst []byte, id, model string, usage bool, i int, said []byte) []byte {
	h := hash(id)
	content := s.Events.pick(h)
	if i == s.Chunks(id, usage)-1 {
		return append(dst, "data: [DONE]\n\n"...)
	}
	dst = append(dst, `data: {"id":"`...)
	dst = appendID(dst, h)
	dst = append(dst, `","object":"chat.completion.chunk","created":1700000000,"model":"`...)
	dst = append(dst, model...)
	dst = append(dst, `","system_fingerprint":"fp_fake","choices":[`...)
	switch {
	case i == 0:
		dst = append(dst, `{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]`...)
	case i <= content:
		dst = append(dst, `{"index":0,"delta":{"content":"`...)
		seed := h + uint64(i)*0x9e3779b97f4a7c15
		dst = appendText(dst, seed, s.Size.pick(seed>>20))
		dst = append(dst, `"},"logprobs":null,"finish_reason":null}]`...)
	case i == content+1:
		dst = append(dst, `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]`...)
	default:
		dst = append(dst, `],"usage":`...)
		if said == nil {
			dst = appendUsage(dst, s.Tokens(id, true))
		} else {
			dst = append(dst, said...)
		}
		return append(dst, "}\n\n"...)
	}
	if usage && s.Null {
		dst = append(dst, `,"usage":null`...)
	}
	return append(dst, "}\n\n"...)
}
