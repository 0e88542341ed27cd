package gateway

import (
	"bytes"

	"sluice/proxy/price"
)

// media are the pictures and the sound in a prompt, which cost by other measures
// than its text.
type media struct {
	pictures int64
	millis   int64 // of sound, at most
	known    bool
}

// seen are the pictures and the sound of the request. It is asked for where a
// budget holds the call alone, so that other calls pay nothing for it.
func (x *Exchange) seen() media {
	m := &x.media
	if !m.known {
		*m = media{known: true}
		if in := x.Request.Find("messages"); in != nil {
			m.look(in.Value.Of(x.Body))
		}
	}
	return *m
}

// ask is the most that a call may use whose answers have so many tokens at most.
func (x *Exchange) ask(b *binding, most int64) price.Ask {
	s := &x.spending
	a := price.Ask{Tier: x.tier(), Prompt: s.prompt, Output: most * x.answers(), Context: b.maxInput}
	if bounded(s.limits) {
		m := x.seen()
		a.Pictures, a.Sound = m.pictures, m.millis
	}
	return a
}

// longestName is the longest string that may be one of the names below, each of
// whose letters may be escaped.
const longestName = 6 * len("input_audio")

// What the last name says of the text that follows it.
const (
	textAny = iota
	textType
	textSound
)

// look goes through messages from quote to quote. What a text says is not
// looked at, however long it is, but for its quotes: within it they are escaped.
// Messages whose contents are all texts are done at once.
func (m *media) look(b []byte) {
	if !parts(b) {
		return
	}
	next, sounding := textAny, false
	for {
		from := bytes.IndexByte(b, '"')
		if from < 0 {
			return
		}
		b = b[from+1:]
		n := quoted(b)
		text := b[:n]
		b = b[min(n+1, len(b)):]
		if !named(b) {
			switch {
			case next == textSound:
				m.millis += soundMillis(text)
			case next == textType && (string(text) == "image" || string(text) == "input_image"):
				m.pictures++ // other dialects' names, which some providers take too
			}
			next = textAny
			continue
		}
		next = textAny
		if len(text) > longestName {
			continue
		}
		if bytes.IndexByte(text, '\\') >= 0 {
			text = []byte(unescaped(text))
		}
		switch string(text) {
		case "type":
			next = textType
		case "image_url":
			m.pictures++
			sounding = false
		case "input_audio", "audio_url":
			sounding = true
		case "data", "url":
			if sounding {
				next = textSound
			}
		}
	}
}

// parts reports whether a member may be a list, as contents with pictures or
// sound are: a bracket behind a colon. A text may hold that too.
func parts(b []byte) bool {
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], '[')
		if i < 0 {
			return false
		}
		at += i
		before := at - 1
		for before >= 0 && space(b[before]) {
			before--
		}
		if before >= 0 && b[before] == ':' {
			return true
		}
	}
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// named reports whether the string before b is a name.
func named(b []byte) bool {
	for _, c := range b {
		if !space(c) {
			return c == ':'
		}
	}
	return false
}
