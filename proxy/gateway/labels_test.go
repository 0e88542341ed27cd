package gateway

import (
	"strings"
	"testing"
)

// The text format has three escapes; everything else stands for itself.
func TestLabels(t *testing.T) {
	got := labels("a", "zero\u200bwidth\u00a0\x1b", "b", "q\"b\\n\nx", "c", "\xff", "d", "")
	want := "a=\"zero\u200bwidth\u00a0\x1b\",b=\"q\\\"b\\\\n\\nx\",c=\"\uFFFD\",d=\"\""
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for i := 0; i < len(got); i++ {
		if got[i] != '\\' {
			continue
		}
		if i++; !strings.ContainsRune(`\"n`, rune(got[i])) {
			t.Errorf("the escape \\%c is none of Prometheus's", got[i])
		}
	}
}
