package fleet

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Layout of the host table. It is one shared memory file; every field is a
// naturally aligned machine word that is read and written atomically, in host
// byte order. Within a layout version fields are only appended, in the room
// that the reserved words leave.
const (
	tableMagic   = 0x3145_4c42_4154_4853 // "SHTABLE1"
	TableVersion = 1

	MaxSlots       = 256
	MaxGenerations = 1024 // areas; the supervisor reuses those of the reaped
	MaxCells       = 4096
	MaxHolders     = 8192  // in one generation's holder area
	MaxChanges     = 4096  // that a reader of the ring may be behind
	MaxClaims      = 8192  // attempts that hold money, in one generation's area, see claims.go
	ClaimSize      = 128   // bytes
	MaxGrants      = 32767 // holder words of parallel limits, in one generation's area

	pageSize   = 4096
	slotSize   = 128
	genSize    = 512
	holderSize = 8

	slotsAt   = pageSize
	gensAt    = slotsAt + MaxSlots*slotSize
	cellsAt   = gensAt + MaxGenerations*genSize
	holdersAt = cellsAt + MaxCells*8
	changesAt = holdersAt + MaxGenerations*MaxHolders*holderSize
	limitsAt  = changesAt + MaxChanges*8 // a page boundary, as all that follow
	leasesAt  = limitsAt + limitsSize
	grantsAt  = leasesAt + leasesSize
	grantArea = (1 + MaxGrants) * holderSize
	claimsAt  = grantsAt + MaxGenerations*grantArea
	claimsEnd = claimsAt + MaxGenerations*MaxClaims*ClaimSize
	tableSize = claimsEnd + otherSize

	// leastSize is a table of the first release of this layout version. It ends
	// before the ring of changes; who may write makes it longer.
	leastSize = changesAt
)

// TableSize is the length of the host table in bytes. The file is sparse: a
// page that nobody touched costs nothing.
const TableSize = tableSize

// State of the appliance, of a slot or of a generation. The numbers are part
// of the layout.
type State uint32

// States. A slot is Ready while one of its generations is.
const (
	StateNone     State = iota
	StateStarting       // launched, not READY yet
	StateReady          // takes traffic
	StateLame           // accepts nothing, finishes what it has
	StateDead           // reaped, or hung and given up
	StateFailed         // slot: cannot start, tried every 30 s; adopted by others
	StateDraining       // appliance: told to stop, still serving
	StateStopping       // appliance: workers are lame
)

