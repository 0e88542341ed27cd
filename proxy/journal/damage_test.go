package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// segmentOf is a finished segment of n requests, and where its records are.
func segmentOf(t testing.TB, n int) (s *Segment, text []byte, offsets []int64) {
	t.Helper()
	c := config(t)
	w := open(t, c)
	for i := range n {
		must(t, w.Intent(intent(i), priced))
		must(t, w.Settle(id(i), 0, settle(i)))
	}
	must(t, w.Close())
	segments, err := Scan(c.Dir)
	must(t, err)
	s = segments[0]
	_, err = s.Read(0, func(off, _ int64, _ Record) error { offsets = append(offsets, off); return nil })
	must(t, err)
	text, err = os.ReadFile(s.Path)
	must(t, err)
	return s, text, offsets
}

// seen is what a reading of a segment gave.
type seen struct {
	intents map[int64]*Intent
	settles map[[16]byte]*Settle
	records int
	damaged int64 // bytes
	ranges  int
}

func lookAt(t testing.TB, s *Segment) *seen {
	t.Helper()
	out := &seen{intents: map[int64]*Intent{}, settles: map[[16]byte]*Settle{}}
	at := int64(0)
	next, err := s.Read(0, func(off, end int64, r Record) error {
		if off < at || end <= off {
			t.Errorf("a record at [%d, %d) comes after %d", off, end, at)
		}
		at = end
		switch r := owned(r).(type) {
		case *Intent:
			out.intents[r.Sequence] = r
		case *Settle:
			out.settles[r.RequestID] = r
		case *Damaged:
			out.damaged += end - off
			out.ranges++
			return nil
		}
		out.records++
		return nil
	})
	must(t, err)
	if _, err := s.Read(next, func(_, _ int64, r Record) error { return fmt.Errorf("a second reading gives %T", r) }); err != nil {
		t.Error(err)
	}
	return out
}

// every record that was read is one that was written.
func (s *seen) check(t testing.TB, what string) {
	t.Helper()
	for _, r := range s.intents {
		n := int(r.At)
		if r.RequestID != id(n) || len(r.Accounts) != len(intent(n).Accounts) || r.Reserved != intent(n).Reserved {
			t.Errorf("%s: a wrong intent was accepted: %+v", what, r)
		}
	}
	for _, r := range s.settles {
		if n := int(r.At) - 5; r.RequestID != id(n) || r.Cost != settle(n).Cost || r.Usage != settle(n).Usage {
			t.Errorf("%s: a wrong settlement was accepted: %+v", what, r)
		}
	}
}

// TestBitFlips flips every bit of a stretch of a segment, one at a time: one
// record at most is lost, it is counted, and none is made up.
func TestBitFlips(t *testing.T) {
	const requests = 8
	s, text, offsets := segmentOf(t, requests)
	all := len(offsets)
	for at := int(offsets[3]); at < int(offsets[4]); at++ {
		bit := byte(1) << (at % 8)
		text[at] ^= bit
		must(t, os.WriteFile(s.Path, text, 0o600))
		got := lookAt(t, s)
		padding := got.records == all && got.damaged == 0 // a flip between two records
		if !padding && (got.records != all-1 || got.ranges != 1 || got.damaged == 0) {
			t.Errorf("a flip at %d: %d of %d records, %d bytes in %d ranges damaged", at, got.records, all, got.damaged, got.ranges)
		}
		got.check(t, fmt.Sprint("a flip at ", at))
		text[at] ^= bit
	}
	// In the header.
	for at := 0; at < Start; at += 7 {
		text[at] ^= 0x10
		must(t, os.WriteFile(s.Path, text, 0o600))
		if got := lookAt(t, s); got.records != all || got.damaged != 0 {
			t.Errorf("a flip at %d of the header: %d of %d records, %d bytes damaged", at, got.records, all, got.damaged)
		}
		text[at] ^= 0x10
	}
}

