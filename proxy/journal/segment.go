package journal

import (
	"errors"
	"time"
)

// Segment is a file of a journal as Scan found it.
type Segment struct {
	Path       string // of the file
	Name       string // its name without directories, the key of its cursor
	Body       bool   // a body segment: it may be lost
	Host       string // id of the host that wrote it
	Holder     string // the life of the host table, 32 hex digits
	Boot       string // the boot of the machine, 32 hex digits
	Slot       int
	Generation int64
	Number     int64 // counts the segments of a generation from 1
	Layout     int   // of the format
	Created    time.Time

	Size      int64 // of the file, in bytes
	Committed int64 // offset behind the last acknowledged record
	Shipped   int64 // offset that MarkShipped has told
	Finished  bool  // nothing will be appended

	// Problem says why the segment cannot be read, nil if it can: another
	// layout, a damaged header. Such a segment is left alone.
	Problem error
}

// Start is the offset of the first record of every segment.
const Start = 4096

// Scan lists the segments of the directories, bodies included, oldest first:
// by holder's first segment, generation, slot and number.
func Scan(dirs ...string) ([]*Segment, error) { return nil, nil }

// Read gives every whole record from offset from on (0 or Start: the first) to
// fn, with the offsets of its first byte and behind its last. It reads beside a
// living writer. next is the offset to go on at, in this or another process. An
// error of fn ends the reading, is returned, and next is the offset of that
// record. Records of unknown types are passed over. What fn is given is its own.
func (s *Segment) Read(from int64, fn func(off, end int64, r Record) error) (next int64, err error) {
	return from, errors.ErrUnsupported
}

// MarkShipped tells writers that what stands before upTo is in the database and
// waits no more.
func (s *Segment) MarkShipped(upTo int64) error { return nil }

// Trim cuts the file to upTo bytes: the end of the last record, as Read gave it,
// of a segment whose writer is dead.
func (s *Segment) Trim(upTo int64) error { return nil }

// Remove deletes the file.
func (s *Segment) Remove() error { return nil }
