package app

import (
	"bytes"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
)

// TestProcessMetrics: what is written in place of the library has its names,
// and figures like its own.
func TestProcessMetrics(t *testing.T) {
	names := func(text string) map[string]string {
		out := map[string]string{}
		for line := range strings.Lines(text) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
			if ok && !strings.HasPrefix(name, "#") {
				out[name] = value
			}
		}
		return out
	}
	var theirs, ours bytes.Buffer
	metrics.WriteProcMetrics(&theirs)
	writeOwnProcess(&ours, 17)
	got := names(ours.String())
	for name := range names(theirs.String()) {
		if strings.HasPrefix(name, "process_io_") || strings.HasPrefix(name, "process_pressure_") {
			continue
		}
		if got[name] == "" {
			t.Errorf("%s is not written", name)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("the library has no %v", got)
	}
	if own := names(ours.String()); own["process_start_time_seconds"] != "17" || own["process_num_threads"] == "0" || len(own["process_resident_memory_bytes"]) < 7 {
		t.Errorf("written:\n%s", ours.String())
	}
}
