package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	Number     int64 // rises with the segments of a generation, from 1; there may be gaps
	Layout     int   // of the format
	Created    time.Time

	Size      int64     // of the file, in bytes
	Modified  time.Time // of the file
	Committed int64     // offset behind the last acknowledged record
	Shipped   int64     // offset that MarkShipped has told
	Finished  bool      // nothing will be appended
	Left      bool      // its writer is dead: somebody else has finished it

	// Problem says why the segment cannot be read, nil if it can: another
	// layout, a damaged header. Such a segment is left alone.
	Problem error

	mark uint32
}

// Start is the offset of the first record of every segment.
const Start = 4096

// Scan lists the segments of the directories, oldest first: by the holder's first
// segment, bodies last, then by generation, slot and number. A directory that is
// not there has none. Of a generation, records of a segment were written before
// those of the next one: who has found a segment reads those before it to their
// end first.
func Scan(dirs ...string) ([]*Segment, error) {
	return Rescan(func(string) *Segment { return nil }, dirs...)
}

// Rescan is Scan that does not look again at segments which are known, by their
// name, and are finished.
func Rescan(known func(name string) *Segment, dirs ...string) ([]*Segment, error) {
	var out []*Segment
	first := map[string]time.Time{} // segment of a holder
	for _, dir := range unique(dirs) {
		names, err := list(dir)
		if err != nil {
			return nil, fmt.Errorf("list the journal: %w", err)
		}
		for _, name := range names {
			s := known(name)
			if path := filepath.Join(dir, name); s == nil || !s.Finished || s.Path != path {
				s = &Segment{Path: path, Name: name}
				switch err := s.look(); {
				case errors.Is(err, fs.ErrNotExist): // removed meanwhile
					continue
				case err != nil && s.Problem == nil:
					return nil, err
				}
			}
			if at, ok := first[s.Holder]; !ok || s.Created.Before(at) {
				first[s.Holder] = s.Created
			}
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *Segment) int {
		if a.Holder != b.Holder {
			if c := first[a.Holder].Compare(first[b.Holder]); c != 0 {
				return c
			}
			return strings.Compare(a.Holder, b.Holder)
		}
		if a.Body != b.Body {
			return map[bool]int{false: -1, true: 1}[a.Body]
		}
		for _, c := range []int64{a.Generation - b.Generation, int64(a.Slot - b.Slot), a.Number - b.Number} {
			if c != 0 {
				return int(max(min(c, 1), -1))
			}
		}
		return strings.Compare(a.Path, b.Path)
	})
	return out, nil
}

// Find is the segment in that file, wherever it stands.
func Find(path string) (*Segment, error) {
	s := &Segment{Path: path, Name: filepath.Base(path)}
	if err := s.look(); err != nil && s.Problem == nil {
		return nil, fmt.Errorf("find a journal segment: %w", err)
	}
	return s, nil
}

// list gives the names of the segments of a directory as they were at one moment:
// who sees a segment sees those that came before it. A single reading of a
// directory beside a writer does not promise that.
func list(dir string) (names []string, err error) {
	for range 10 {
		before := names
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		names = make([]string, 0, len(entries))
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), suffixMoney) || strings.HasSuffix(e.Name(), suffixBody) {
				names = append(names, e.Name())
			}
		}
		if before != nil && slices.Equal(before, names) {
			break
		}
	}
	return names, nil
}

// unique is the directories without empty and repeated ones.
func unique(dirs []string) []string {
	var out []string
	for _, dir := range dirs {
		if dir != "" && !slices.Contains(out, filepath.Clean(dir)) {
			out = append(out, filepath.Clean(dir))
		}
	}
	return out
}

