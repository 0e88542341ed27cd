//go:build !race

package boot

import (
	"log/slog"
	"testing"
)

func TestLogAllocations(t *testing.T) {
	l := NewLogger(writerFunc(func(p []byte) (int, error) { return len(p), nil }), LogOptions{JSON: true})
	defer l.Close()
	attrs := accessAttrs()
	for range 1000 {
		l.Emit(slog.LevelInfo, "request", attrs)
	}
	if n := testing.AllocsPerRun(2000, func() { l.Emit(slog.LevelInfo, "request", attrs) }); n > 0 {
		t.Errorf("Emit allocates %v times", n)
	}
	ctx := t.Context()
	n := testing.AllocsPerRun(2000, func() {
		l.LogAttrs(ctx, slog.LevelInfo, "request", slog.String("id", "x"), slog.Int("status", 200))
	})
	if n > 1 {
		t.Errorf("LogAttrs allocates %v times", n)
	}
}
