package auth

import (
	"io"

	"github.com/VictoriaMetrics/metrics"
)

// counters are what a directory tells of itself.
type counters struct {
	set                                       *metrics.Set
	queries, digests, failures                *metrics.Counter
	late, crowded, stale                      *metrics.Counter
	changes, overruns, recalled, unsaved      *metrics.Counter
	admitted, beyond, journaled, journalSpent *metrics.Counter
}

func newCounters(d *Directory) *counters {
	s := metrics.NewSet()
	c := &counters{
		set:     s,
		queries: s.NewCounter("sluice_auth_queries_total"),
		digests: s.NewCounter("sluice_auth_lookups_total"),

		failures:     s.NewCounter("sluice_auth_query_failures_total"),
		late:         s.NewCounter("sluice_auth_lookups_late_total"),
		crowded:      s.NewCounter("sluice_auth_lookups_refused_total"),
		stale:        s.NewCounter("sluice_auth_revalidations_total"),
		changes:      s.NewCounter("sluice_auth_changes_total"),
		overruns:     s.NewCounter("sluice_auth_overruns_total"),
		recalled:     s.NewCounter("sluice_auth_snapshot_recalled_total"),
		unsaved:      s.NewCounter("sluice_auth_snapshot_failures_total"),
		admitted:     s.NewCounter("sluice_db_unavailable_requests_total"),
		beyond:       s.NewCounter("sluice_db_unavailable_refused_total"),
		journaled:    s.NewCounter("sluice_db_unavailable_journaled_total"),
		journalSpent: s.NewCounter("sluice_db_unavailable_journal_full_total"),
	}
	s.NewGauge("sluice_auth_keys_known", func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(d.records.count)
	})
	s.NewGauge("sluice_auth_known_bytes", func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(d.records.bytes)
	})
	s.NewGauge("sluice_auth_lookups_waiting", func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(len(d.flights))
	})
	return c
}

// WriteMetrics writes what the directory counts in Prometheus' text format.
func (d *Directory) WriteMetrics(w io.Writer) { d.stat.set.WritePrometheus(w) }
