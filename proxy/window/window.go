// Package window is the windows of time that budgets are counted in: when one
// that a moment lies in began, and when it ends. A window is a pure function of
// the duration, the moment at which a reset is known to be due, and the zone, so
// that every process of every host counts in the same one.
package window

import (
	"errors"
	"strconv"
	"time"
)

// Span is a duration as clients write it: 30s, 5m, 12h, 7d, 2w, 1mo. A month is
// a month of the calendar, so a span has a length only from a moment on. The
// zero value is no span.
type Span struct {
	count int
	unit  string // s, m, h, d or mo
}

// errDuration is what is wrong with every text that is no span. It is written
// to follow the name of the field.
var errDuration = errors.New("is a whole number of at least 1 and a unit, as in 30s, 5m, 12h, 7d, 2w or 1mo, and at most a hundred years")

// spanLimits is a hundred years in each unit; w is read as seven days.
var spanLimits = map[string]int{"s": 36525 * 86400, "m": 36525 * 1440, "h": 36525 * 24, "d": 36525, "w": 5217, "mo": 1200}

// Parse reads a span. Its error follows the name of the field that the text is of.
func Parse(text string) (Span, error) {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	limit, ok := spanLimits[text[digits:]]
	n, err := strconv.Atoi(text[:digits])
	if !ok || err != nil || n < 1 || n > limit {
		return Span{}, errDuration
	}
	if text[digits:] == "w" {
		return Span{count: 7 * n, unit: "d"}, nil
	}
	return Span{count: n, unit: text[digits:]}, nil
}

// After is the moment a span later: exact to the second, except that a month
// ends on its last day where it has no such day.
func (s Span) After(t time.Time) time.Time {
	if s.unit == "mo" {
		year, month, day := t.Date()
		last := time.Date(year, month+time.Month(s.count)+1, 0, 0, 0, 0, 0, t.Location()).Day()
		return time.Date(year, month+time.Month(s.count), min(day, last), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	}
	return t.Add(time.Duration(s.seconds()) * time.Second)
}

// seconds is the length of a span that is no months, days being 24 hours.
func (s Span) seconds() int64 {
	switch s.unit {
	case "d":
		return int64(s.count) * 86400
	case "h":
		return int64(s.count) * 3600
	case "m":
		return int64(s.count) * 60
	}
	return int64(s.count)
}

// Reset is when a budget that is made at t is due for its first reset, on the
// calendar of t's zone: a week ends on Monday, thirty days and a month with the
// month, other days at midnight, and what is shorter at a multiple of itself
// since midnight.
func (s Span) Reset(t time.Time) time.Time {
	year, month, day := t.Date()
	zone := t.Location()
	switch {
	case s.unit == "mo":
		return dawn(year, month+time.Month(s.count), 1, zone)
	case s.unit == "d" && s.count == 30:
		return dawn(year, month+1, 1, zone)
	case s.unit == "d" && s.count == 7:
		return dawn(year, month, day+7-(int(t.Weekday())+6)%7, zone)
	case s.unit == "d":
		return dawn(year, month, day+s.count, zone)
	}
	length := int(s.seconds())
	since := t.Hour()*3600 + t.Minute()*60 + t.Second()
	// The clock is what is aligned, so an hour that the clock skips or repeats
	// is stepped over.
	for next := (since/length + 1) * length; ; next += length {
		if end := time.Date(year, month, day, 0, 0, next, 0, zone); end.After(t) {
			return end
		}
	}
}

// Next is when a budget of the given duration that is made now is due for its
// first reset. nil is UTC.
func Next(duration string, now time.Time, zone *time.Location) (time.Time, error) {
	s, err := Parse(duration)
	if err != nil {
		return time.Time{}, err
	}
	if zone == nil {
		zone = time.UTC
	}
	return s.Reset(now.In(zone)).UTC(), nil
}
