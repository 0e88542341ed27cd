package main

import (
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// readiness is the body of /health and /health/readiness. The first four
// fields are LiteLLM's.
type readiness struct {
	Status   string     `json:"status"`
	DB       string     `json:"db"`
	Cache    *string    `json:"cache"`
	Version  string     `json:"litellm_version"`
	Why      []string   `json:"why,omitempty"`
	Slots    []slotView `json:"slots"`
	Database string     `json:"database"`
	Redis    string     `json:"redis"`
	Schema   schemaView `json:"schema"`
	Config   uint64     `json:"config_generation"`
}

type schemaView struct {
	Have uint32 `json:"have"`
	Want uint32 `json:"want"`
}

func readinessOf(t *fleet.Table, ob observation, v verdict) readiness {
	r := readiness{
		Status: v.status, DB: wordDB(ob.database), Version: boot.Version, Why: v.why, Slots: ob.slots,
		Database: word(ob.database), Redis: word(ob.redis),
		Schema: schemaView{ob.schema, ob.want}, Config: t.Header().ConfigApplied.Load(),
	}
	if ob.redis == fleet.DependencyConnected {
		cache := "redis"
		r.Cache = &cache
	}
	return r
}

// wordDB is LiteLLM's wording.
func wordDB(d fleet.Dependency) string {
	switch d {
	case fleet.DependencyConnected:
		return "connected"
	case fleet.DependencyDown, fleet.DependencyUnsupported:
		return "disconnected"
	default:
		return "Not connected"
	}
}

// word is ours, with all states told apart.
func word(d fleet.Dependency) string {
	switch d {
	case fleet.DependencyAbsent:
		return "not_configured"
	case fleet.DependencyConnected:
		return "connected"
	case fleet.DependencyDown:
		return "disconnected"
	case fleet.DependencyUnsupported:
		return "unsupported_version"
	case fleet.DependencyUnusable:
		return "unusable"
	default:
		return "unknown"
	}
}

// document is the body of /status: the appliance as the host table has it.
type document struct {
	Status     readiness          `json:"health"`
	Live       bool               `json:"live"`
	LiveWhy    string             `json:"live_why,omitempty"`
	Ready      bool               `json:"ready"`
	State      string             `json:"state"`
	Version    string             `json:"version"`
	UptimeS    float64            `json:"uptime_s"`
	Supervisor supervisorView     `json:"supervisor"`
	Slots      []fleet.SlotStatus `json:"slots"`
	Recycles   uint64             `json:"recycles"`
	Restarts   uint64             `json:"restarts"`
	Config     fleet.ConfigStatus `json:"config"`
	ViewAgeS   float64            `json:"observed_age_s"` // of database, Redis and schema; negative: never
}

type supervisorView struct {
	PID        uint32  `json:"pid"`
	Gone       bool    `json:"gone"`
	HeartbeatS float64 `json:"heartbeat_age_s"`
}

func documentOf(t *fleet.Table, ob observation, v verdict) document {
	h := t.Header()
	d := document{
		Status: readinessOf(t, ob, v), Live: v.live, LiveWhy: v.liveWhy, Ready: v.ready,
		State: ob.state.String(), Version: boot.Version,
		UptimeS:    time.Since(time.Unix(0, h.StartedAt.Load())).Seconds(),
		Supervisor: supervisorView{h.SupervisorPID.Load(), ob.supervisorGone, ob.heartbeatAge.Seconds()},
		Config:     fleet.ConfigStatus{Applied: h.ConfigApplied.Load(), Rejected: h.ConfigRejected.Load()},
		ViewAgeS:   ob.viewAge.Seconds(),
	}
	if ob.viewAge < 0 {
		d.ViewAgeS = -1
	}
	now := fleet.Now()
	for i, s := range ob.slots {
		d.Recycles += t.Slot(i).Recycles.Load()
		d.Restarts += t.Slot(i).Restarts.Load()
		d.Slots = append(d.Slots, fleet.SlotStatus{
			Slot: i, State: s.State, AdoptedBy: s.AdoptedBy, Generations: []fleet.GenerationStatus{},
		})
	}
	for i := range t.Areas() {
		g := t.Generation(i)
		number, slot := int(g.Number.Load()), int(g.Slot.Load())
		if number == 0 || slot >= len(d.Slots) {
			continue
		}
		d.Slots[slot].Generations = append(d.Slots[slot].Generations, fleet.GenerationStatus{
			PID: int(g.PID.Load()), Generation: number, State: fleet.State(g.State.Load()).String(),
			Requests: g.Requests.Load(), InFlight: g.InFlight.Load(), Streams: g.Streams.Load(),
			Connections: g.Conns.Load(), AgeS: time.Duration(now - g.Started.Load()).Seconds(),
			RSSBytes: g.RSS.Load(), Panics: g.Panics.Load(), Config: g.Config.Load(),
		})
	}
	return d
}
