// Package jsonscan reads JSON once, without allocating, for a gateway that
// forwards the bytes it has read: it is as strict as RFC 8259 and stricter
// where two readers might disagree, so that what we decided on is what the
// provider acts on.
//
// Beyond RFC 8259 it refuses names that stand twice in the object that was
// scanned, names with an escape that needs none ("mod\u0065l"), lone
// surrogates, bytes that are no UTF-8, a byte order mark, more than 128 levels,
// more than 1,024 members of the scanned object, and numbers beyond the range of
// a double. Inner objects are checked
// for form only.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"sluice/proxy/llm"
)

// Bounds of a document.
const (
	MaxDepth   = 128
	MaxMembers = 1024
)

// Error says what is wrong with a document, and where.
type Error struct {
	Offset int // bytes from the start of what was scanned
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Value checks one JSON value that starts at or after from and returns where it
// ends, and its type. Space around it is skipped; what follows is not looked
// at.
func Value(b []byte, from int) (span llm.Span, kind llm.JSONKind, err *Error) {
	s := scanner{b: b}
	i := s.space(from)
	end, kind := s.value(i, MaxDepth)
	if end < 0 {
		return llm.Span{}, llm.JSONNone, s.failure()
	}
	return llm.Span{From: i, To: end}, kind, nil
}

// scanner holds the bytes and, after a failure, what was wrong. It lives on the
// stack: failures are numbers until somebody asks.
type scanner struct {
	b      []byte
	at     int
	reason string
}

func (s *scanner) failure() *Error { return &Error{Offset: s.at, Reason: s.reason} }

// fail remembers a failure and returns the offset that says so.
func (s *scanner) fail(at int, reason string) int {
	s.at, s.reason = at, reason
	return -1
}

// miss is fail for a byte that is not what the grammar wants here.
func (s *scanner) miss(at int, want string) int {
	if at >= len(s.b) {
		return s.fail(len(s.b), "unexpected end of data")
	}
	return s.fail(at, want)
}

func (s *scanner) space(i int) int {
	for i < len(s.b) {
		switch s.b[i] {
		case ' ', '\n', '\t', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// value reads the value that starts at i and returns its end, or -1. It does
// not recurse: open brackets are bits of a stack, 1 for an object.
func (s *scanner) value(i, maxDepth int) (end int, kind llm.JSONKind) {
	if i >= len(s.b) {
		return s.miss(i, ""), llm.JSONNone
	}
	switch s.b[i] {
	case '{':
		return s.nested(i, maxDepth), llm.JSONObject
	case '[':
		return s.nested(i, maxDepth), llm.JSONArray
	default:
		return s.scalar(i)
	}
}

// scalar reads a string, a number or a literal.
func (s *scanner) scalar(i int) (end int, kind llm.JSONKind) {
	if i >= len(s.b) {
		return s.miss(i, ""), llm.JSONNone
	}
	switch c := s.b[i]; {
	case c == '"':
		end, _ = s.str(i)
		return end, llm.JSONString
	case c == '-' || c-'0' < 10:
		return s.number(i), llm.JSONNumber
	case c == 't':
		return s.literal(i, "true"), llm.JSONTrue
	case c == 'f':
		return s.literal(i, "false"), llm.JSONFalse
	case c == 'n':
		return s.literal(i, "null"), llm.JSONNull
	}
	if s.b[i] == ']' || s.b[i] == '}' {
		return s.fail(i, "a value was expected; a trailing comma is not allowed"), llm.JSONNone
	}
	return s.fail(i, "a value was expected"), llm.JSONNone
}

// nested reads an object or array with all that is in it.
func (s *scanner) nested(i, maxDepth int) int {
	var stack [MaxDepth/64 + 1]uint64
	depth := 0
	for {
		// At the start of a value.
		switch {
		case i < len(s.b) && (s.b[i] == '{' || s.b[i] == '['):
			if depth >= maxDepth {
				return s.fail(i, "nested too deeply")
			}
			object := uint64(0)
			if s.b[i] == '{' {
				object = 1
			}
			w, bit := depth>>6, uint(depth&63)
			stack[w] = stack[w]&^(1<<bit) | object<<bit
			depth++
			i = s.space(i + 1)
			if i < len(s.b) && s.b[i] == "]}"[object] {
				i++
				depth--
				break
			}
			if object == 1 {
				if i = s.name(i); i < 0 {
					return -1
				}
			}
			continue
		default:
			if i, _ = s.scalar(i); i < 0 {
				return -1
			}
		}
		// After a value: close what ends here, go on to the next one.
		for depth > 0 {
			i = s.space(i)
			object := stack[(depth-1)>>6] >> uint((depth-1)&63) & 1
			if i < len(s.b) && s.b[i] == ',' {
				if i = s.space(i + 1); object == 1 {
					if i = s.name(i); i < 0 {
						return -1
					}
				}
				break
			}
			if i >= len(s.b) || s.b[i] != "]}"[object] {
				return s.miss(i, [...]string{"',' or ']' was expected", "',' or '}' was expected"}[object])
			}
			i++
			depth--
		}
		if depth == 0 {
			return i
		}
	}
}

// name reads a member's name and colon and returns where its value starts.
func (s *scanner) name(i int) int {
	if i >= len(s.b) || s.b[i] != '"' {
		return s.miss(i, "a name in double quotes was expected")
	}
	i, _ = s.str(i)
	if i < 0 {
		return -1
	}
	return s.colon(i)
}

func (s *scanner) colon(i int) int {
	i = s.space(i)
	if i >= len(s.b) || s.b[i] != ':' {
		return s.miss(i, "':' was expected")
	}
	return s.space(i + 1)
}

func (s *scanner) literal(i int, want string) int {
	if len(s.b)-i >= len(want) && string(s.b[i:i+len(want)]) == want {
		return i + len(want)
	}
	return s.fail(i, "a value was expected")
}

func (s *scanner) digits(i int) int {
	for i < len(s.b) && s.b[i]-'0' < 10 {
		i++
	}
	return i
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number(i int) int {
	from := i
	if s.b[i] == '-' {
		i++
	}
	end := s.digits(i)
	if end == i || s.b[i] == '0' && end > i+1 {
		return s.miss(i, "not a number as JSON writes them")
	}
	if i = end; i < len(s.b) && s.b[i] == '.' {
		if end = s.digits(i + 1); end == i+1 {
			return s.miss(end, "a digit was expected")
		}
		i = end
	}
	if i < len(s.b) && s.b[i]|0x20 == 'e' {
		if i++; i < len(s.b) && (s.b[i] == '+' || s.b[i] == '-') {
			i++
		}
		if end = s.digits(i); end == i {
			return s.miss(end, "a digit was expected")
		}
		i = end
		return s.finite(from, i)
	}
	if i-from > maxDigits {
		return s.finite(from, i)
	}
	return i
}

// maxDigits is how long a number without exponent may be and surely be finite.
const maxDigits = 300

// finite refuses a number beyond a double's range: some readers make it
// infinite, others refuse it (row F5).
func (s *scanner) finite(from, to int) int {
	if _, err := strconv.ParseFloat(string(s.b[from:to]), 64); err != nil {
		return s.fail(from, "a number out of range")
	}
	return to
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, in the high bit of each byte, the bytes of w that a string
// cannot just pass over: quote, backslash, control characters, non-ASCII. The
// lowest mark is exact.
func special(w uint64) uint64 {
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w | w) & highs
}

// str reads the string whose opening quote is at i and returns where it ends,
// and whether it holds an escape.
func (s *scanner) str(i int) (end int, escaped bool) {
	b, from := s.b, i
	i++
	for {
		if i+8 <= len(b) { // most strings are short
			m := special(binary.LittleEndian.Uint64(b[i:]))
			i += bits.TrailingZeros64(m) >> 3 // 8 if there is none
			if m != 0 && b[i] == '"' {
				return i + 1, escaped
			}
		}
		for i+32 <= len(b) { // most of a body is long plain text
			p := b[i : i+32 : i+32]
			m := special(binary.LittleEndian.Uint64(p)) | special(binary.LittleEndian.Uint64(p[8:])) |
				special(binary.LittleEndian.Uint64(p[16:])) | special(binary.LittleEndian.Uint64(p[24:]))
			if m != 0 {
				break
			}
			i += 32
		}
		for i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return s.fail(len(b), "unexpected end of data in the string that starts at byte "+decimal(from)), false
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			if i = s.escape(i); i < 0 {
				return -1, false
			}
		case c < 0x20:
			return s.fail(i, "a control character in a string must be escaped"), false
		case c < utf8.RuneSelf:
			i++
		default:
			if i = s.text(i); i < 0 {
				return -1, false
			}
		}
	}
}

// text passes over a run of non-ASCII characters.
func (s *scanner) text(i int) int {
	for i < len(s.b) && s.b[i] >= utf8.RuneSelf {
		r, size := utf8.DecodeRune(s.b[i:])
		if r == utf8.RuneError && size <= 1 {
			return s.fail(i, "not valid UTF-8")
		}
		i += size
	}
	return i
}

// escape reads the escape sequence at i; a surrogate only with its other half.
func (s *scanner) escape(i int) int {
	if i+1 >= len(s.b) {
		return s.miss(i+1, "")
	}
	switch s.b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
	default:
		return s.fail(i, "no such escape sequence")
	}
	r := hex4(s.b, i+2)
	if r < 0 {
		return s.miss(min(i+6, len(s.b)), "four hexadecimal digits were expected")
	}
	if r < 0xd800 || r > 0xdfff {
		return i + 6
	}
	if r < 0xdc00 && i+8 <= len(s.b) && s.b[i+6] == '\\' && s.b[i+7] == 'u' {
		if low := hex4(s.b, i+8); low >= 0xdc00 && low <= 0xdfff {
			return i + 12
		}
	}
	return s.fail(i, "half of a surrogate pair")
}

// hex4 reads four hexadecimal digits, or returns -1.
func hex4(b []byte, i int) rune {
	if i+4 > len(b) {
		return -1
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

func decimal(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
