package app

import (
	"bytes"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/proxy/gateway"
)

// TestInFlight: the worker says how many requests it has, by LiteLLM's name.
func TestInFlight(t *testing.T) {
	table, area, err := ownTable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	w := &worker{table: table, area: area, metrics: gateway.NewMetrics(nil), log: boot.NewLogger(&bytes.Buffer{}, boot.LogOptions{})}
	defer w.log.Close()
	table.Generation(area).InFlight.Add(3)
	var out strings.Builder
	w.writeMetrics(&out)
	if !strings.Contains(out.String(), "\nlitellm_in_flight_requests 3\n") {
		t.Errorf("metrics: %s", out.String())
	}
}
