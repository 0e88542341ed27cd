package gateway

import (
	"bytes"

	"sluice/proxy/bill"
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// keeping collects what a stream says, where requests and answers are kept.
type keeping struct {
	on   bool
	text []byte // what the deltas said, as JSON has it
}

// maxKeptText bounds what is kept of a stream's text, and maxKeptBody a whole
// request or answer, in bytes. What is longer is not kept.
const (
	maxKeptText = 64 << 10
	maxKeptBody = 512 << 10
)

func (k *keeping) reset() {
	text := k.text[:0]
	if cap(text) > maxKept {
		text = nil
	}
	*k = keeping{text: text}
}

// keeps reports whether request and answer are to be kept: where the operator
// wants it, and the client has not asked for less.
func (x *Exchange) keeps() bool {
	if !x.g.terms.Keep || x.Said.Redact {
		return false
	}
	if x.g.terms.IgnoreNoLog {
		return true
	}
	m := x.Request.Find("no-log")
	return m == nil || m.Kind != llm.JSONTrue
}

// heard takes over what an event says.
func (k *keeping) heard(data []byte) {
	const name = `"content":`
	i := bytes.Index(data, []byte(name))
	if i < 0 || len(k.text) > maxKeptText {
		return
	}
	span, kind, err := jsonscan.Value(data, i+len(name))
	if err != nil || kind != llm.JSONString {
		return
	}
	k.text = append(k.text, data[span.From+1:span.To-1]...)
}

// keepBodies hands over what is kept of the exchange, and what the client said
// of it beyond what a row holds. It may be lost.
func (x *Exchange) keepBodies(status bill.Status) {
	keeps := x.keeps() && len(x.Body) <= maxKeptBody
	if !keeps && len(x.manyMetadata) == 0 {
		return
	}
	var messages, response []byte
	if keeps {
		if m := x.Request.Find("messages"); m != nil {
			messages = m.Value.Of(x.Body)
		}
		switch {
		case x.Streamed:
			response = append(append([]byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"`), x.kept.text...), `"}}]}`...)
		case status == bill.StatusSuccess && len(x.whole) <= maxKeptBody:
			response = x.whole
		}
	}
	x.g.journal.Body(x.id, x.attempt, messages, response, x.manyMetadata)
}
