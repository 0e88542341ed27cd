package gateway

import (
	"bytes"
	"errors"
	"io"

	"sluice/proxy/bill"
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/provider"
	"sluice/proxy/sse"
	"sluice/proxy/upstream"
)

// source is where a stream's bytes come from: a provider's answer, or a mock.
type source interface {
	Read(p []byte) (int, error)
	Close()
}

// pump is the stream of an exchange: it reads the provider's bytes, looks at
// each whole event and passes it on. It runs in the goroutine of whoever reads
// it. Its stages are fixed: usage, the model's name, the usage chunk that
// nobody asked for. An event that is built like the first one is not parsed.
type pump struct {
	x      *Exchange
	target *provider.Target
	src    source

	in   []byte // in[r:w] was read and not looked at
	r, w int
	seen int    // bytes of in[r:w] that hold no whole event
	out  []byte // out[o:] is to be given to the reader
	o    int

	// The model member of the first event: where it stood, what it was, and
	// what it becomes.
	at      int
	pattern []byte
	becomes []byte

	form     form // of the last event that said something
	spoken   speech
	told     int64 // bytes of what was spoken when the usage was
	withhold bool  // usage chunks
	seeks    bool  // searches of the web have a price, and none was seen
	begun    bool  // the first bytes were looked at
	started  bool  // an event with data has passed
	done     bool  // the terminal event has passed
	broken   bool  // an error event has been produced
	joined   []byte
}

var _ Stream = (*pump)(nil)

// Sizes of the pump's buffers, in bytes.
const (
	pumpStart   = 2 << 10 // some events; most streams never have more at once
	pumpRead    = 4 << 10
	pumpComment = 64 << 10 // comments that may wait for the first event
)

func (p *pump) reset() {
	in, out, pattern, becomes, joined, text := p.in, p.out[:0], p.pattern[:0], p.becomes[:0], p.joined[:0], p.spoken.text[:0]
	f := form{head: p.form.head[:0], tail: p.form.tail[:0]}
	if cap(in)+cap(out)+cap(joined)+cap(text) > maxKept {
		in, out, joined, text = nil, nil, nil, nil
	}
	*p = pump{in: in, out: out, pattern: pattern, becomes: becomes, joined: joined, form: f, spoken: speech{text: text}}
}

// stream answers with a stream once its first event is there: until then a
// failure is an ordinary answer, and another deployment may be tried.
func (g *Gateway) stream(x *Exchange, b *binding, name []byte, src source) (*Answer, *llm.Error) {
	p := &x.pump
	p.reset()
	p.x, p.target, p.src = x, b.target, src
	p.seeks = x.price.Searched()
	p.withhold = !x.Request.IncludeUsage && !g.alwaysUsage
	x.kept.on = g.journal != nil && x.keeps()
	for !p.started && !p.done && len(p.out) < pumpComment {
		if err := p.turn(); err != nil {
			if p.started {
				p.end(err)
				break
			}
			src.Close()
			x.UpstreamNanos += g.now() - x.began
			return nil, err
		}
	}
	x.UpstreamNanos += g.now() - x.began
	x.Streamed, x.Status = true, 200
	x.answerHeaders(b, name)
	x.putAway()
	x.answer = Answer{Status: 200, ContentType: "text/event-stream; charset=utf-8", Header: x.Header, Stream: p}
	return &x.answer, nil
}

// Read implements Stream.
func (p *pump) Read(dst []byte) (int, error) {
	if err := p.fill(); err != nil {
		return 0, err
	}
	n := copy(dst, p.out[p.o:])
	p.o += n
	return n, nil
}

