package route

import (
	"bytes"
	"strings"
)

// match says whether name fits a pattern, in which each '*' stands for any
// text, and appends what each of them stood for. All but the last '*' take as
// little as they can.
func match(pattern string, name []byte, caught [][]byte) ([][]byte, bool) {
	n := len(caught)
	head, rest, star := strings.Cut(pattern, "*")
	if len(name) < len(head) || string(name[:len(head)]) != head {
		return caught, false
	}
	name = name[len(head):]
	for star {
		var literal string
		literal, rest, star = strings.Cut(rest, "*")
		if !star {
			if len(name) < len(literal) || string(name[len(name)-len(literal):]) != literal {
				return caught[:n], false
			}
			return append(caught, name[:len(name)-len(literal)]), true
		}
		i := index(name, literal)
		if i < 0 {
			return caught[:n], false
		}
		caught, name = append(caught, name[:i]), name[i+len(literal):]
	}
	return caught, len(name) == 0
}

// index is bytes.Index with a string to look for.
func index(b []byte, s string) int {
	if s == "" {
		return 0
	}
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], s[0])
		if i < 0 || from+i+len(s) > len(b) {
			return -1
		}
		if from += i; string(b[from:from+len(s)]) == s {
			return from
		}
		from++
	}
}

// expand writes a pattern with each '*' replaced by what was caught.
func expand(dst []byte, pattern string, caught [][]byte) []byte {
	for i := 0; ; i++ {
		literal, rest, star := strings.Cut(pattern, "*")
		dst = append(dst, literal...)
		if !star {
			return dst
		}
		if i < len(caught) {
			dst = append(dst, caught[i]...)
		}
		pattern = rest
	}
}
