// Package sse finds whole events in the bytes of an event stream, by the rules
// of the WHATWG (HTML, section 9.2), without copying and without parsing what
// is inside.
package sse

import (
	"bytes"

	"sluice/proxy/llm"
)

// MaxEvent bounds one event, its blank line included, in bytes.
const MaxEvent = 1 << 20

// Event is where the parts of one whole event lie.
type Event struct {
	Len  int      // with its blank line
	Data llm.Span // of its data line, without "data:" and the space after it
	// Lines counts data lines. With more than one, Data spans from the first to
	// the last and has to be joined with AppendData.
	Lines int
}

// Next finds the first whole event in b; false means that its blank line is not
// there yet. from says how many bytes were seen to hold none before; it saves
// looking at them again and may be 0. CR LF, LF and CR end lines. A CR at the
// end of b counts as a line end at once: a line feed that follows is then an
// empty line before the next event, which means nothing.
func Next(b []byte, from int) (e Event, ok bool) {
	// All but odd streams end their lines with LF alone.
	i := max(from-1, 0)
	for {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			break
		}
		if i += n + 1; i < len(b) && b[i] == '\n' {
			if bytes.IndexByte(b[:i], '\r') >= 0 {
				break
			}
			if from == 0 && i == n+1 { // one line, as nearly all are
				if value, ok := dataLine(b, 0, n); ok {
					return Event{Len: i + 1, Data: llm.Span{From: value, To: n}, Lines: 1}, true
				}
			}
			return parse(b[:i+1]), true
		}
	}
	if bytes.IndexByte(b, '\r') < 0 {
		return Event{}, false
	}
	if end := odd(b); end > 0 {
		return parse(b[:end]), true
	}
	return Event{}, false
}

// odd finds the end of the first blank line where carriage returns are used.
func odd(b []byte) int {
	empty := false // the line that ends next has nothing in it, and one with something came before
	any := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c != '\r' && c != '\n':
			empty, any = false, true
			continue
		case c == '\r' && i+1 < len(b) && b[i+1] == '\n':
			i++
		}
		if empty && any {
			return i + 1
		}
		empty = true
	}
	return 0
}

// parse finds the data lines of a whole event.
func parse(b []byte) Event {
	e := Event{Len: len(b)}
	for i := 0; i < len(b); {
		end := i
		for end < len(b) && b[end] != '\n' && b[end] != '\r' {
			n := bytes.IndexByte(b[end:], '\n')
			if n < 0 {
				n = len(b) - end
			}
			if cr := bytes.IndexByte(b[end:end+n], '\r'); cr >= 0 {
				n = cr
			}
			end += n
		}
		if value, ok := dataLine(b, i, end); ok {
			if e.Lines++; e.Lines == 1 {
				e.Data.From = value
			}
			e.Data.To = end
		}
		i = end + 1
	}
	return e
}

// dataLine says whether a line is a data line, and where its value starts.
func dataLine(b []byte, from, to int) (value int, ok bool) {
	const name = "data"
	if to-from < len(name) || string(b[from:from+len(name)]) != name {
		return 0, false
	}
	from += len(name)
	if from == to {
		return to, true
	}
	if b[from] != ':' {
		return 0, false
	}
	if from++; from < to && b[from] == ' ' {
		from++
	}
	return from, true
}

// AppendData appends the data of an event with several data lines, joined by
// line feeds as the standard says.
func AppendData(dst, event []byte) []byte {
	first := true
	for i := 0; i < len(event); {
		end := i
		for end < len(event) && event[end] != '\n' && event[end] != '\r' {
			end++
		}
		if value, ok := dataLine(event, i, end); ok {
			if !first {
				dst = append(dst, '\n')
			}
			dst, first = append(dst, event[value:end]...), false
		}
		i = end + 1
	}
	return dst
}