// WriteTo implements io.WriterTo: what one read of the provider completed is one
// Write, with no buffer between.
func (p *pump) WriteTo(w io.Writer) (total int64, err error) {
	for {
		switch err := p.fill(); {
		case errors.Is(err, io.EOF):
			return total, nil
		case err != nil:
			return total, err
		}
		n, err := w.Write(p.out[p.o:])
		p.o += n
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// fill reads until there is something to pass on.
func (p *pump) fill() error {
	for p.o == len(p.out) {
		p.out, p.o = p.out[:0], 0
		switch {
		case p.done:
			return io.EOF
		case p.broken:
			return io.ErrUnexpectedEOF
		}
		if err := p.turn(); err != nil {
			p.end(err)
		}
	}
	return nil
}

// Close implements Stream.
func (p *pump) Close() error {
	if p.src == nil {
		return nil
	}
	p.src.Close()
	p.src = nil
	if !p.done && !p.broken && p.x.Err == nil {
		// The reader gave up before the end: the client is gone, or too slow.
		err := p.x.canceled()
		if err == nil {
			err = &llm.Error{Kind: llm.KindClientGone, Message: "The client did not read the stream to its end."}
		}
		p.x.Err = err
	}
	return nil
}

// end produces the error event that ends the stream.
func (p *pump) end(err *llm.Error) {
	p.x.Err, p.broken = err, true
	p.x.Streamed = true
	_ = p.x.end(bill.StatusCut, err) // what cannot be written is counted
	p.out = p.x.Dialect.StreamError(p.out, err)
	p.src.Close()
}

// turn reads once and takes all events that the read completed.
func (p *pump) turn() *llm.Error {
	p.room()
	n, err := p.src.Read(p.in[p.w:])
	p.w += n
	if e := p.events(); e != nil || p.done {
		return e
	}
	p.x.advance(&p.spoken)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, io.EOF):
		return p.x.broke(err)
	default:
		return p.x.cutShort()
	}
}

// room makes space for a read. A whole event must fit.
func (p *pump) room() {
	switch {
	case p.in == nil:
		p.in = make([]byte, pumpStart)
	case p.r == p.w:
		if p.w == len(p.in) && p.w < pumpRead { // more came than it takes
			p.in = make([]byte, pumpRead)
		}
		p.r, p.w = 0, 0
	case p.w == len(p.in) && p.r > 0:
		p.w = copy(p.in, p.in[p.r:p.w])
		p.r = 0
	case p.w == len(p.in):
		grown := make([]byte, 2*len(p.in))
		copy(grown, p.in[:p.w])
		p.in = grown
	}
}

// begin passes over a byte order mark at the start of the stream; false means
// that more bytes are needed to tell.
func (p *pump) begin() bool {
	b := p.in[p.r:p.w]
	if n := min(len(b), len(orderMark)); string(b[:n]) == orderMark[:n] {
		if n < len(orderMark) {
			return false
		}
		p.r += n
	}
	p.begun = true
	return true
}

const orderMark = "\xef\xbb\xbf"

// events takes the whole events that are there.
func (p *pump) events() *llm.Error {
	if !p.begun && !p.begin() {
		return nil
	}
	for p.r < p.w {
		b := p.in[p.r:p.w]
		ev, ok := sse.Next(b, p.seen)
		if !ok {
			if p.seen = len(b); len(b) > sse.MaxEvent {
				return p.x.protocol("an event of the stream is longer than 1 MiB", nil)
			}
			return nil
		}
		p.seen = 0
		p.r += ev.Len
		if e := p.event(b[:ev.Len], ev); e != nil || p.done {
			return e
		}
	}
	return nil
}

var (
	doneData  = []byte("[DONE]")
	usageName = []byte(`"usage"`)
	colonNull = []byte(":null")
	spaceNull = []byte(": null")
)

// hasUsage says whether an event may report usage. Many providers send a null
// with every event.
func hasUsage(data []byte) bool {
	i := bytes.Index(data, usageName)
	if i < 0 {
		return false
	}
	rest := data[i+len(usageName):]
	return !bytes.HasPrefix(rest, colonNull) && !bytes.HasPrefix(rest, spaceNull)
}