// TestCutShort cuts a segment at every eighth byte.
func TestCutShort(t *testing.T) {
	s, text, offsets := segmentOf(t, 8)
	for at := len(text) - 1; at >= Start; at -= 7 {
		must(t, os.WriteFile(s.Path, text[:at], 0o600))
		whole := 0
		for _, off := range offsets {
			if off+int64(le.Uint32(text[off:])) <= int64(at) {
				whole++
			}
		}
		got := lookAt(t, s)
		if got.records != whole || got.ranges != 1 && whole < len(offsets) {
			t.Errorf("cut at %d: %d records of %d, %d ranges are damaged", at, got.records, whole, got.ranges)
		}
		got.check(t, fmt.Sprint("cut at ", at))
	}
	for _, at := range []int{0, 1, 100, Start - 1} {
		must(t, os.WriteFile(s.Path, text[:at], 0o600))
		if _, err := s.Read(0, nil); err == nil || !strings.Contains(err.Error(), s.Path) {
			t.Errorf("a segment of %d bytes is read: %v", at, err)
		}
	}
}

// TestHole zeroes pages, as a power cut does that wrote the header and not what
// it speaks of.
func TestHole(t *testing.T) {
	s, text, _ := segmentOf(t, 60)
	whole := lookAt(t, s)
	clear(text[Start+4096 : Start+8192])
	must(t, os.WriteFile(s.Path, text, 0o600))
	got := lookAt(t, s)
	if got.ranges != 1 || got.damaged < 4096 || got.records < whole.records-30 || got.records > whole.records-15 {
		t.Errorf("%d of %d records, %d bytes in %d ranges damaged", got.records, whole.records, got.damaged, got.ranges)
	}
	got.check(t, "a hole")
}

// TestForged writes whole records into what clients may say and damages what
// stands before them: they are not taken for records.
func TestForged(t *testing.T) {
	c := config(t)
	w := open(t, c)
	forged := appendSettle(putText(begin(nil, typeSettle), fRequest, bytes.Repeat([]byte{7}, 16)), settle(9))
	for len(forged)%8 != 0 {
		forged = append(forged, 0)
	}
	seal(forged, 0x01020304, 99)
	for range 8 { // one of the eight is aligned
		in := intent(1)
		in.Metadata = strings.Repeat("x", len(in.Metadata)+1) + string(forged) + string(forged)
		must(t, w.Intent(in, nil))
		must(t, w.Settle(in.RequestID, 0, settle(1)))
	}
	must(t, w.Close())
	segments, err := Scan(c.Dir)
	must(t, err)
	text, err := os.ReadFile(segments[0].Path)
	must(t, err)
	text[Start+4] ^= 1 // the sum of the first intent
	must(t, os.WriteFile(segments[0].Path, text, 0o600))
	got := lookAt(t, segments[0])
	if _, ok := got.settles[[16]byte(bytes.Repeat([]byte{7}, 16))]; ok || got.ranges != 1 || got.records != 16 {
		t.Errorf("%d records, %d ranges are damaged, settlements of %d requests", got.records, got.ranges, len(got.settles))
	}
}

