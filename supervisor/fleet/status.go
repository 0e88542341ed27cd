package fleet

// Status is the document that the supervisor answers on its control socket to
// role "status", and that `supervisor status --json` prints. Fields are added
// to it, never changed.
type Status struct {
	State     string       `json:"state"`
	PID       int          `json:"pid"`
	Version   string       `json:"version"`
	UptimeS   float64      `json:"uptime_s"`
	Listeners []Listener   `json:"listeners"`
	Slots     []SlotStatus `json:"slots"`
	Healthd   ChildStatus  `json:"healthd"`
	Migrator  string       `json:"migrator"`
	Config    ConfigStatus `json:"config"`
	Recycles  Recycles     `json:"recycles"`

	Upgrade *UpgradeStatus `json:"upgrade,omitempty"` // the last one, where a package brought the programs
}

// States of an upgrade.
const (
	UpgradeTrial      = "trial"       // runs, and is watched
	UpgradeProven     = "proven"      // was ready for as long as a trial takes
	UpgradeRolledBack = "rolled_back" // failed; the release before it runs
	UpgradeRefused    = "refused"     // could not be executed, and was never started
)

// UpgradeStatus says how the last upgrade of a package went.
type UpgradeStatus struct {
	State  string `json:"state"`
	From   string `json:"from"` // versions
	To     string `json:"to"`
	Reason string `json:"reason,omitempty"` // of a failure
	At     string `json:"at"`               // of the state, RFC 3339, UTC
	// Restarts is how often the service manager had restarted the service when the
	// trial began.
	Restarts int `json:"restarts,omitempty"`
}

// String is one line for a human.
func (u UpgradeStatus) String() string {
	line := "upgrade from " + u.From + " to " + u.To + ": " + u.State + " since " + u.At
	if u.Reason != "" {
		line += ": " + u.Reason
	}
	return line
}

// SlotStatus is one slot with its living generations, newest first.
type SlotStatus struct {
	Slot        int                `json:"slot"`
	State       string             `json:"state"`
	AdoptedBy   int                `json:"adopted_by,omitempty"`
	Generations []GenerationStatus `json:"generations"`
}

// GenerationStatus is one process life.
type GenerationStatus struct {
	PID         int     `json:"pid"`
	Generation  int     `json:"generation"`
	State       string  `json:"state"`
	Requests    uint64  `json:"requests"`
	InFlight    int64   `json:"in_flight"`
	Streams     int64   `json:"streams"`
	Connections int64   `json:"connections"`
	AgeS        float64 `json:"age_s"`
	RSSBytes    uint64  `json:"rss_bytes"`
	Panics      uint64  `json:"panics"`
	Config      uint64  `json:"config"`
	Version     string  `json:"version,omitempty"`
	Adopted     bool    `json:"adopted,omitempty"` // taken over from an earlier supervisor
}

// ChildStatus is a process that is not a worker.
type ChildStatus struct {
	PID      int     `json:"pid"`
	State    string  `json:"state"`
	AgeS     float64 `json:"age_s"`
	Restarts uint64  `json:"restarts"`
	Version  string  `json:"version,omitempty"`
}

// ConfigStatus counts reloads.
type ConfigStatus struct {
	Applied  uint64 `json:"applied"`
	Rejected uint64 `json:"rejected"`
}

// Recycles counts replaced generations since the appliance started.
type Recycles struct {
	Total    uint64            `json:"total"`
	ByReason map[string]uint64 `json:"by_reason"`
}