var stateNames = [...]string{"none", "starting", "ready", "lame", "dead", "failed", "draining", "stopping"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Header is the first page: the appliance as a whole.
type Header struct {
	magic   uint64
	version uint32
	slots   uint32
	size    uint64

	State          atomic.Uint32 // State of the appliance, written by the supervisor
	SupervisorPID  atomic.Uint32
	Heartbeat      atomic.Int64  // Now of the supervisor's last turn of its loop
	StartedAt      atomic.Int64  // unix nanoseconds
	ConfigApplied  atomic.Uint64 // number of the newest configuration generation that a worker applied
	ConfigRejected atomic.Uint64 // reloads refused since start
	AuthEpoch      atomic.Uint64 // head of the ring of changes, see ring.go

	// Observations of the dependencies, written by whichever worker's turn it is.
	ObserveNext   atomic.Int64  // Now before which nobody needs to look again; claimed by CAS
	Database      atomic.Uint32 // Dependency
	Redis         atomic.Uint32 // Dependency
	Schema        atomic.Uint32 // applied schema version
	SchemaWant    atomic.Uint32 // schema version that the newest worker needs
	ObservedAt    atomic.Int64  // Now of the last completed observation
	DatabaseUp    atomic.Uint32 // 1 once the database was seen connected since the table was made
	NeedsDatabase atomic.Uint32 // 1 when readiness at first start depends on the database

	MigratorState atomic.Uint32 // one of the Migrator constants
	MigratorExit  atomic.Uint32

	// Areas is how many generation areas were ever claimed: who looks for
	// generations stops there, see Table.Areas.
	Areas atomic.Uint32
	_     uint32

	// Recycles counts replaced generations by Reason, written by the supervisor.
	Recycles [maxReasons]atomic.Uint64

	FeedNext        atomic.Int64  // Now before which nobody needs to poll the change feed; claimed by CAS
	FeedNumber      atomic.Int64  // number of the newest change that the ring was told of by the feed
	IdentityContact atomic.Int64  // Now of the last answer of the database about identity data; 0 never
	Unavailable     atomic.Uint64 // requests admitted without a database: minute of Now (32), their number in it (32)
	FeedListen      atomic.Int64  // Now until which a process listens for changes; claimed by CAS
	Custody         atomic.Int64  // Now until which a process looks after the keys that seal and the head of the record; claimed by CAS

	// How far the migrator's import is, while MigratorState is MigratorImports.
	ImportRows atomic.Uint64
	ImportOf   atomic.Uint64 // about

	// Keep is random and made with the table: what a worker keeps on disk for
	// those to come, and nobody is to read who has the disk alone, is sealed under
	// it. Zeros, in a table that an earlier release made, are no key.
	Keep [4]atomic.Uint64

	// Holder names this life of the host table, at random: journals and leases
	// carry it, and those of a holder whose table is gone have no living writer.
	Holder [2]atomic.Uint64

	LimitsShared atomic.Uint64 // times that a subject had to use the shared record of its bank
	LimitsTaken  atomic.Uint64 // records taken for a subject since the table was made
	WallOffset   atomic.Int64  // unix nanoseconds less Now, when the table was made: aligned windows stay where they are, whoever sets the clock
	LeaseTurn    atomic.Int64  // Now until which a process looks after the leases of the host; claimed by CAS
	JournalFull  atomic.Int64  // Now of the last refusal because the journal was at its bound; 0 never

	// JournalShipped is the Now before which everything that was settled on the host
	// is in the database, written by whoever ships the journals; 0 until it knows.
	JournalShipped atomic.Int64
	_              int64

	LimitHosts atomic.Int64 // hosts that share limits over Redis, as last known; 0 nobody knows

	// DatabaseClock is unix nanoseconds by the database's clock less Now, as last
	// seen; 0: nobody has looked. Setting this host's clock does not change it.
	DatabaseClock atomic.Int64

	Earlier Earlier // what earlier lives of the table have left to ship
}

// States of the migrator.
const (
	MigratorIdle    = iota // not run
	MigratorRuns           // brings the schema to this release's
	MigratorDone           // also where it failed for good
	MigratorWaits          // for the database
	MigratorImports        // takes over another system's data
)

// Dependency is what was last seen of a database or Redis.
type Dependency uint32

// What a dependency looks like. Unknown means that nobody has looked yet.
const (
	DependencyUnknown Dependency = iota
	DependencyAbsent             // not configured
	DependencyConnected
	DependencyDown
	DependencyUnsupported // too old
	DependencyUnusable    // answers, and refuses what is needed of it: full, read-only, no permission
)

// Slot is the page of one CPU position.
type Slot struct {
	State       atomic.Uint32
	Generation  atomic.Uint32 // newest READY generation
	AdoptedBy   atomic.Uint32 // generation that accepts here instead, 0 none
	Offered     atomic.Uint32 // 1 while the owner leaves its queue to a neighbour
	Restarts    atomic.Uint64
	Recycles    atomic.Uint64
	LastRecycle atomic.Int64
	_           [slotSize - 40]byte
}

// Generation is the page of one process life. The owner writes all but Slot,
// Number and the initial State.
type Generation struct {
	Number  atomic.Uint32 // 0: the area is free
	Slot    atomic.Uint32
	PID     atomic.Uint32
	State   atomic.Uint32 // State
	Started atomic.Int64  // Now
	Ready   atomic.Int64  // Now when it became READY, 0 before
	Beat    atomic.Int64  // Now of the last self-request that was answered
	RSS     atomic.Uint64 // bytes
	Panics  atomic.Uint64
	Config  atomic.Uint64 // configuration generation in use
	Cut     atomic.Uint64 // streams ended with an error event by a stop window
	Failed  atomic.Uint64 // 1: asks to be recycled
	Holders atomic.Uint32 // holder words that were ever used: who reaps stops there
	_       uint32
	Overlay atomic.Uint64 // position in the ring of changes up to which models and settings of the database are in force
	Keys    atomic.Uint64 // digest of the keys that it can open secrets with; 0 none, or a release that does not tell
	Layouts atomic.Uint64 // layouts of the records of limits that it writes, a bit each; 0 a release without limits
	_       [16]byte

	// The words below change with every connection or request; they have
	// cache lines of their own.
	Conns    atomic.Int64  // open client connections
	Accepted atomic.Uint64 // connections accepted since start
	_        [48]byte
	Requests atomic.Uint64 // completed, health probes not counted
	InFlight atomic.Int64
	Streams  atomic.Int64 // of those in flight, answered as event streams
	_        [40]byte
	_        [genSize - 256]byte
}

// Table is a mapping of the host table.
type Table struct {
	mem             []byte
	hosts, parallel cells // what holder words hold something of
	limits, leases  *Bank
	older           *Bank // the limits as the last release lays them
	nowhere         atomic.Uint64
}

// NewTable sizes the empty file fd and writes the header of a table for slots
// slots. The caller keeps fd.
func NewTable(fd, slots int) (*Table, error) {
	if slots < 1 || slots > MaxSlots {
		return nil, fmt.Errorf("%d slots: between 1 and %d are possible", slots, MaxSlots)
	}
	if err := syscall.Ftruncate(fd, tableSize); err != nil {
		return nil, fmt.Errorf("size host table: %w", err)
	}
	t, err := mapTable(fd, syscall.PROT_READ|syscall.PROT_WRITE)
	if err != nil {
		return nil, err
	}
	h := t.Header()
	h.version, h.slots, h.size = TableVersion, uint32(slots), tableSize
	h.StartedAt.Store(time.Now().UnixNano())
	for i := range h.Keep {
		h.Keep[i].Store(random())
	}
	t.complete()
	h.magic = tableMagic
	return t, nil
}

// OpenTable maps a table that another process made. The caller may close fd.
func OpenTable(fd int, readOnly bool) (*Table, error) {
	prot := syscall.PROT_READ
	if !readOnly {
		prot |= syscall.PROT_WRITE
	}
	t, err := mapTable(fd, prot)
	if err != nil {
		return nil, err
	}
	h := t.Header()
	if h.magic != tableMagic || h.version != TableVersion || atomic.LoadUint64(&h.size) < leastSize {
		_ = t.Close()
		return nil, errors.New("not a host table of this release")
	}
	if !readOnly {
		if atomic.LoadUint64(&h.size) < tableSize {
			atomic.StoreUint64(&h.size, tableSize)
		}
		t.complete()
	}
	return t, nil
}

// DatabaseTime is the present by the database's clock, whatever this host's says;
// false where nobody has looked at it.
func (t *Table) DatabaseTime() (time.Time, bool) {
	clock := t.Header().DatabaseClock.Load()
	if clock == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, clock+Now()), true
}

