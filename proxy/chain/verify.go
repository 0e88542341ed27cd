package chain

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"
)

// Kind is what was done to the record.
type Kind string

// Kinds of problems.
const (
	Changed   Kind = "changed"
	Deleted   Kind = "deleted"
	Inserted  Kind = "inserted"
	Reordered Kind = "reordered"
	Truncated Kind = "truncated" // rows are missing at the end
)

// Problem is one thing that was done to the record, as far as what is left of it
// can tell.
type Problem struct {
	Kind        Kind
	First, Last int64 // numbers of the rows
	Detail      string
}

// String is the problem for people.
func (p Problem) String() string {
	rows := fmt.Sprintf("row %d", p.First)
	if p.Last > p.First {
		rows = fmt.Sprintf("rows %d to %d", p.First, p.Last)
	}
	return rows + ": " + string(p.Kind) + ": " + p.Detail
}

// Anchor is an end of the record as it was kept elsewhere.
type Anchor struct {
	Number int64
	MAC    []byte // of the row; nil: that it was there is all that is known
	At     time.Time
}

// Report is what a Verifier found.
type Report struct {
	Rows       int64            // that were read
	Last       int64            // number of the last one, or of the last archived one
	MAC        []byte           // its code; nil: it has none
	Archived   int64            // rows that are in files which were not read
	Unchained  int64            // rows at the end that have no code yet
	Unverified map[string]int64 // rows under keys that are not known, by the key's id
	Problems   []Problem        // at most MostProblems
	More       int64            // problems that are not listed
}

// OK is true where nothing was found and every row could be checked.
func (r *Report) OK() bool { return len(r.Problems) == 0 && len(r.Unverified) == 0 }

// MostProblems is how many problems a report lists.
const MostProblems = 100

const (
	mostBreaks = 32 // bad rows whose place is remembered
	mostKeys   = 100
	mostShift  = 16 // rows that may have been taken out where the rest was numbered anew
)

// broken is a row that did not fit, and what is needed to find out why.
type broken struct {
	number  int64
	before  []byte // code of the row before it
	mac     []byte // the row's own
	problem int    // index
}

// Verifier checks rows that are handed to it in the order of the record. It
// needs the same memory for any number of them, and is not for concurrent use.
type Verifier struct {
	keys      func(id string) (key [32]byte, known bool)
	hashes    map[string]hash.Hash // nil: the key is not known
	stretches []Stretch
	anchors   []Anchor

	report    Report
	next      int64  // number that comes now
	previous  []byte // code of the row before
	computed  []byte // what it should be
	blind     bool   // the row before is missing: the next one cannot be checked
	unchained int64  // rows without a code that were just read
	breaks    []broken
	gaps      []broken // the rows before number are missing from before.number on
	moved     *broken  // a row that belongs elsewhere was just read: where, and its code
	ended     bool
}

// NewVerifier makes a verifier. keys finds chain keys by the id of the sealing
// key that they are derived from.
func NewVerifier(keys func(id string) (key [32]byte, known bool)) *Verifier {
	return &Verifier{keys: keys, hashes: map[string]hash.Hash{}, next: 1, report: Report{Unverified: map[string]int64{}}}
}

// After makes the verifier begin behind a row, for a part of a record.
func (v *Verifier) After(number int64, mac []byte) {
	v.next, v.previous, v.computed = number+1, mac, mac
}

// Archived tells of stretches that were moved to files. Their rows may come, or
// be missing.
func (v *Verifier) Archived(stretches ...Stretch) {
	v.stretches = append(v.stretches, stretches...)
	slices.SortFunc(v.stretches, func(a, b Stretch) int { return cmp.Compare(a.First, b.First) })
}

// Expect tells of ends of the record that were kept elsewhere. The head of the
// database, read before the rows, is one of them.
func (v *Verifier) Expect(anchors ...Anchor) {
	v.anchors = append(v.anchors, anchors...)
	slices.SortStableFunc(v.anchors, func(a, b Anchor) int { return cmp.Compare(a.Number, b.Number) })
}

