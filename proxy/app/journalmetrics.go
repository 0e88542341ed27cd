package app

import (
	"fmt"
	"io"

	"sluice/proxy/journal"
)

// writeJournal writes the figures of the worker's journal as metrics.
func writeJournal(to io.Writer, s journal.Stats) {
	full := 0
	if s.Full {
		full = 1
	}
	for _, m := range []struct {
		name  string
		value int64
	}{
		{"sluice_journal_records_total", s.Records},
		{"sluice_journal_bytes_total", s.Bytes},
		{"sluice_journal_segments_total", s.Segments},
		{"sluice_journal_syncs_total", s.Syncs},
		{"sluice_journal_sync_errors_total", s.SyncErrors},
		{"sluice_journal_moved_segments_total", s.Moved},
		{"sluice_journal_intents_refused_total", s.Refused},
		{"sluice_journal_lost_total", s.Lost},
		{"sluice_journal_cut_records_total", s.Cut},
		{"sluice_journal_bodies_total", s.Bodies},
		{"sluice_journal_bodies_lost_total", s.BodiesLost},
		{"sluice_journal_full", int64(full)},
		{"sluice_journal_unshipped_bytes", s.Unshipped},
		{"sluice_journal_bound_bytes", s.Bound},
		{"sluice_journal_free_bytes", s.Free},
	} {
		_, _ = fmt.Fprintf(to, "%s %d\n", m.name, m.value)
	}
}
