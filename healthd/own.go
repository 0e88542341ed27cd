package main

import (
	"strconv"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// writer appends metrics of our own in the text format.
type writer struct {
	b      []byte
	family string
}

func (w *writer) put(name, typ, labels string, v float64) {
	if name != w.family {
		w.b = append(append(append(append(append(w.b, "# TYPE "...), name...), ' '), typ...), '\n')
		w.family = name
	}
	w.b = append(w.b, name...)
	if labels != "" {
		w.b = append(append(append(w.b, '{'), labels...), '}')
	}
	w.b = append(appendValue(append(w.b, ' '), v), '\n')
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// own appends what the host table says: the appliance, its slots and its
// generations. Series of a family stand together, so every family is a turn
// over the table.
func own(b []byte, t *fleet.Table, ob observation, s *scraper) []byte {
	w := &writer{b: b}
	v := judge(ob)
	h := t.Header()
	w.put("sluice_build_info", "gauge", `version=`+strconv.Quote(boot.Version), 1)
	w.put("sluice_live", "gauge", "", truth(v.live))
	w.put("sluice_ready", "gauge", "", truth(v.ready))
	w.put("sluice_degraded", "gauge", "", truth(v.status == statusDegraded))
	w.put("sluice_appliance_state", "gauge", `state="`+ob.state.String()+`"`, 1)
	w.put("sluice_appliance_start_time_seconds", "gauge", "", float64(h.StartedAt.Load())/1e9)
	w.put("sluice_supervisor_heartbeat_age_seconds", "gauge", "", ob.heartbeatAge.Seconds())
	w.put("sluice_config_generation", "gauge", "", float64(h.ConfigApplied.Load()))
	w.put("sluice_config_rejected_total", "counter", "", float64(h.ConfigRejected.Load()))
	w.put("sluice_database_up", "gauge", "", truth(ob.database == fleet.DependencyConnected))
	w.put("sluice_redis_up", "gauge", "", truth(ob.redis == fleet.DependencyConnected))
	w.put("sluice_schema_version", "gauge", "", float64(ob.schema))
	w.put("sluice_schema_wanted", "gauge", "", float64(ob.want))
	w.put("sluice_requests_in_flight_host", "gauge", "", float64(t.Cell(fleet.CellInFlight).Load()))
	w.put("sluice_limit_records_taken_total", "counter", "", float64(h.LimitsTaken.Load()))
	w.put("sluice_limit_records_shared_total", "counter", "", float64(h.LimitsShared.Load()))
	for _, sl := range ob.slots {
		w.put("sluice_slot_state", "gauge", slotLabel(sl.Slot)+`,state="`+sl.State+`"`, 1)
	}
	for _, sl := range ob.slots {
		w.put("sluice_slot_ready", "gauge", slotLabel(sl.Slot), truth(sl.ready))
	}
	for i := range ob.slots {
		w.put("sluice_slot_restarts_total", "counter", slotLabel(i), float64(t.Slot(i).Restarts.Load()))
	}
	for i := range ob.slots {
		w.put("sluice_slot_recycles_total", "counter", slotLabel(i), float64(t.Slot(i).Recycles.Load()))
	}
	for r := range fleet.Reasons {
		reason := fleet.Reason(r)
		w.put("sluice_recycles_total", "counter", `reason="`+reason.String()+`"`, float64(t.Recycled(reason).Load()))
	}
	generations(w, t)
	w.put("sluice_healthd_scrapes_total", "counter", "", float64(s.rounds.Load()))
	w.put("sluice_healthd_scrape_failures_total", "counter", "", float64(s.failures.Load()))
	w.put("sluice_healthd_scrape_duration_seconds", "gauge", "", time.Duration(s.took.Load()).Seconds())
	return w.b
}

func slotLabel(i int) string { return `slot="` + strconv.Itoa(i) + `"` }

// generations appends one series of each family for every generation in the
// table.
func generations(w *writer, t *fleet.Table) {
	now := fleet.Now()
	families := []struct {
		name, typ string
		value     func(g *fleet.Generation) float64
	}{
		{"sluice_generation_age_seconds", "gauge", func(g *fleet.Generation) float64 { return time.Duration(now - g.Started.Load()).Seconds() }},
		{"sluice_generation_in_flight", "gauge", func(g *fleet.Generation) float64 { return float64(g.InFlight.Load()) }},
		{"sluice_generation_streams", "gauge", func(g *fleet.Generation) float64 { return float64(g.Streams.Load()) }},
		{"sluice_generation_connections", "gauge", func(g *fleet.Generation) float64 { return float64(g.Conns.Load()) }},
		{"sluice_generation_requests_total", "counter", func(g *fleet.Generation) float64 { return float64(g.Requests.Load()) }},
		{"sluice_generation_panics_total", "counter", func(g *fleet.Generation) float64 { return float64(g.Panics.Load()) }},
		{"sluice_generation_cut_streams_total", "counter", func(g *fleet.Generation) float64 { return float64(g.Cut.Load()) }},
		{"sluice_generation_resident_bytes", "gauge", func(g *fleet.Generation) float64 { return float64(g.RSS.Load()) }},
	}
	var living []*fleet.Generation
	for i := range t.Areas() {
		if g := t.Generation(i); g.Number.Load() != 0 {
			living = append(living, g)
		}
	}
	for _, f := range families {
		for _, g := range living {
			state := fleet.State(g.State.Load()).String()
			w.put(f.name, f.typ, labels(int(g.Slot.Load()), int(g.Number.Load()))+`,state="`+state+`"`, f.value(g))
		}
	}
}