// TestLeftAlone: what is no segment, of another layout or another host is said
// and left alone.
func TestLeftAlone(t *testing.T) {
	s, text, _ := segmentOf(t, 1)
	dir := filepath.Dir(s.Path)
	put := func(name string, change func(b []byte)) {
		b := bytes.Clone(text)
		change(b)
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	must(t, s.Remove())
	must(t, s.Remove())
	put("newer.seg", func(b []byte) { b[7], b[identCopy+7] = 9, 9 })
	put("noise.seg", func(b []byte) { clear(b) })
	put("header.seg", func(b []byte) { b[20] ^= 1; b[identCopy+20] ^= 1 })
	must(t, os.WriteFile(filepath.Join(dir, "short.seg"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o600))
	segments, err := Scan(dir, dir, "", filepath.Join(dir, "nowhere"))
	must(t, err)
	want := map[string]string{"newer.seg": "layout 9", "noise.seg": "no segment", "header.seg": "header", "short.seg": "no segment"}
	if len(segments) != len(want) {
		t.Fatalf("%d segments were found, want %d", len(segments), len(want))
	}
	for _, s := range segments {
		if s.Problem == nil || !strings.Contains(s.Problem.Error(), want[s.Name]) {
			t.Errorf("%s has the problem %v", s.Name, s.Problem)
		}
		if _, err := s.Read(0, nil); err == nil {
			t.Errorf("%s is read", s.Name)
		}
		if s.Trim(0) == nil || s.MarkShipped(5000) == nil {
			t.Errorf("%s is changed", s.Name)
		}
	}
	// They do not count as waiting, and do not keep a writer from its work.
	c := config(t)
	c.Dir, c.Host = dir, "host-2"
	put("foreign.seg", func([]byte) {})
	w := open(t, c)
	must(t, w.Intent(intent(1), nil))
	if s := w.Stats(); s.Unshipped > 4096 || s.Full {
		t.Errorf("another host's segment counts: %+v", s)
	}
}

// TestDuplicated: a copy under another name is a segment of its own, with the
// same records.
func TestDuplicated(t *testing.T) {
	s, text, _ := segmentOf(t, 5)
	must(t, os.WriteFile(strings.Replace(s.Path, "-1.seg", "-7.seg", 1), text, 0o600))
	if got := only[*Settle](read(t, filepath.Dir(s.Path))); len(got) != 10 || got[0].RequestID != got[5].RequestID {
		t.Errorf("%d settlements were read, want each of 5 twice", len(got))
	}
}

// TestUnknown: fields and types of a newer release are passed over.
func TestUnknown(t *testing.T) {
	c := config(t)
	w := open(t, c)
	must(t, w.Intent(intent(1), nil))
	w.mu.Lock()
	rec := putInt(putText(begin(nil, 99), 1, "of a newer release"), 2, 7)
	must(t, w.append(rec))
	rec = appendIntent(begin(nil, typeIntent), intent(2))
	rec = putText(putInt(rec, 39, 7), 1000, "of a newer release")
	rec[13] = 2
	must(t, w.append(rec))
	w.mu.Unlock()
	must(t, w.Close())
	got := read(t, c.Dir)
	if len(got) != 3 || got[1].(*Intent).RequestID != id(2) || got[1].(*Intent).Claim != 17 {
		t.Errorf("got %s", show(got))
	}
}

func TestTrimAndPrune(t *testing.T) {
	c := config(t)
	w := open(t, c)
	must(t, w.Intent(intent(1), nil))
	segments, err := Scan(c.Dir)
	must(t, err)
	s := segments[0]
	if s.Finished || s.Size != w.sizes.segment || s.Unshipped() == 0 {
		t.Errorf("a segment that is written is %+v", s)
	}
	end, err := s.Read(0, func(int64, int64, Record) error { return nil })
	must(t, err)
	if got := Prune(segments, time.Now().Add(48*time.Hour), time.Hour, 0, 0); len(got) != 0 {
		t.Error("a segment that is written may go")
	}
	must(t, s.MarkShipped(end))
	must(t, s.Trim(end))
	segments, err = Scan(c.Dir)
	must(t, err)
	s = segments[0]
	if !s.Finished || !s.Left || s.Size != end || s.Unshipped() != 0 || s.Shipped != end {
		t.Errorf("a segment that was trimmed is %+v", s)
	}
	for _, p := range []struct {
		age   time.Duration
		most  int64
		files int
		want  int
	}{{0, 1 << 20, 1, 0}, {48 * time.Hour, 1 << 20, 1, 1}, {0, end - 1, 1, 1}, {0, 1 << 20, 0, 1}} {
		if got := Prune(segments, time.Now().Add(p.age), 24*time.Hour, p.most, p.files); len(got) != p.want {
			t.Errorf("after %s with %d bytes and %d files allowed %d may go, want %d", p.age, p.most, p.files, len(got), p.want)
		}
	}
}

// A segment that is known and finished is not looked at again, one that may be
// written is; what is finished by its writer is not one that a dead one has left.
func TestRescan(t *testing.T) {
	c := config(t)
	w := open(t, c)
	must(t, w.Intent(intent(1), nil))
	known := map[string]*Segment{}
	rescan := func() *Segment {
		t.Helper()
		segments, err := Rescan(func(name string) *Segment { return known[name] }, c.Dir)
		must(t, err)
		if len(segments) != 1 {
			t.Fatalf("%d segments", len(segments))
		}
		known[segments[0].Name] = segments[0]
		return segments[0]
	}
	first := rescan()
	must(t, w.Intent(intent(2), nil))
	if s := rescan(); s.Committed <= first.Committed || s.Finished {
		t.Errorf("a segment that grows is %+v", s)
	}
	must(t, w.Close())
	finished := rescan()
	if !finished.Finished || finished.Left {
		t.Errorf("a segment that its writer has finished is %+v", finished)
	}
	must(t, os.Truncate(finished.Path, 100)) // whoever reads it would see that
	if s := rescan(); s != finished {
		t.Errorf("it was looked at again: %+v", s)
	}
	must(t, os.Remove(finished.Path))
	if segments, err := Rescan(func(name string) *Segment { return known[name] }, c.Dir); err != nil || len(segments) != 0 {
		t.Errorf("it is not there any more: %v, %v", segments, err)
	}
}

// FuzzRead reads segments in which anything may stand: nothing panics, and what
// passes its sum was written by us or has a sum made for it, which the mark of a
// real segment keeps from happening.
func FuzzRead(f *testing.F) {
	s, text, _ := segmentOf(f, 3)
	body := text[Start:]
	f.Add(body, uint16(0), byte(0))
	f.Add(body[:200], uint16(40), byte(255))
	f.Add([]byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte) {
		if len(b) > 0 {
			b = bytes.Clone(b)
			b[int(at)%len(b)] ^= x
		}
		must(t, os.WriteFile(s.Path, append(bytes.Clone(text[:Start]), b...), 0o600))
		_, err := s.Read(0, func(_, _ int64, r Record) error {
			switch r := r.(type) {
			case *Intent:
				if n := int(r.At); n < 0 || n > 2 || r.RequestID != id(n) {
					t.Errorf("a wrong intent was accepted: %+v", r)
				}
			case *Settle:
				if n := int(r.At) - 5; n < 0 || n > 2 || r.RequestID != id(n) || r.Cost != settle(n).Cost {
					t.Errorf("a wrong settlement was accepted: %+v", r)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// FuzzDecode decodes records whose sum is right and whose fields are anything.
func FuzzDecode(f *testing.F) {
	for _, kind := range []byte{typeIntent, typeProgress, typeSettle, typeReject, typePrice, typeFinish, typeBody, 99} {
		f.Add(kind, appendSettle(appendIntent(nil, intent(1)), settle(1)))
	}
	f.Fuzz(func(t *testing.T, kind byte, fields []byte) {
		rec := append(begin(nil, kind), fields...)
		if r, err := newDecoder().decode(rec); err == nil && r != nil {
			if in, ok := r.(*Intent); ok { // what was understood is written alike
				again, err := newDecoder().decode(appendIntent(begin(nil, typeIntent), &in.Intent))
				if err != nil || again.(*Intent).Prompt != in.Prompt || len(again.(*Intent).Accounts) != len(in.Accounts) {
					t.Errorf("%+v becomes %+v, %v", in, again, err)
				}
			}
		}
	})
}

// TestNoise reads random bytes behind a good header.
func TestNoise(t *testing.T) {
	s, text, _ := segmentOf(t, 2)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b := text[Start:]
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		le.PutUint32(b[8:], s.mark) // the first one seems to be ours
		le.PutUint32(b[0:], random.Uint32()%uint32(len(b)))
		must(t, os.WriteFile(s.Path, text, 0o600))
		if got := lookAt(t, s); got.records != 0 || got.ranges != 1 {
			t.Fatalf("%d records were read from noise", got.records)
		}
	}
}

// TestWritten: whoever cannot look takes a segment for one that is written.
func TestWritten(t *testing.T) {
	c := config(t)
	w := open(t, c)
	segments, err := Scan(c.Dir)
	must(t, err)
	loop := filepath.Join(t.TempDir(), "loop")
	must(t, os.Symlink(loop, loop)) // which cannot be opened
	missing := &Segment{Path: filepath.Join(t.TempDir(), "missing")}
	if !segments[0].Written() || !(&Segment{Path: loop}).Written() || missing.Written() {
		t.Errorf("open %v, unknown %v, missing %v", segments[0].Written(), (&Segment{Path: loop}).Written(), missing.Written())
	}
	must(t, w.Close())
	if segments[0].Written() {
		t.Error("a closed segment is written")
	}
}
