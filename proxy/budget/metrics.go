package budget

import (
	"io"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"sluice/proxy/bill"
)

// Metrics are what budgets tell of themselves.
type Metrics struct {
	set                                          *metrics.Set
	asked, failures, leased, returned, ended     *metrics.Counter
	released, allowed, away, forgotten, recycled *metrics.Counter
	seconds                                      *metrics.Histogram
}

// NewMetrics makes metrics that count from zero.
func NewMetrics() *Metrics {
	s := metrics.NewSet()
	return &Metrics{
		set:       s,
		asked:     s.NewCounter("sluice_budget_lease_requests_total"),
		failures:  s.NewCounter("sluice_budget_lease_failures_total"),
		leased:    s.NewCounter("sluice_budget_leased_microdollars_total"),
		returned:  s.NewCounter("sluice_budget_returned_microdollars_total"),
		ended:     s.NewCounter("sluice_budget_leases_ended_total"),
		released:  s.NewCounter("sluice_budget_holders_released_total"),
		allowed:   s.NewCounter("sluice_budget_outage_allowance_attempts_total"),
		away:      s.NewCounter("sluice_budget_unavailable_total"),
		forgotten: s.NewCounter("sluice_budget_leases_forgotten_total"),
		recycled:  s.NewCounter("sluice_budget_idle_microdollars_healed_total"),
		seconds:   s.NewHistogram("sluice_budget_lease_seconds"),
	}
}

// WritePrometheus writes the metrics.
func (m *Metrics) WritePrometheus(w io.Writer) { m.set.WritePrometheus(w) }

func (m *Metrics) took(d time.Duration, err error) {
	m.asked.Inc()
	m.seconds.Update(d.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

func (m *Metrics) refusal(r *Refusal) {
	if r.Away {
		m.away.Inc()
		return
	}
	m.set.GetOrCreateCounter(`sluice_budget_refused_total{scope="` + r.Limit.Kind.String() + `"}`).Inc()
}

func (m *Metrics) exceeded(k bill.Kind) {
	m.set.GetOrCreateCounter(`sluice_soft_budget_exceeded_total{scope="` + k.String() + `"}`).Inc()
}
