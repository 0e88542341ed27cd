package auth

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMatches compares the patterns of models and routes with what they mean as
// regular expressions.
func FuzzMatches(f *testing.F) {
	for _, s := range [][2]string{{"*", ""}, {"a*", "abc"}, {"*c", "abc"}, {"a*b*c", "aXbYc"}, {"**", "x"}, {"", ""}, {"a", "b"}, {"*ab*ab", "abab"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 200 || len(name) > 200 || !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want := regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`).MatchString(name)
		if got := matches(pattern, name); got != want {
			t.Errorf("matches(%q, %q) = %v", pattern, name, got)
		}
	})
}
