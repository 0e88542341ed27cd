package gateway

import (
	"bytes"
	"io"

	"sluice/proxy/bill"
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
	x.readTier(o, x.whole)
	if u := o.Find("usage"); u != nil && u.Kind == llm.JSONObject {
		x.readUsage(u.Value.Of(x.whole))
	}
	x.cited = x.price.Searched() && bytes.Contains(x.whole, citation)
	if c := o.Find("choices"); c != nil {
		x.choices = c.Value
	}
	x.edits = x.edits[:0]
	if m := o.Find("model"); m != nil && m.Kind == llm.JSONString {
		x.edits = append(x.edits, llm.Edit{Span: m.Value, With: x.model})
	}
	x.parts = jsonscan.Splice(x.parts[:0], x.whole, x.edits)
	x.identified(o, x.whole)
	if err := x.end(bill.StatusSuccess, nil); err != nil {
		return nil, err
	}
	x.Status = 200
	x.answerHeaders(b, name)
	x.answer = Answer{Status: 200, ContentType: "application/json", Header: x.Header, Body: x.parts}
	return &x.answer, nil
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
