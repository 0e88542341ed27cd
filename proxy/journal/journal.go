// Package journal is the record of attempts that a worker writes before the
// last byte of an answer goes out, in segments that survive its death.
//
// A segment is a file `<holder>-<slot>-<generation>-<number>.seg` of one
// generation of a worker: a page of header, then records. It is preallocated, so
// that a full disk shows when a segment is made and never inside a record. The
// worker writes through a mapping of the file, which costs no system call; what
// is in it survives the death of every process. `journal_sync` says what else it
// survives. docs/journal.md has the format, docs/adr/0013 why it is a mapping.
//
// One Writer a generation writes; any process reads at the same time, from any
// offset that a Read has given.
package journal

import (
	"errors"
	"time"
)

// Errors of a Writer.
var (
	// ErrFull refuses an intent: what waits for the database has come to the
	// bound, or the disk is full. It goes away by itself.
	ErrFull = errors.New("the journal is full")
	// ErrLost says that a record could be written nowhere.
	ErrLost = errors.New("the journal cannot be written")
	// ErrClosed says that the writer is closed.
	ErrClosed = errors.New("the journal is closed")
)

// Sync says what an acknowledged record survives beside the death of every
// process.
type Sync uint8

// Modes of Sync. The names are those of general_settings.journal_sync.
const (
	SyncNone     Sync = iota // nothing else
	SyncInterval             // a power cut, but for records of the last 10 ms
	SyncAlways               // a power cut: Settle returns after its fdatasync
)

// SyncNamed finds a mode by its name.
func SyncNamed(name string) (Sync, bool) {
	switch name {
	case "", "none":
		return SyncNone, true
	case "interval":
		return SyncInterval, true
	case "always":
		return SyncAlways, true
	}
	return SyncNone, false
}

// Price is a version of a price and the JSON document that it was made of. It
// is asked for its document only when a segment does not hold it yet.
type Price interface {
	Version() int64
	Document() []byte
}

// Stats are the figures of a writer and of the directory as it last saw it.
type Stats struct {
	Records    int64 // written, of all types
	Bytes      int64 // of them
	Segments   int64 // made
	Syncs      int64 // fdatasync calls that were answered
	SyncErrors int64 // of them, failed
	Moved      int64 // segments that were left because they failed
	Refused    int64 // intents refused because the journal was full
	Lost       int64 // records that could be written nowhere
	Cut        int64 // records of which something was cut to fit

	Bodies     int64 // written
	BodiesLost int64 // dropped: busy, bound, disk
	Unshipped  int64 // bytes in the directory that wait for the database
	Bound      int64 // of them
	Free       int64 // bytes free on the file system
	Full       bool  // intents are refused
}

// Times of a writer.
const (
	syncEvery = 10 * time.Millisecond
	lookEvery = time.Second
)