// event passes one event on.
func (p *pump) event(b []byte, ev sse.Event) *llm.Error {
	if ev.Lines == 0 { // a comment, or fields that carry nothing
		p.out = append(p.out, b...)
		return nil
	}
	if ev.Lines > 1 {
		// JSON over several lines: a line feed between tokens means nothing.
		p.joined = sse.AppendData(append(p.joined[:0], "data: "...), b)
		for i := range p.joined {
			if p.joined[i] == '\n' {
				p.joined[i] = ' '
			}
		}
		ev = sse.Event{Data: llm.Span{From: len("data: "), To: len(p.joined)}, Lines: 1}
		p.joined = append(p.joined, "\n\n"...)
		b = p.joined
	}
	data := ev.Data.Of(b)
	if p.alike(data) {
		if p.x.kept.on {
			p.x.kept.heard(data)
		}
		at := ev.Data.From + p.at
		p.out = append(append(append(p.out, b[:at]...), p.becomes...), b[at+len(p.pattern):]...)
		return nil
	}
	if bytes.Equal(bytes.TrimRight(data, " "), doneData) {
		p.started = true
		if err := p.x.delivered(); err != nil {
			return err
		}
		p.done = true
		p.out = append(p.out, b...)
		return nil
	}
	return p.parse(b, ev, data)
}

// alike takes what an event says that is built like the first one and reports no
// usage; false leaves it to be parsed. Most events of a stream differ from the
// one before in their text alone: then two comparisons tell, and nothing is
// searched for.
func (p *pump) alike(data []byte) bool {
	if text, ok := p.form.text(data); ok {
		p.spoken.say(text)
		return true
	}
	if p.seeks && bytes.Contains(data, citation) {
		p.x.cited, p.seeks = true, false
	}
	n := p.at + len(p.pattern)
	if len(p.pattern) == 0 || len(data) <= n || !bytes.Equal(data[p.at:n], p.pattern) || hasUsage(data) {
		return false
	}
	if text := p.spoken.hear(data); text.Present() && text.From >= n {
		p.form.learn(data, text)
	}
	return true
}

// parse is the long way: errors, usage, an event of another build.
func (p *pump) parse(b []byte, ev sse.Event, data []byte) *llm.Error {
	if len(bytes.TrimSpace(data)) == 0 {
		p.out = append(p.out, b...)
		return nil
	}
	o := &p.x.object
	if err := o.Scan(data); err != nil {
		return p.x.protocol("an event of the stream is not a JSON object", err)
	}
	if f, bad := p.target.ErrorIn(o, data); bad {
		return p.x.failure(f, 0)
	}
	p.started = true
	p.x.readTier(o, data)
	u := o.Find("usage")
	used := u != nil && u.Kind == llm.JSONObject
	if used {
		p.x.readUsage(u.Value.Of(data))
		if p.told = p.spoken.said; p.withhold && noChoices(o, data) {
			return nil
		}
	}
	if p.spoken.hear(data); used {
		p.told = p.spoken.said
	}
	if p.x.kept.on {
		p.x.kept.heard(data)
	}
	p.x.identified(o, data)
	m := o.Find("model")
	if m == nil || m.Kind != llm.JSONString {
		p.out = append(p.out, b...)
		return nil
	}
	if len(p.pattern) == 0 {
		p.at = m.Key.From
		p.pattern = append(p.pattern[:0], data[m.Key.From:m.Value.To]...)
		p.becomes = append(append(p.becomes[:0], data[m.Key.From:m.Value.From]...), p.x.model...)
	}
	at := ev.Data.From
	p.out = append(append(append(p.out, b[:at+m.Value.From]...), p.x.model...), b[at+m.Value.To:]...)
	return nil
}

// noChoices says whether an event carries nothing but its usage.
func noChoices(o *jsonscan.Object, data []byte) bool {
	c := o.Find("choices")
	if c == nil || c.Kind != llm.JSONArray {
		return true
	}
	inside := c.Value.Of(data)
	return len(bytes.TrimSpace(inside[1:len(inside)-1])) == 0
}

// isStream says whether an answer's content type is that of an event stream.
func isStream(resp *upstream.Response) bool {
	ct := resp.Header("content-type")
	return len(ct) == 0 || bytes.HasPrefix(ct, eventStream)
}

var eventStream = []byte("text/event-stream")