// complete fills in what this release needs and an earlier one has not written.
func (t *Table) complete() {
	for i := range t.Header().Holder {
		t.Header().Holder[i].CompareAndSwap(0, random()|1)
	}
	t.Header().WallOffset.CompareAndSwap(0, time.Now().UnixNano()-Now())
	t.describeBanks()
}

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // does not fail, see crypto/rand
	return binary.LittleEndian.Uint64(b[:])
}

// grow makes a table that an earlier release made as long as this release's.
// What is new in it reads as zeros.
func grow(fd, prot int, size int64) error {
	if size >= tableSize || size < leastSize || prot&syscall.PROT_WRITE == 0 {
		return nil
	}
	if err := syscall.Ftruncate(fd, tableSize); err != nil {
		return fmt.Errorf("make the host table longer: %w", err)
	}
	return nil
}

func mapTable(fd, prot int) (*Table, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("look at host table: %w", err)
	}
	if st.Size < leastSize {
		return nil, fmt.Errorf("host table of %d bytes, %d expected", st.Size, tableSize)
	}
	if err := grow(fd, prot, st.Size); err != nil {
		return nil, err
	}
	// Pages past the end of a short file are mapped all the same: who only
	// reads does not look at them.
	// What a later release has appended is mapped too: a holder word may name it.
	mem, err := syscall.Mmap(fd, 0, max(tableSize, int(st.Size)), prot, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map host table: %w", err)
	}
	t := &Table{mem: mem}
	t.hosts = cells{counting: hostCells, table: t}
	t.parallel = cells{counting: recordCells, table: t, records: true}
	t.makeBanks(syscall.Getpid())
	return t, nil
}

// Close unmaps the table. No pointer into it may be used afterwards.
func (t *Table) Close() error { return syscall.Munmap(t.mem) }

// Slots is the number of slots that the table was made for.
func (t *Table) Slots() int { return int(t.Header().slots) }

// Header is the appliance's own page.
func (t *Table) Header() *Header { return (*Header)(unsafe.Pointer(&t.mem[0])) }

// Slot is the page of slot i.
func (t *Table) Slot(i int) *Slot { return (*Slot)(unsafe.Pointer(&t.mem[slotsAt+i*slotSize])) }

// Generation is area i, 0 ≤ i < MaxGenerations.
func (t *Table) Generation(i int) *Generation {
	return (*Generation)(unsafe.Pointer(&t.mem[gensAt+i*genSize]))
}

// Areas is the number of areas that may hold a generation: 0 to Areas()-1. The
// rest of the table was never touched, and looking at it would cost memory.
func (t *Table) Areas() int { return min(int(t.Header().Areas.Load()), MaxGenerations) }

// Find returns the area of a generation, or -1.
func (t *Table) Find(generation int) int {
	for i := range t.Areas() {
		if t.Generation(i).Number.Load() == uint32(generation) {
			return i
		}
	}
	return -1
}

// Claim takes a free area for a generation. Only the supervisor (or a worker
// that runs alone) calls it.
func (t *Table) Claim(slot, generation int) (int, error) {
	for i := range MaxGenerations {
		g := t.Generation(i)
		if g.Number.Load() != 0 {
			continue
		}
		if h := t.Header(); h.Areas.Load() <= uint32(i) {
			h.Areas.Store(uint32(i) + 1)
		}
		clear(t.mem[gensAt+i*genSize : gensAt+(i+1)*genSize])
		g.Slot.Store(uint32(slot))
		g.Started.Store(Now())
		g.State.Store(uint32(StateStarting))
		g.Number.Store(uint32(generation))
		return i, nil
	}
	return -1, errors.New("host table: no free generation area")
}