// Add checks the next row. What is wrong with it is told by End; an error means
// that the verifier has ended.
func (v *Verifier) Add(r Row) error {
	if v.ended {
		return errors.New("BUG: a row is verified after the end")
	}
	v.report.Rows++
	if v.pass(r.Number) {
		return nil
	}
	switch {
	case r.Number < v.next:
		v.back(&r)
		return nil
	case r.Number > v.next:
		at := v.problem(Problem{Deleted, v.next, r.Number - 1, fmt.Sprintf("they are missing; row %d cannot be checked without the one before it", r.Number)})
		v.gaps = remember(v.gaps, broken{number: v.next, before: v.previous, problem: at})
		v.next, v.blind = r.Number, true
	}
	v.next = r.Number + 1
	if r.MAC == nil {
		v.unchained++
	} else {
		v.uncoded(r.Number)
		v.check(&r)
		v.blind = false
	}
	v.anchored(r.Number, r.MAC)
	for len(v.stretches) > 0 && v.stretches[0].Last <= r.Number {
		s := &v.stretches[0]
		if s.Last == r.Number && !bytes.Equal(s.LastMAC, r.MAC) {
			v.problem(Problem{Changed, s.Last, s.Last, "it is not the row that was archived"})
		}
		v.stretches = v.stretches[1:]
	}
	return nil
}

// uncoded reports rows without a code before one that has one: codes are given
// in order.
func (v *Verifier) uncoded(number int64) {
	if v.unchained == 0 {
		return
	}
	v.problem(Problem{Changed, number - v.unchained, number - 1, "the code was removed, or a row without one was put there"})
	v.unchained, v.blind = 0, true
}

// check compares a row with its code, and looks for the reason where they
// differ. The row is the one that comes next by its number.
func (v *Verifier) check(r *Row) {
	h := v.hash(r.Key)
	if h == nil {
		id := r.Key
		if _, seen := v.report.Unverified[id]; !seen && len(v.report.Unverified) >= mostKeys {
			id = "others"
		}
		v.report.Unverified[id]++
		v.previous, v.computed, v.moved = r.MAC, r.MAC, nil
		return
	}
	if v.blind {
		v.settle(false)
		v.computed, v.previous = r.MAC, r.MAC
		return
	}
	computed := sum(h, v.previous, r)
	if hmac.Equal(computed, r.MAC) {
		v.settle(false)
	} else {
		v.explain(r, func(number int64, before []byte) bool {
			moved := *r
			moved.Number = number
			return hmac.Equal(sum(h, before, &moved), r.MAC)
		})
	}
	v.computed, v.previous = computed, r.MAC
}

// explain finds out what became of a row that does not fit after the one before
// it.
func (v *Verifier) explain(r *Row, fits func(number int64, before []byte) bool) {
	if fits(r.Number, v.computed) { // only the code of the row before was changed
		v.settle(false)
		return
	}
	for _, b := range v.breaks {
		if fits(r.Number, b.mac) { // the row before stands elsewhere
			v.settle(false)
			return
		}
	}
	if v.moved != nil && fits(v.moved.number+1, v.moved.mac) {
		v.moved.number++
		v.moved.mac = r.MAC
		v.inserted()
		v.extend(v.moved.problem, r.Number)
		return
	}
	for _, b := range v.breaks {
		if fits(b.number, b.before) {
			v.moved = &broken{number: b.number, mac: r.MAC, problem: b.problem}
			v.extend(b.problem, r.Number)
			return
		}
	}
	if n := len(v.breaks); n > 0 && v.breaks[n-1].number == r.Number-1 {
		b := v.breaks[n-1]
		for shift := int64(1); shift <= mostShift; shift++ {
			if fits(r.Number+shift, v.previous) {
				v.set(b.problem, Deleted, fmt.Sprintf("%d rows are missing here, and the rows after them were numbered anew", shift))
				v.extend(b.problem, r.Number)
				v.moved = &broken{number: r.Number + shift, mac: r.MAC, problem: b.problem}
				return
			}
		}
	}
	v.settle(false)
	var at int
	if n := len(v.report.Problems) - 1; n >= 0 && v.report.Problems[n].Kind == Changed && v.report.Problems[n].Last == r.Number-1 {
		at = n
		v.extend(n, r.Number)
	} else {
		at = v.problem(Problem{Changed, r.Number, r.Number, "it does not fit its code"})
	}
	v.breaks = remember(v.breaks, broken{number: r.Number, before: v.previous, mac: r.MAC, problem: at})
}

// settle ends a row of rows that belong elsewhere: one that stands where it
// belongs has come, or the end of the record.
func (v *Verifier) settle(end bool) {
	if v.moved == nil {
		return
	}
	if end {
		v.inserted()
	} else if p := v.listed(v.moved.problem); p != nil && p.Kind == Changed {
		p.Kind, p.Detail = Reordered, "rows have changed places"
	}
	v.moved = nil
}

func (v *Verifier) inserted() {
	if p := v.listed(v.moved.problem); p != nil && p.Kind == Changed {
		p.Kind, p.Detail = Inserted, "rows were put here, and the rows after them were numbered anew"
	}
}

