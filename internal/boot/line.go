package boot

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// handler turns records into lines. Bound attributes are kept in both forms.
type handler struct {
	sink  *sink
	group string // prefix of keys, with its dot
	json  []byte // bound attributes, each with a comma before it
	text  []byte // bound attributes, each with a blank before it
}

var lines = sync.Pool{New: func() any { return new(make([]byte, 0, 1024)) }}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.sink.level.Level()
}

// Handle implements slog.Handler. It never waits for the writer and never
// returns an error.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	h.emit(r.Time, r.Level, r.Message, nil, &r)
	return nil
}

// emit writes one line with the attributes of either source.
func (h *handler) emit(at time.Time, level slog.Level, message string, attrs []slog.Attr, r *slog.Record) {
	s := h.sink
	json := s.json.Load()
	if level >= slog.LevelWarn && !s.admitted(at, level, message) {
		s.rouse()
		return
	}
	buf := lines.Get().(*[]byte)
	b := appendHead((*buf)[:0], json, at, level, message)
	if json {
		b = append(b, h.json...)
	} else {
		b = append(b, h.text...)
	}
	for _, a := range attrs {
		b = appendAttr(b, json, h.group, a)
	}
	if r != nil {
		b = h.appendRecord(b, json, r)
	}
	b = appendEnd(b, json)
	s.put(b)
	if cap(b) <= maxLine {
		*buf = b
		lines.Put(buf)
	}
}

// appendRecord stands alone so that its closure costs emit nothing.
func (h *handler) appendRecord(b []byte, json bool, r *slog.Record) []byte {
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, json, h.group, a)
		return true
	})
	return b
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler { return h.with(attrs) }

// WithGroup implements slog.Handler. Groups are shown as prefixes of keys,
// "group.key", in both forms.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	out := *h
	out.group += name + "."
	return &out
}

func (h *handler) with(attrs []slog.Attr) *handler {
	out := *h
	out.json, out.text = slices.Clone(h.json), slices.Clone(h.text)
	for _, a := range attrs {
		out.json = appendAttr(out.json, true, h.group, a)
		out.text = appendAttr(out.text, false, h.group, a)
	}
	return &out
}

// line makes a line of the log's own. It needs mu.
func (s *sink) line(level slog.Level, message string, attrs ...slog.Attr) []byte {
	json := s.json.Load()
	b := appendHead(nil, json, time.Now(), level, message)
	if json {
		b = append(b, s.base.json...)
	} else {
		b = append(b, s.base.text...)
	}
	for _, a := range attrs {
		b = appendAttr(b, json, "", a)
	}
	return appendEnd(b, json)
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "DEBUG"
	case level < slog.LevelWarn:
		return "INFO"
	case level < slog.LevelError:
		return "WARNING"
	default:
		return "ERROR"
	}
}

func appendHead(b []byte, json bool, at time.Time, level slog.Level, message string) []byte {
	if !json {
		b = appendTime(b, at)
		b = append(b, ' ')
		b = append(b, levelName(level)...)
		b = append(b, ' ')
		return appendText(b, message, false)
	}
	b = append(b, `{"message":`...)
	b = appendQuoted(b, message)
	b = append(b, `,"level":"`...)
	b = append(b, levelName(level)...)
	b = append(b, `","timestamp":"`...)
	b = appendTime(b, at)
	return append(b, '"')
}

// appendTime writes a time as 2006-01-02T15:04:05.000000Z. It does what
// AppendFormat does, at a fifth of the cost.
func appendTime(b []byte, at time.Time) []byte {
	at = at.UTC()
	year, month, day := at.Date()
	hour, minute, second := at.Clock()
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = append(appendDigits(b, second, 2), '.')
	return append(appendDigits(b, at.Nanosecond()/1000, 6), 'Z')
}

// appendDigits writes the last n digits of v.
func appendDigits(b []byte, v, n int) []byte {
	from := len(b)
	b = append(b, "000000"[:n]...)
	for i := from + n - 1; i >= from; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}

// appendEnd ends a line and cuts one that is too long. A JSON line that would
// be cut keeps its head alone, so that it can still be read.
func appendEnd(b []byte, json bool) []byte {
	switch {
	case len(b) <= maxLine:
	case json:
		b = append(b[:0], `{"message":"log line too long","level":"WARNING","timestamp":"`...)
		b = time.Now().UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	default:
		b = append(b[:maxLine], "…"...)
	}
	if json {
		b = append(b, '}')
	}
	return append(b, '\n')
}

func appendAttr(b []byte, json bool, group string, a slog.Attr) []byte {
	v := a.Value
	if v.Kind() == slog.KindLogValuer {
		v = v.Resolve()
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			b = appendAttr(b, json, group, inner)
		}
		return b
	}
	if a.Key == "" {
		return b
	}
	if json {
		b = append(b, ',', '"')
		b = appendEscaped(b, group)
		b = appendEscaped(b, a.Key)
		b = append(b, '"', ':')
	} else {
		b = append(b, ' ')
		b = append(b, group...)
		b = append(b, a.Key...)
		b = append(b, '=')
	}
	return appendValue(b, json, v)
}

func appendValue(b []byte, json bool, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendString(b, json, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		return appendFloat(b, json, v.Float64())
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration: // seconds
		return strconv.AppendFloat(b, v.Duration().Seconds(), 'f', -1, 64)
	case slog.KindTime:
		b = append(b, '"')
		b = v.Time().UTC().AppendFormat(b, time.RFC3339Nano)
		return append(b, '"')
	default:
		return appendString(b, json, describe(v.Any()))
	}
}

func appendFloat(b []byte, json bool, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendString(b, json, strconv.FormatFloat(f, 'g', -1, 64))
	}
	// Durations have three places: the shortest form is theirs.
	if n := int64(f*1000 + 0.5); f > 0 && n < 1e12 && float64(n)/1000 == f {
		b = strconv.AppendInt(b, n/1000, 10)
		if n %= 1000; n > 0 {
			b = appendDigits(append(b, '.'), int(n), 3)
			for b[len(b)-1] == '0' {
				b = b[:len(b)-1]
			}
		}
		return b
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// describe shows a value of any type. A value whose methods panic, a nil
// pointer for one, is shown as its type.
func describe(v any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("%T", v)
		}
	}()
	switch x := v.(type) {
	case nil:
		return "null"
	case error:
		return x.Error()
	case []byte:
		return string(x)
	case encoding.TextMarshaler:
		data, err := x.MarshalText()
		if err != nil {
			return fmt.Sprintf("%T", v)
		}
		return string(data)
	default:
		return fmt.Sprintf("%v", v)
	}
}

func appendString(b []byte, json bool, s string) []byte {
	if json {
		return appendQuoted(b, s)
	}
	return appendText(b, s, true)
}

// appendText writes a text that is quoted where it needs to be. Messages are
// quoted for control characters alone.
func appendText(b []byte, s string, value bool) []byte {
	plain, ascii := !value || s != "", true
	for i := 0; i < len(s) && plain; i++ {
		c := s[i]
		plain = c >= 0x20 && c != 0x7f && (!value || c != ' ' && c != '"' && c != '=')
		ascii = ascii && c < utf8.RuneSelf
	}
	if plain && (ascii || utf8.ValidString(s)) {
		return append(b, s...)
	}
	return appendQuoted(b, s)
}

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped writes the inside of a JSON string (RFC 8259 section 7).
// Invalid UTF-8 becomes U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case r == utf8.RuneError:
			b = append(b, `\ufffd`...)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i += size
		start = i
	}
	return append(b, s[start:]...)
}
