package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"strings"
	"unicode/utf8"
)

// chunk is how many rows are worked on before others of the process may run:
// requests are served beside.
const chunk = 250

func pauseAfter(i int) {
	if i%chunk == chunk-1 {
		runtime.Gosched()
	}
}

// longestPart is the length in bytes of a text in the key of daily_spend: ten of
// them, of which the token has 64, fit into a row of an index (2,704 bytes).
const longestPart = 200

// kept is s as both databases take it: a batch must not fail because of what a
// client sent. What is too long is cut, and a digest of it keeps it apart.
func kept(s string) string { return fitted(s, longest) }

// short is kept for the keys of sums.
func short(s string) string { return fitted(s, longestPart) }

func fitted(s string, most int) string {
	if len(s) <= most && plain(s) {
		return s
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= most {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	end := most - 17
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "~" + hex.EncodeToString(sum[:8])
}

// plain says that a text is UTF-8 without NUL. Most are ASCII.
func plain(s string) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 | uint64(s[i+4])<<32 | uint64(s[i+5])<<40 |
			uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		if (w|(w-ones))&tops != 0 { // a byte of 0x80 or more, or 0
			break
		}
	}
	for ; i < len(s); i++ {
		if s[i] == 0 || s[i] >= utf8.RuneSelf {
			return utf8.ValidString(s[i:]) && strings.IndexByte(s[i:], 0) < 0
		}
	}
	return true
}

// documentOf is a JSON document that both databases take, nil where there is
// none or it is broken.
func documentOf(s string) []byte {
	if s == "" || !json.Valid([]byte(s)) || checkDocument("metadata", s) != nil {
		return nil
	}
	return []byte(s)
}

// bodyOf is a document that both databases take as JSON, nil where it is broken.
func bodyOf(doc []byte) []byte {
	if len(doc) == 0 || !json.Valid(doc) || !plain(string(doc)) {
		return nil
	}
	return doc
}

// appendTags writes a list of tags as JSON.
func appendTags(dst []byte, tags []string) []byte {
	dst = append(dst, '[')
	for i, tag := range tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		quoted, _ := json.Marshal(kept(tag)) // a string always can be
		dst = append(dst, quoted...)
	}
	return append(dst, ']')
}
