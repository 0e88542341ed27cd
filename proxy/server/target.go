package server

import (
	"bytes"
	"unicode/utf8"

	"sluice/proxy/llm"
)

// pathOf cuts the path out of a request target. The authority of an absolute
// form is dropped: it decides nothing. What RFC 9112 section 3.2 does not allow
// is refused (F10).
func pathOf(target []byte) ([]byte, *llm.Error) {
	if len(target) > maxTarget {
		return nil, &llm.Error{
			Kind: llm.KindTooLarge, Status: 414, Type: "invalid_request_error",
			Message: "The request target is longer than 8192 bytes.", Close: true,
		}
	}
	for i, c := range target {
		if c <= 0x20 || c >= 0x7f || c == '#' {
			return nil, brokenRequest("The request target holds a character that is not allowed.")
		}
		if c == '%' && (i+2 >= len(target) || !isHex(target[i+1]) || !isHex(target[i+2])) {
			return nil, brokenRequest("The request target holds a broken percent escape.")
		}
	}
	if i := bytes.Index(target, []byte("://")); i > 0 && target[0] != '/' {
		rest := target[i+3:]
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		web := equalFold(target[:i], "http") || equalFold(target[:i], "https")
		if !web || !hostOK(rest[:end]) {
			return nil, brokenRequest("The request target is no URL of a web server.")
		}
		if target = rest[end:]; len(target) == 0 || target[0] == '?' {
			return []byte("/"), nil
		}
	}
	if q := bytes.IndexByte(target, '?'); q >= 0 {
		target = target[:q]
	}
	return target, nil
}

// canonical reports whether a path is in the one form that is routed: no empty
// and no dot segments, and no escape that hides one.
func canonical(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for start := 1; start < len(path); {
		end := bytes.IndexByte(path[start:], '/')
		if end < 0 {
			end = len(path) - start
		}
		seg := path[start : start+end]
		if len(seg) == 0 || string(seg) == "." || string(seg) == ".." {
			return false
		}
		start += end + 1
	}
	return true
}

// unescape appends the once-decoded value of a path parameter. A value that
// decodes to something that could be decoded again, to a dot segment, to
// control characters or to no UTF-8 is refused.
func unescape(dst, v []byte) ([]byte, bool) {
	from := len(dst)
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c == '%' {
			if i+2 >= len(v) || !isHex(v[i+1]) || !isHex(v[i+2]) {
				return dst[:from], false
			}
			c = nibble(v[i+1])<<4 | nibble(v[i+2])
			i += 2
			if c == '%' || c < 0x20 || c == 0x7f {
				return dst[:from], false
			}
		}
		dst = append(dst, c)
	}
	value := dst[from:]
	if len(value) == 0 || value[0] == '/' || value[len(value)-1] == '/' || !utf8.Valid(value) {
		return dst[:from], false
	}
	for rest := value; len(rest) > 0; {
		seg, tail, _ := bytes.Cut(rest, []byte("/"))
		if len(seg) == 0 || string(seg) == "." || string(seg) == ".." {
			return dst[:from], false
		}
		rest = tail
	}
	return dst, true
}

func nibble(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