// back is about a row whose number was there already, or passed over.
func (v *Verifier) back(r *Row) {
	for _, g := range v.gaps {
		if p := v.listed(g.problem); p != nil && p.First <= r.Number && r.Number <= p.Last {
			v.set(g.problem, Reordered, fmt.Sprintf("row %d comes after row %d", r.Number, v.next-1))
			return
		}
	}
	v.problem(Problem{Inserted, r.Number, r.Number, fmt.Sprintf("it comes after row %d", v.next-1)})
}

// pass leaves out what is archived, and says whether the row with the number is
// a part of that.
func (v *Verifier) pass(number int64) bool {
	for len(v.stretches) > 0 {
		s := &v.stretches[0]
		if number < s.First || number == v.next || v.next < s.First {
			return false
		}
		if number <= s.Last { // some of its rows are gone already
			return true
		}
		v.jump()
	}
	return false
}

// jump goes to the end of the next stretch.
func (v *Verifier) jump() {
	s := v.stretches[0]
	v.stretches = v.stretches[1:]
	v.stretch(&s)
	v.uncoded(v.next)
	if v.next == s.First && !v.blind && !bytes.Equal(s.Before, v.previous) && !bytes.Equal(s.Before, v.computed) {
		v.problem(Problem{Changed, s.First, s.Last, "the archived stretch does not fit after the row before it"})
	}
	v.report.Archived += s.Last - v.next + 1
	v.next, v.previous, v.computed, v.blind = s.Last+1, s.LastMAC, s.LastMAC, false
	v.anchored(s.Last, s.LastMAC)
}

// stretch checks the code of a stretch.
func (v *Verifier) stretch(s *Stretch) {
	key, known := v.keys(s.Key)
	switch {
	case !known:
		v.report.Unverified[s.Key]++
	case !hmac.Equal(s.Sum(key), s.MAC):
		v.problem(Problem{Changed, s.First, s.Last, "what is known of the archived stretch does not fit its code"})
	}
}

// anchored compares a row with what was kept of it elsewhere. What was kept of
// rows that are archived in files which are not read cannot be compared.
func (v *Verifier) anchored(number int64, mac []byte) {
	for len(v.anchors) > 0 && v.anchors[0].Number <= number {
		a := v.anchors[0]
		v.anchors = v.anchors[1:]
		if a.Number == number && a.MAC != nil && !bytes.Equal(a.MAC, mac) {
			v.problem(Problem{Changed, number, number, "it is not the row that was kept as the end of the record" + told(a.At)})
		}
	}
}

func told(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " at " + at.UTC().Format(time.RFC3339)
}

// End returns the report. newest is the number of the newest change by the head
// of the database, read after the rows; 0 where it is not known.
func (v *Verifier) End(newest int64) Report {
	if v.ended {
		return v.report
	}
	for len(v.stretches) > 0 && v.next >= v.stretches[0].First {
		v.jump()
	}
	v.ended = true
	v.settle(true)
	last := v.next - 1
	if newest > 0 && last > newest {
		v.problem(Problem{Inserted, newest + 1, last, "the head of the database does not know of it"})
	}
	if n := len(v.anchors); n > 0 {
		a := v.anchors[n-1]
		v.problem(Problem{Truncated, last + 1, a.Number, "the record was longer" + told(a.At)})
	}
	v.report.Last, v.report.MAC, v.report.Unchained = last, v.previous, v.unchained
	if v.unchained > 0 {
		v.report.MAC = nil
	}
	return v.report
}

// hash is the keyed hash of a sealing key's id, nil where it is not known.
func (v *Verifier) hash(id string) hash.Hash {
	h, ok := v.hashes[id]
	if !ok {
		if key, known := v.keys(id); known {
			h = hmac.New(sha256.New, key[:])
		}
		if len(v.hashes) < mostKeys {
			v.hashes[id] = h
		}
	}
	return h
}

// problem adds a problem and returns its index, -1 where the list is full.
func (v *Verifier) problem(p Problem) int {
	if len(v.report.Problems) >= MostProblems {
		v.report.More++
		return -1
	}
	v.report.Problems = append(v.report.Problems, p)
	return len(v.report.Problems) - 1
}

// listed is a problem by its index, nil where the list was full.
func (v *Verifier) listed(at int) *Problem {
	if at < 0 {
		return nil
	}
	return &v.report.Problems[at]
}

func (v *Verifier) set(at int, k Kind, detail string) {
	if p := v.listed(at); p != nil {
		p.Kind, p.Detail = k, detail
	}
}

func (v *Verifier) extend(at int, last int64) {
	if p := v.listed(at); p != nil {
		p.Last = max(p.Last, last)
	}
}

func remember(list []broken, b broken) []broken {
	if len(list) >= mostBreaks {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, b)
}
