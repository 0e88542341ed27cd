package gateway

import "sluice/proxy/llm"

// Sizes of what is no text, in bytes of an answer in OpenAI's format.
const (
	bytesPerToken = 4
	frameMessage  = len(`[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}]`)
	frameContent  = len(`"content":""`)
)

// speech measures the events of a stream that are passed on without being
// parsed: three additions an event.
type speech struct {
	events int
	bytes  int
	least  int // bytes of the smallest event: what frames the text of the others
}

func (s *speech) add(n int) {
	s.events++
	s.bytes += n
	if s.least == 0 || n < s.least {
		s.least = n
	}
}

// tokens is the larger of two readings: four bytes of text to a token, and a
// token to an event, but for the two that open and close a stream.
func (s *speech) tokens() int64 {
	text := s.bytes - s.events*(s.least+frameContent)
	return max(tokensOf(text), int64(s.events-2), 0)
}

func tokensOf(bytes int) int64 { return int64((max(bytes, 0) + bytesPerToken - 1) / bytesPerToken) }

// estimate stands in for the usage of an answer whose provider reported none,
// or which ended before it could.
func (x *Exchange) estimate() {
	u := llm.Usage{Estimated: true}
	if m := x.Request.Find("messages"); m != nil {
		u.Input = tokensOf(m.Value.To - m.Value.From)
	}
	if x.Streamed {
		u.Output = x.pump.spoken.tokens()
	} else {
		u.Output = tokensOf(x.said - frameMessage)
	}
	u.Total = u.Input + u.Output
	x.Usage = u
}
