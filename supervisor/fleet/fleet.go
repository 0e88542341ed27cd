// Package fleet is the contract between the supervisor and the processes that
// it runs: names of environment variables, exit codes, file names in the state
// directory, the messages of the control socket, the host table and the status
// document. It imports the standard library only, and every program of the
// appliance may import it.
package fleet

import "path/filepath"

// Exit codes of every program. 64, 70, 75 and 78 are those of sysexits.h.
const (
	ExitOK       = 0  // stopped as asked
	ExitFailed   = 1  // failed, or something was cut short
	ExitUsage    = 64 // wrong flags or arguments
	ExitGaveUp   = 70 // healthd or every slot failed for good
	ExitTryAgain = 75 // database busy or away
	ExitConfig   = 78 // configuration: trying again does not help
)

// Environment variables that the supervisor sets for its children. None of
// them is a secret; secrets travel in a memory file over the control socket.
const (
	EnvControl    = "SLUICE_CONTROL"    // path of the supervisor's unix socket
	EnvSlot       = "SLUICE_SLOT"       // slot number of a worker, from 0
	EnvGeneration = "SLUICE_GENERATION" // generation number, unique over all slots
	EnvStateDir   = "SLUICE_STATE_DIR"  // the state directory
	EnvEnvironFD  = "SLUICE_ENVIRON_FD" // descriptor of a sealed environment (migrator only)
	// EnvProgressFD is the descriptor to which the migrator tells how far its
	// import is: lines of two numbers, rows done and rows that there are about.
	EnvProgressFD = "SLUICE_PROGRESS_FD"
)

// Signals and timings that both sides must agree on, in nanoseconds where not
// said otherwise.
const (
	HeartbeatEvery   = 1_000_000_000  // a worker passes a request to itself this often
	HungAfter        = 3_500_000_000  // no heartbeat for so long: replaced
	OrphanDrain      = 60_000_000_000 // workers without a supervisor drain after this
	ObservationFresh = 1_000_000_000  // dependencies are observed this often
	StopQuiet        = 2_000_000_000  // at a whole stop an idle connection ends after this
)

// Dir names the files of the state directory.
type Dir string

// Control is the supervisor's unix socket (SOCK_SEQPACKET).
func (d Dir) Control() string { return filepath.Join(string(d), "run", "control.sock") }

// Lock is held (flock) by the living supervisor.
func (d Dir) Lock() string { return filepath.Join(string(d), "run", "supervisor.lock") }

// Stopping is there from the moment that a whole stop was asked for until the
// next start: what it leaves behind may be ended.
func (d Dir) Stopping() string { return filepath.Join(string(d), "run", "stopping") }

// Starts says how many starts in a row have failed, one JSON document; there is
// none where the last one was a minute in service.
func (d Dir) Starts() string { return filepath.Join(string(d), "run", "starts.json") }

// Processes lists the children of the supervisor, one JSON document.
func (d Dir) Processes() string { return filepath.Join(string(d), "run", "processes.json") }

// Worker is the private unix socket of one generation: it serves HTTP with the
// same server as the public listeners.
func (d Dir) Worker(slot, generation int) string {
	return filepath.Join(string(d), "run", "worker-"+itoa(slot)+"-"+itoa(generation)+".sock")
}

// Metrics is where a generation leaves its last metrics before it exits.
func (d Dir) Metrics(slot, generation int) string {
	return filepath.Join(string(d), "run", "worker-"+itoa(slot)+"-"+itoa(generation)+".prom")
}

// Health is healthd's private unix socket: the merged metrics and the status.
func (d Dir) Health() string { return filepath.Join(string(d), "run", "healthd.sock") }

// GoodConfig holds the files of the configuration that was last put in force,
// mode 0600: a worker that starts while the files on disk are wrong serves it.
func (d Dir) GoodConfig() string { return filepath.Join(string(d), "run", "config.good") }

// Run is the folder of sockets and locks.
func (d Dir) Run() string { return filepath.Join(string(d), "run") }

// SQLite is the database of a machine without DATABASE_URL.
func (d Dir) SQLite() string { return filepath.Join(string(d), "sluice.db") }

// MasterKey holds the generated master key, mode 0600.
func (d Dir) MasterKey() string { return filepath.Join(string(d), "master_key") }

// HostID holds the id of this host among those of one database, made once.
func (d Dir) HostID() string { return filepath.Join(string(d), "host_id") }

// AuditHead holds what the last rows of the record of changes were, one JSON
// document a line: who cuts the record off cannot cut it off here too.
func (d Dir) AuditHead() string { return filepath.Join(string(d), "audit-head.jsonl") }

// GoodKeyring is the keyring file that was last put in force, sealed under the
// key in the host table, mode 0600: a worker that is born while the keyring file
// on disk is wrong uses it. It is good for the life of the host table.
func (d Dir) GoodKeyring() string { return filepath.Join(string(d), "run", "keyring.good") }

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
