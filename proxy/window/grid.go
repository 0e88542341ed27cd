package window

import "time"

// Grid is the windows of one budget, each from one boundary to the next. It is
// the calendar's where the known reset lies on the calendar, or none is known:
//
//	1d 7d 30d 1mo     days, weeks from Monday, months
//	parts of a day    multiples since midnight, of what divides 24 hours
//	Nd Nmo            N days from midnight, N months from the first, in step with the reset
//
// A reset that lies elsewhere, as imported ones and those of other durations may,
// has a grid of equal steps through it, or of that day and time of the month. Which of the resets of a grid is known
// makes no difference: before it, and once it has passed, the windows are the
// same, so that hosts agree which have not yet heard of the next one.
type Grid struct {
	span   Span
	zone   *time.Location
	anchor time.Time
	kind   gridKind
}

type gridKind uint8

const (
	always   gridKind = iota // one window without an end
	clock                    // multiples since midnight
	days                     // of the calendar
	months                   // of the calendar
	steps                    // equal ones through the anchor
	monthsAt                 // a day and time of the month
)

// New makes the grid of a duration ("" or one that cannot be read: a single
// window of all time), a known reset (zero: none) and a zone (nil: UTC).
func New(duration string, reset time.Time, zone *time.Location) Grid {
	if zone == nil {
		zone = time.UTC
	}
	s, err := Parse(duration)
	if err != nil {
		return Grid{}
	}
	g := Grid{span: s, zone: zone, anchor: reset}
	known := !reset.IsZero()
	if known {
		g.anchor = reset.In(zone)
	}
	month := s.unit == "mo" || s.unit == "d" && s.count == 30
	midnight := !known || g.anchor.Equal(startOfDay(g.anchor))
	switch {
	case month && midnight && (!known || g.anchor.Day() == 1):
		g.kind = months
	case month:
		g.kind = monthsAt
	case s.unit == "d" && midnight && (s.count != 7 || !known || g.anchor.Weekday() == time.Monday):
		g.kind = days
	case s.unit != "d" && 86400%s.seconds() == 0 && g.onClock(g.anchor):
		g.kind = clock
	default:
		g.kind = steps
	}
	return g
}

// Start is the window that a moment lies in: start <= at < end.
func Start(duration string, reset time.Time, zone *time.Location, at time.Time) (start, end time.Time) {
	return New(duration, reset, zone).At(at)
}

// Endless is true for the one window of all time.
func (g Grid) Endless() bool { return g.kind == always }

// At is the window that a moment lies in: start <= at < end. Both are zero for
// the window of all time.
func (g Grid) At(at time.Time) (start, end time.Time) {
	switch g.kind {
	case always:
		return time.Time{}, time.Time{}
	case clock:
		start, end = g.clockAt(at.In(g.zone))
	case days:
		start, end = g.daysAt(at.In(g.zone))
	case months:
		start, end = g.monthsFrom(at.In(g.zone), 1, 0)
	case monthsAt:
		start, end = g.monthsAtTime(at)
	default:
		step := g.span.seconds()
		first := g.anchor.Unix()
		if g.anchor.IsZero() { // whole steps of the epoch
			first = 0
		}
		from := first + floor(at.Unix()-first, step)*step
		start, end = time.Unix(from, 0), time.Unix(from+step, 0)
	}
	return start.UTC(), end.UTC()
}

// Next is the reset that follows a moment; zero for the window of all time.
func (g Grid) Next(at time.Time) time.Time {
	_, end := g.At(at)
	return end
}

// floor is n/d, rounded down.
func floor(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

// startOfDay is the first moment of the day that t lies in.
func startOfDay(t time.Time) time.Time {
	year, month, day := t.Date()
	return dawn(year, month, day, t.Location())
}

// dawn is the first moment of a day, which is no midnight where the clock skips
// that. Days and months beyond the calendar are those that follow.
func dawn(year int, month time.Month, day int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if hour := t.Hour(); hour > 12 { // it fell on the evening before: what is left of that is skipped
		t = t.Add(time.Duration(24-hour) * time.Hour).Add(-time.Duration(t.Minute()) * time.Minute)
	}
	return t
}

// dayNumber counts the days of the calendar, whatever their length.
func dayNumber(t time.Time) int64 {
	year, month, day := t.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86400
}

func (g Grid) daysAt(t time.Time) (start, end time.Time) {
	n := int64(g.span.count)
	phase := int64(0)
	switch {
	case n == 7:
		phase = -3 // the epoch was a Thursday
	case !g.anchor.IsZero():
		phase = dayNumber(g.anchor)
	}
	first := phase + floor(dayNumber(t)-phase, n)*n
	at := func(day int64) time.Time { return dawn(1970, 1, 1+int(day), g.zone) }
	return at(first), at(first + n)
}

// monthsFrom is windows of months that begin at a day and a second of it.
func (g Grid) monthsFrom(t time.Time, day, second int) (start, end time.Time) {
	n := int64(g.span.count)
	if g.span.unit == "d" {
		n = 1
	}
	phase := int64(0)
	number := func(t time.Time) int64 { return int64(t.Year())*12 + int64(t.Month()) - 1 }
	if !g.anchor.IsZero() {
		phase = number(g.anchor.In(t.Location()))
	}
	at := func(month int64) time.Time {
		year := floor(month, 12)
		if second == 0 {
			return dawn(int(year), time.Month(month-12*year+1), day, t.Location())
		}
		return time.Date(int(year), time.Month(month-12*year+1), day, 0, 0, second, 0, t.Location())
	}
	in := number(t)
	if t.Before(at(in)) {
		in--
	}
	first := phase + floor(in-phase, n)*n
	return at(first), at(first + n)
}

// monthsAtTime is in UTC, whose days have one length. Days that not every month
// has are the 28th.
func (g Grid) monthsAtTime(at time.Time) (start, end time.Time) {
	a := g.anchor.UTC()
	return g.monthsFrom(at.UTC(), min(a.Day(), 28), a.Hour()*3600+a.Minute()*60+a.Second())
}

// onClock is true for a boundary of the windows of a day, and for no moment.
func (g Grid) onClock(t time.Time) bool {
	if t.IsZero() {
		return true
	}
	start, _ := g.clockAt(t)
	return start.Equal(t)
}

// clockAt is the window of the clock's multiples that t lies in. On a day on
// which the clock is changed a multiple may come later than the next one, or
// twice: the boundaries are sorted then, so that they still divide the day.
func (g Grid) clockAt(t time.Time) (start, end time.Time) {
	length := g.span.seconds()
	midnight := startOfDay(t)
	year, month, day := t.Date()
	tomorrow := dawn(year, month, day+1, g.zone)
	since := int64(t.Sub(midnight) / time.Second)
	_, was := midnight.Zone()
	_, is := tomorrow.Zone()
	if shift := int64(is - was); shift%length == 0 && tomorrow.Sub(midnight) == time.Duration(86400-shift)*time.Second {
		// What the clock does, it does by whole windows.
		start = midnight.Add(time.Duration(since/length*length) * time.Second)
		end = start.Add(time.Duration(length) * time.Second)
		return start, earlier(end, tomorrow)
	}
	start, end = midnight, tomorrow
	const far = 4 * 3600 // no clock is ever changed by more
	for k := max(since-far, 0) / length; k*length < min(since+far+length, 86400); k++ {
		switch at := time.Date(year, month, day, 0, 0, int(k*length), 0, g.zone); {
		case !at.After(t) && at.After(start):
			start = at
		case at.After(t) && at.Before(end):
			end = at
		}
	}
	return start, end
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
