package journal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The page that a segment begins with, little endian:
//
//	   0  "SLUICEJ", layout (1 byte)
//	   8  CRC32C of the bytes from 12 to identEnd
//	  12  kind (1 byte: 0 money, 1 bodies), length of host (1 byte), 2 zero bytes
//	  16  mark: random, not 0; stands in every record and seeds its CRC
//	  20  slot
//	  24  generation   32  number   40  created, unix nanoseconds
//	  48  holder (16 bytes)   64  boot of the machine (16 bytes)
//	  80  host (64 bytes)
//	1024  the bytes from 0 to identEnd once more
//	2048  committed: offset behind the last acknowledged record
//	2112  shipped: offset up to which everything is in the database
//	2176  state: 1 finished, nothing will be appended; 2 finished by somebody else,
//	      who knew that its writer is dead
//
// The last three are words of 8 bytes that change; the offsets have a check in
// their lower 24 bits. A reader trusts CRCs alone: committed tells a record that
// was damaged from one that was never written.
const (
	layout    = 1
	magic     = "SLUICEJ"
	identEnd  = 144
	identCopy = 1024
	hostMax   = 64

	wordCommitted = 2048
	wordShipped   = 2112
	wordState     = 2176

	stateFinished = 1
	stateLeft     = 2
)

// What a record begins with, little endian:
//
//	 0  size: of the record with this head, without padding
//	 4  CRC32C of the bytes from 8 to size, seeded with mark
//	 8  mark of the segment
//	12  type   13  version of the type   14  flags (2 bytes)
//	16  sequence
//
// Fields follow (encode.go), then zeros up to the next multiple of 8.
const (
	headSize   = 24
	moneyMax   = 4 << 10  // of a record about money, unless its accounts alone are longer
	recordMax  = 64 << 10 // of any record of a money segment
	bodyMax    = 4 << 20  // of a record of a body segment
	finishSize = 32       // of the padded record that ends a segment
)

// Types of records. They never change.
const (
	typeIntent   = 1
	typeProgress = 2
	typeSettle   = 3
	typeReject   = 4
	typePrice    = 5
	typeFinish   = 6
	typeBody     = 7
)

// recordVersion is that of all types so far. Fields are added without a new one;
// a reader takes what it knows of a newer version.
const recordVersion = 1

// flagCut says that something was cut to fit.
const flagCut = 1

var le = binary.LittleEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// padded is n rounded up to where the next record begins.
func padded(n int) int { return (n + 7) &^ 7 }

// begin gives an empty record of a type: the head is filled in by seal.
func begin(dst []byte, kind byte) []byte {
	dst = append(dst[:0], make([]byte, headSize)...)
	dst[12], dst[13] = kind, recordVersion
	return dst
}

// seal makes rec a record of a segment. rec has no padding.
func seal(rec []byte, mark uint32, sequence uint64) {
	le.PutUint32(rec[0:], uint32(len(rec)))
	le.PutUint32(rec[8:], mark)
	le.PutUint64(rec[16:], sequence)
	le.PutUint32(rec[4:], crc32.Update(mark, castagnoli, rec[8:]))
}

// head reads the size of a record, 0 when there is none.
func head(b []byte, mark uint32, most int) int {
	size := int(le.Uint32(b))
	if size < headSize || size > most || le.Uint32(b[8:]) != mark {
		return 0
	}
	return size
}

// sound reports whether a whole record is as it was sealed.
func sound(rec []byte, mark uint32) bool {
	return unchecked() || crc32.Update(mark, castagnoli, rec[8:]) == le.Uint32(rec[4:])
}

// ident is the part of a header that does not change.
type ident struct {
	body       bool
	mark       uint32
	slot       int
	generation int64
	number     int64
	created    int64
	holder     [16]byte
	boot       [16]byte
	host       string
}

// put writes the ident into a header page, twice.
func (id *ident) put(page []byte) {
	copy(page, magic)
	page[7] = layout
	if id.body {
		page[12] = 1
	}
	page[13] = byte(len(id.host))
	le.PutUint32(page[16:], id.mark)
	le.PutUint32(page[20:], uint32(id.slot))
	le.PutUint64(page[24:], uint64(id.generation))
	le.PutUint64(page[32:], uint64(id.number))
	le.PutUint64(page[40:], uint64(id.created))
	copy(page[48:], id.holder[:])
	copy(page[64:], id.boot[:])
	copy(page[80:identEnd], id.host)
	le.PutUint32(page[8:], crc32.Checksum(page[12:identEnd], castagnoli))
	copy(page[identCopy:], page[:identEnd])
	le.PutUint64(page[wordCommitted:], checked(Start))
	le.PutUint64(page[wordShipped:], checked(Start))
}

// Errors of headers.
var (
	errNoSegment = errors.New("it is no segment of a journal")
	errHeader    = errors.New("its header is damaged")
)

// readIdent reads a header page: the first of its two copies that is sound.
func readIdent(page []byte) (id *ident, version int, err error) {
	err = errNoSegment
	for _, at := range []int{0, identCopy} {
		b := page[at : at+identEnd]
		if string(b[:7]) != magic {
			continue
		}
		if b[7] != layout {
			version = int(b[7])
			err = fmt.Errorf("it has layout %d, this release reads layout %d: read it with the release that wrote it", b[7], layout)
			continue
		}
		n := int(b[13])
		if crc32.Checksum(b[12:], castagnoli) != le.Uint32(b[8:]) || n > hostMax || le.Uint32(b[16:]) == 0 {
			err = errHeader
			continue
		}
		id = &ident{
			body: b[12] == 1, mark: le.Uint32(b[16:]), slot: int(le.Uint32(b[20:])), generation: int64(le.Uint64(b[24:])),
			number: int64(le.Uint64(b[32:])), created: int64(le.Uint64(b[40:])), host: string(b[80 : 80+n]),
		}
		copy(id.holder[:], b[48:])
		copy(id.boot[:], b[64:])
		return id, layout, nil
	}
	return nil, version, err
}

// checked is an offset as it stands in a header.
func checked(off int64) uint64 {
	return uint64(off)<<24 | uint64(off)*0x9e3779b97f4a7c15>>40
}

// word reads an offset of a header page, Start where it is damaged.
func word(page []byte, at int) int64 {
	n := le.Uint64(page[at:])
	if off := int64(n >> 24); off > Start && checked(off) == n {
		return off
	}
	return Start
}

// name is the file name of a segment.
func (id *ident) name() string {
	kind := suffixMoney
	if id.body {
		kind = suffixBody
	}
	return fmt.Sprintf("%s-%d-%d-%d%s", hex.EncodeToString(id.holder[:]), id.slot, id.generation, id.number, kind)
}

// Endings of file names.
const (
	suffixMoney = ".seg"
	suffixBody  = ".body"
)

func (id *ident) at() time.Time { return time.Unix(0, id.created) }