// look reads the header again.
func (s *Segment) look() error {
	f, err := os.Open(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.header(f)
}

// header reads the header of the open file.
func (s *Segment) header(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.Size, s.Modified = info.Size(), info.ModTime()
	page := make([]byte, Start)
	if _, err := f.ReadAt(page, 0); err != nil {
		s.Problem = errNoSegment
		return s.problem()
	}
	id, version, err := readIdent(page)
	if s.Layout = version; err != nil {
		s.Problem = err
		return s.problem()
	}
	s.Problem = nil
	s.Body, s.Host, s.mark = id.body, id.host, id.mark
	s.Holder, s.Boot = hex.EncodeToString(id.holder[:]), hex.EncodeToString(id.boot[:])
	s.Slot, s.Generation, s.Number, s.Created = id.slot, id.generation, id.number, id.at()
	s.Committed, s.Shipped = word(page, wordCommitted), word(page, wordShipped)
	s.Finished, s.Left = page[wordState] >= stateFinished, page[wordState] == stateLeft
	return nil
}

func (s *Segment) problem() error {
	return fmt.Errorf("journal segment %s cannot be read: %w", s.Path, s.Problem)
}

// Unshipped is how many bytes of the segment wait for the database.
func (s *Segment) Unshipped() int64 {
	if s.Body || s.Problem != nil {
		return 0
	}
	return max(s.Committed-s.Shipped, 0)
}

// Blank says that the file holds nothing but zeros: what a power cut leaves of a
// segment whose name alone had reached the disk.
func (s *Segment) Blank() bool {
	f, err := os.Open(s.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	for b := make([]byte, readAhead); ; {
		n, err := f.Read(b)
		if len(bytes.TrimLeft(b[:n], "\x00")) > 0 {
			return false
		}
		if err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// MarkShipped tells writers that what stands before upTo is in the database and
// waits no more. It is a hint about space: the truth is the cursor in the
// database.
func (s *Segment) MarkShipped(upTo int64) error {
	if err := s.change(func(f *os.File) error {
		var b [8]byte
		le.PutUint64(b[:], checked(upTo))
		_, err := f.WriteAt(b[:], wordShipped)
		return err
	}); err != nil {
		return fmt.Errorf("mark journal segment %s as shipped: %w", s.Path, err)
	}
	s.Shipped, s.Modified = upTo, time.Now() // from now on it is kept
	return nil
}

// Trim cuts the file to upTo bytes, which is what Read gave at the end of a
// segment whose writer is dead, and says that it is finished.
func (s *Segment) Trim(upTo int64) error {
	upTo = max(upTo, Start)
	if err := s.change(func(f *os.File) error {
		if upTo < s.Size {
			if err := f.Truncate(upTo); err != nil {
				return err
			}
		}
		_, err := f.WriteAt([]byte{stateLeft}, wordState)
		return err
	}); err != nil {
		return fmt.Errorf("trim journal segment %s: %w", s.Path, err)
	}
	s.Size, s.Finished, s.Left = min(s.Size, upTo), true, true
	return nil
}

func (s *Segment) change(fn func(*os.File) error) error {
	if s.Problem != nil {
		return s.Problem
	}
	f, err := os.OpenFile(s.Path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a writer removes what it never used
	}
	if err != nil {
		return err
	}
	err = fn(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Remove deletes the file. One that is gone already is no error.
func (s *Segment) Remove() error {
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal segment: %w", err)
	}
	return nil
}

// Prune picks what may be removed of finished segments that are wholly shipped:
// those that were last written before keep ago, and beyond so many bytes or files
// the oldest ones. segments are as Scan gives them.
func Prune(segments []*Segment, now time.Time, keep time.Duration, mostBytes int64, mostFiles int) []*Segment {
	var done []*Segment
	var bytes int64
	for _, s := range segments {
		if s.Problem == nil && s.Finished && !s.Body && s.Shipped >= s.Committed {
			done = append(done, s)
			bytes += s.Size
		}
	}
	slices.SortStableFunc(done, func(a, b *Segment) int { return a.Modified.Compare(b.Modified) })
	var out []*Segment
	for i, s := range done {
		if now.Sub(s.Modified) < keep && bytes <= mostBytes && len(done)-i <= mostFiles {
			break
		}
		out = append(out, s)
		bytes -= s.Size
	}
	return out
}
