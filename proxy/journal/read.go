package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// readAhead is how much of a segment is read at once, at most.
const readAhead = 256 << 10

// Read gives every whole record from offset from on (0 or Start: the first) to
// fn, with the offsets of its first byte and behind its last. It reads beside a
// living writer, in any process. next is the offset to go on at. An error of fn
// ends the reading, is returned, and next is the offset of that record. Records
// of unknown types are passed over. What fn is given is good until it returns; the
// texts and lists in it stay, and may be those of other records too. A file that
// is gone has no records: writers remove segments that they never used.
//
// Bytes that had been written and are no sound record are told as one *Damaged,
// and reading goes on behind them; where that cannot be, the segment ends there.
func (s *Segment) Read(from int64, fn func(off, end int64, r Record) error) (next int64, err error) {
	from = max(from, Start)
	f, err := os.Open(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return from, nil
	}
	if err != nil {
		return from, fmt.Errorf("read the journal: %w", err)
	}
	defer f.Close()
	// The header first: what it calls committed stands in the file by then.
	if err := s.header(f); err != nil {
		return from, err
	}
	r := reader{file: f, mark: s.mark, most: recordMax, ahead: int(min(max(s.Committed-from, Start), readAhead))}
	if s.Body {
		r.most = bodyMax
	}
	var d *decoder
	for {
		rec, err := r.record(from)
		if err != nil {
			return from, fmt.Errorf("read journal segment %s: %w", s.Path, err)
		}
		if rec == nil {
			if from >= s.Committed {
				return from, nil
			}
			found, err := r.find(from+8, s.Committed)
			if err != nil {
				return from, fmt.Errorf("read journal segment %s: %w", s.Path, err)
			}
			if err := fn(from, found, &Damaged{}); err != nil {
				return from, err
			}
			from = found
			continue
		}
		end := from + int64(padded(len(rec)))
		if d == nil {
			d = newDecoder()
		}
		value, err := d.decode(rec)
		if err != nil {
			value = &Damaged{} // sound, but not of this format
		}
		if value != nil {
			if err := fn(from, end, value); err != nil {
				return from, err
			}
		}
		from = end
		if _, last := value.(*Finish); last {
			return from, nil
		}
	}
}

// reader reads records of an open segment. What it gives is good until its next
// call.
type reader struct {
	file *os.File
	mark uint32
	most int
	// ahead is how much is read at once: a follower that asks often finds little.
	ahead int

	buf []byte // of the file from at on
	at  int64
}

// bytes gives n bytes at off, or fewer at the end of the file.
func (r *reader) bytes(off int64, n int) ([]byte, error) {
	if off < r.at || off+int64(n) > r.at+int64(len(r.buf)) {
		size := max(n, r.ahead)
		if cap(r.buf) < size {
			r.buf = make([]byte, size)
		}
		got, err := r.file.ReadAt(r.buf[:size], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		r.buf, r.at = r.buf[:got], off
	}
	b := r.buf[off-r.at:]
	return b[:min(n, len(b))], nil
}

// record gives the sound record at off, nil if there is none.
func (r *reader) record(off int64) ([]byte, error) {
	b, err := r.bytes(off, headSize)
	if err != nil || len(b) < headSize {
		return nil, err
	}
	size := head(b, r.mark, r.most)
	if size == 0 {
		return nil, nil
	}
	b, err = r.bytes(off, size)
	if err != nil || len(b) < size || !sound(b, r.mark) {
		return nil, err
	}
	return b, nil
}

// find gives the offset of the first sound record from off on and before end,
// or end. The mark, which no client knows, keeps it from taking for a record
// what a client has written into one.
func (r *reader) find(off, end int64) (int64, error) {
	for ; off+headSize <= end; off += 8 {
		b, err := r.bytes(off, headSize)
		if err != nil {
			return 0, err
		}
		if len(b) < headSize {
			break
		}
		if le.Uint32(b[8:]) != r.mark {
			continue
		}
		rec, err := r.record(off)
		if err != nil {
			return 0, err
		}
		if rec != nil {
			return off, nil
		}
	}
	return end, nil
}
