package server

import (
	"io"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// A host full of calls refuses the next one and has room again afterwards.
func TestConcurrencyIsBounded(t *testing.T) {
	b := start(t, func(c *Config, _ *fleet.Listener) { c.Concurrency = 1 })
	places := b.c.Table.Cell(fleet.CellInFlight)

	busy, busyReader := b.dial(t)
	if _, err := io.WriteString(busy, chat("hang", "")); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return places.Load() == 1 })

	other, otherReader := b.dial(t)
	ask := func() int {
		if _, err := io.WriteString(other, chat("mock", "")); err != nil {
			t.Fatal(err)
		}
		resp, _ := read(t, otherReader)
		if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		return resp.StatusCode
	}
	if got := ask(); got != 503 {
		t.Errorf("beyond the bound: status %d, want 503", got)
	}
	close(b.g.release)
	if resp, _ := read(t, busyReader); resp.StatusCode != 200 {
		t.Errorf("within the bound: status %d, want 200", resp.StatusCode)
	}
	until(t, func() bool { return places.Load() == 0 })
	if got := ask(); got != 200 {
		t.Errorf("with room again: status %d, want 200", got)
	}
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the state waited for did not come")
}
