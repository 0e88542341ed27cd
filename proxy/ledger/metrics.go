package ledger

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"sluice/proxy/store"
)

// Metrics are the figures of a worker's ledger. Gauges are those of the process
// that ships; the others have none.
type Metrics struct {
	set *metrics.Set

	rows, inserted, batches, retries, moved, damaged, strangers, refused, interrupted, recovered, unmarked, deleted *metrics.Counter
	took                                                                                                            *metrics.Summary

	ships, lag, segments, open, unshipped, drift, driftAt atomic.Int64
}

// NewMetrics makes metrics, all zero.
func NewMetrics() *Metrics {
	s := metrics.NewSet()
	m := &Metrics{
		set:         s,
		rows:        s.NewCounter("sluice_ledger_rows_total"),
		inserted:    s.NewCounter("sluice_ledger_rows_inserted_total"),
		batches:     s.NewCounter("sluice_ledger_batches_total"),
		retries:     s.NewCounter("sluice_ledger_retries_total"),
		moved:       s.NewCounter("sluice_ledger_rereads_total"),
		damaged:     s.NewCounter("sluice_ledger_corrupt_records_total"),
		strangers:   s.NewCounter("sluice_ledger_foreign_segments_total"),
		refused:     s.NewCounter("sluice_ledger_refused_rows_total"),
		interrupted: s.NewCounter("sluice_ledger_interrupted_total"),
		recovered:   s.NewCounter("sluice_ledger_recovered_claims_total"),
		unmarked:    s.NewCounter("sluice_ledger_unmarked_segments_total"),
		deleted:     s.NewCounter("sluice_spend_rows_deleted_total"),
		took:        s.NewSummary("sluice_ledger_batch_seconds"),
	}
	return m
}

// Write appends the metrics in the text format of Prometheus.
func (m *Metrics) Write(w io.Writer) {
	m.set.WritePrometheus(w)
	if m.ships.Load() == 0 {
		return
	}
	metrics.WriteGaugeFloat64(w, "sluice_ledger_lag_seconds", time.Duration(m.lag.Load()).Seconds())
	metrics.WriteGaugeUint64(w, "sluice_ledger_segments", uint64(m.segments.Load()))
	metrics.WriteGaugeUint64(w, "sluice_ledger_open_attempts", uint64(m.open.Load()))
	metrics.WriteGaugeUint64(w, "sluice_ledger_unshipped_bytes", uint64(m.unshipped.Load()))
	if m.driftAt.Load() != 0 {
		metrics.WriteGaugeUint64(w, "sluice_spend_drift_nanodollars", uint64(m.drift.Load()))
	}
}

func (m *Metrics) shipped(rows int, out store.Shipped, took time.Duration) {
	m.batches.Inc()
	m.rows.Add(rows)
	m.inserted.Add(out.Inserted)
	if took > 0 {
		m.took.Update(took.Seconds())
	}
}

func (m *Metrics) holds(is bool) {
	m.ships.Store(0)
	if is {
		m.ships.Store(1)
	}
}

func (m *Metrics) state(lag time.Duration, segments, open int, unshipped int64) {
	m.lag.Store(int64(lag))
	m.segments.Store(int64(segments))
	m.open.Store(int64(open))
	m.unshipped.Store(unshipped)
}

// forget clears what only who ships knows.
func (m *Metrics) forget() { m.state(0, 0, 0, 0) }
