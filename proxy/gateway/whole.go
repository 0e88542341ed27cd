package gateway

import (
	"io"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// finish makes an answer of a whole body: it must be a JSON object, its model
// becomes the name that the client asked for, and its usage is read.
func (g *Gateway) finish(x *Exchange, b *binding, name []byte) (*Answer, *llm.Error) {
	o := &x.object
	if err := o.Scan(x.whole); err != nil {
		return nil, x.garbage(err)
	}
	if f, bad := b.target.ErrorIn(o, x.whole); bad {
		return nil, x.failure(f, 0)
	}
	if u := o.Find("usage"); u != nil && u.Kind == llm.JSONObject {
		x.readUsage(u.Value.Of(x.whole))
	}
	if c := o.Find("choices"); c != nil {
		x.said = c.Value.To - c.Value.From
	}
	x.edits = x.edits[:0]
	if m := o.Find("model"); m != nil && m.Kind == llm.JSONString {
		x.edits = append(x.edits, llm.Edit{Span: m.Value, With: x.model})
	}
	x.parts = jsonscan.Splice(x.parts[:0], x.whole, x.edits)
	x.Status = 200
	x.answerHeaders(b, name)
	x.answer = Answer{Status: 200, ContentType: "application/json", Header: x.Header, Body: x.parts}
	return &x.answer, nil
}

// maxTokens is more than any one call has used.
const maxTokens = 1 << 30

// readUsage reads an OpenAI usage object. What is missing stays 0; what cannot
// be is brought into range, or not believed at all.
func (x *Exchange) readUsage(b []byte) {
	o := &x.inner[0]
	o.Lenient = true
	if o.Scan(b) != nil {
		return
	}
	u := llm.Usage{}
	for i := range o.Members {
		m := &o.Members[i]
		value := m.Value.Of(b)
		switch string(m.Name) {
		case "prompt_tokens":
			u.Input = count(m, value)
		case "completion_tokens":
			u.Output = count(m, value)
		case "total_tokens":
			u.Total = count(m, value)
		case "prompt_tokens_details":
			u.CachedIn = x.detail(m, value, "cached_tokens")
		case "completion_tokens_details":
			u.Reasoning = x.detail(m, value, "reasoning_tokens")
		}
	}
	u.Total = max(u.Total, u.Input+u.Output)
	if u.Total > maxTokens || u.CachedIn > u.Total || u.Reasoning > u.Total {
		return // nonsense: counted by us instead
	}
	u.Reported = u.Total > 0
	x.Usage = u
}

func count(m *llm.Member, value []byte) int64 {
	if m.Kind != llm.JSONNumber {
		return 0
	}
	return jsonscan.Count(value)
}

// detail reads one count of an object inside the usage object.
func (x *Exchange) detail(m *llm.Member, value []byte, name string) int64 {
	o := &x.inner[1]
	o.Lenient = true
	if m.Kind != llm.JSONObject || o.Scan(value) != nil {
		return 0
	}
	d := o.Find(name)
	if d == nil {
		return 0
	}
	return count(d, d.Value.Of(value))
}

// replay is a source of bytes that are there already.
type replay struct{ b []byte }

func (r *replay) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (*replay) Close() {}
