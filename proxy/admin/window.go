package admin

import (
	"errors"
	"strconv"
	"time"
)

// span is a duration as clients write it: 30s, 5m, 12h, 7d, 2w, 1mo. A month is
// a month of the calendar, so a span has a length only from a moment on.
type span struct {
	count int
	unit  string // s, m, h, d or mo
}

// errDuration is what is wrong with every text that is no span. It is written
// to follow the name of the field.
var errDuration = errors.New("is a whole number of at least 1 and a unit, as in 30s, 5m, 12h, 7d, 2w or 1mo, and at most a hundred years")

// spanLimits is a hundred years in each unit; w is read as seven days.
var spanLimits = map[string]int{"s": 36525 * 86400, "m": 36525 * 1440, "h": 36525 * 24, "d": 36525, "w": 5217, "mo": 1200}

// parseDuration reads a span.
func parseDuration(text string) (span, error) {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	limit, ok := spanLimits[text[digits:]]
	n, err := strconv.Atoi(text[:digits])
	if !ok || err != nil || n < 1 || n > limit {
		return span{}, errDuration
	}
	if text[digits:] == "w" {
		return span{count: 7 * n, unit: "d"}, nil
	}
	return span{count: n, unit: text[digits:]}, nil
}

// after is the moment a span later: exact to the second, except that a month
// ends on its last day where it has no such day.
func (s span) after(t time.Time) time.Time {
	switch s.unit {
	case "mo":
		year, month, day := t.Date()
		last := time.Date(year, month+time.Month(s.count)+1, 0, 0, 0, 0, 0, t.Location()).Day()
		return time.Date(year, month+time.Month(s.count), min(day, last), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	case "d":
		return t.Add(time.Duration(s.count) * 24 * time.Hour)
	case "h":
		return t.Add(time.Duration(s.count) * time.Hour)
	case "m":
		return t.Add(time.Duration(s.count) * time.Minute)
	default:
		return t.Add(time.Duration(s.count) * time.Second)
	}
}

// reset is the end of the window that t lies in, on the calendar of t's zone: a
// week ends on Monday, thirty days and a month with the month, other days at
// midnight, and what is shorter at a multiple of itself since midnight.
func (s span) reset(t time.Time) time.Time {
	year, month, day := t.Date()
	zone := t.Location()
	switch {
	case s.unit == "mo":
		return time.Date(year, month+time.Month(s.count), 1, 0, 0, 0, 0, zone)
	case s.unit == "d" && s.count == 30:
		return time.Date(year, month+1, 1, 0, 0, 0, 0, zone)
	case s.unit == "d" && s.count == 7:
		return time.Date(year, month, day+7-(int(t.Weekday())+6)%7, 0, 0, 0, 0, zone)
	case s.unit == "d":
		return time.Date(year, month, day+s.count, 0, 0, 0, 0, zone)
	}
	length := s.count
	switch s.unit {
	case "h":
		length *= 3600
	case "m":
		length *= 60
	}
	since := t.Hour()*3600 + t.Minute()*60 + t.Second()
	// The clock is what is aligned, so an hour that the clock skips or repeats
	// is stepped over.
	for next := (since/length + 1) * length; ; next += length {
		if end := time.Date(year, month, day, 0, 0, next, 0, zone); end.After(t) {
			return end
		}
	}
}

// nextReset is when a budget of the given duration is due for its next reset.
// nil is UTC.
func nextReset(duration string, now time.Time, zone *time.Location) (time.Time, error) {
	s, err := parseDuration(duration)
	if err != nil {
		return time.Time{}, err
	}
	if zone == nil {
		zone = time.UTC
	}
	return s.reset(now.In(zone)).UTC(), nil
}
