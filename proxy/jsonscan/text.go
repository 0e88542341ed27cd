package jsonscan

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"sluice/proxy/llm"
)

// Unquote appends the text of a string that was scanned, quotes included.
func Unquote(dst, quoted []byte) []byte {
	b := quoted[1 : len(quoted)-1]
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(dst, b...)
		}
		dst = append(dst, b[:i]...)
		switch c := b[i+1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(b, i+2)
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hex4(b, i+8))
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			i += 4
		default:
			dst = append(dst, c)
		}
		b = b[i+2:]
	}
}

// Text is the text of a scanned string: b's own bytes when it holds no escape,
// else appended to scratch, which is returned.
func Text(scratch, b []byte, quoted llm.Span) (text, grown []byte) {
	raw := b[quoted.From+1 : quoted.To-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, scratch
	}
	from := len(scratch)
	scratch = Unquote(scratch, quoted.Of(b))
	return scratch[from:len(scratch):len(scratch)], scratch
}

const hexDigits = "0123456789abcdef"

// AppendString appends text as a JSON string. What is no UTF-8 becomes U+FFFD.
func AppendString[T string | []byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRune([]byte(text[i:min(len(text), i+utf8.UTFMax)]))
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}

// Count reads a scanned number as a count of tokens. A negative or fractional
// one, or one beyond 2⁵³, is not believed: it is brought into range.
func Count(number []byte) int64 {
	var n int64
	for i, c := range number {
		switch {
		case c-'0' < 10:
			if n = n*10 + int64(c-'0'); n > mostCount {
				return mostCount
			}
		case i == 0: // a minus sign
			return 0
		case c == '.' && !bytes.ContainsAny(number[i:], "eE"):
			return n
		default:
			return countOf(number)
		}
	}
	return n
}

const mostCount = 1 << 53

// countOf is Count of a number with an exponent: hardly anybody writes counts so,
// but who reads them as Python does takes 1e1 for ten.
func countOf(number []byte) int64 {
	n, err := strconv.ParseFloat(string(number), 64) // infinite where it is out of range
	if errors.Is(err, strconv.ErrSyntax) {
		return 0
	}
	return int64(min(max(n, 0), mostCount))
}

// Seconds reads a scanned number as seconds; what is out of range is 0.
func Seconds(number []byte) float64 {
	var n, scale float64 = 0, 0
	for _, c := range number {
		switch {
		case c-'0' < 10 && scale == 0:
			n = n*10 + float64(c-'0')
		case c-'0' < 10:
			n += float64(c-'0') * scale
			scale /= 10
		case c == '.':
			scale = 0.1
		default:
			return 0
		}
	}
	if n > 1e9 {
		return 0
	}
	return n
}
