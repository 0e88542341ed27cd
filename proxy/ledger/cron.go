package ledger

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Cron is a time that comes again, in the words of cron: minute, hour, day of
// the month, month, day of the week, each *, a number, a range, a list or steps
// of these.
type Cron struct {
	minute, hour, day, month, weekday uint64 // bit n: n
	anyDay, anyWeekday                bool
	zone                              *time.Location
}

// ParseCron reads five fields. zone nil is UTC.
func ParseCron(text string, zone *time.Location) (*Cron, error) {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return nil, fmt.Errorf("%q has %d fields: minute, hour, day of the month, month and day of the week are expected", text, len(fields))
	}
	if zone == nil {
		zone = time.UTC
	}
	c := &Cron{zone: zone, anyDay: strings.HasPrefix(fields[2], "*"), anyWeekday: strings.HasPrefix(fields[4], "*")}
	for i, f := range []struct {
		to        *uint64
		name      string
		low, high int
	}{
		{&c.minute, "minute", 0, 59},
		{&c.hour, "hour", 0, 23},
		{&c.day, "day of the month", 1, 31},
		{&c.month, "month", 1, 12},
		{&c.weekday, "day of the week", 0, 7},
	} {
		bits, err := cronField(fields[i], f.low, f.high)
		if err != nil {
			return nil, fmt.Errorf("%q is no %s of %q: %w", fields[i], f.name, text, err)
		}
		*f.to = bits
	}
	if c.weekday&(1<<7) != 0 { // Sunday is 0 and 7
		c.weekday |= 1
	}
	if c.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, zone)).IsZero() {
		return nil, fmt.Errorf("%q never comes", text)
	}
	return c, nil
}

func cronField(field string, low, high int) (bits uint64, err error) {
	for _, part := range strings.Split(field, ",") {
		span, step, stepped := strings.Cut(part, "/")
		n := 1
		if stepped {
			if n, err = strconv.Atoi(step); err != nil || n < 1 {
				return 0, fmt.Errorf("%q is no step", step)
			}
		}
		from, to := low, high
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			if from, err = strconv.Atoi(first); err != nil {
				return 0, fmt.Errorf("%q is no number", first)
			}
			switch {
			case ranged:
				if to, err = strconv.Atoi(last); err != nil {
					return 0, fmt.Errorf("%q is no number", last)
				}
			case !stepped:
				to = from
			}
		}
		if from < low || to > high || from > to {
			return 0, fmt.Errorf("numbers from %d to %d are expected", low, high)
		}
		for i := from; i <= to; i += n {
			bits |= 1 << i
		}
	}
	return bits, nil
}

// Next is the first time after t, the zero time where there is none within five
// years.
func (c *Cron) Next(t time.Time) time.Time {
	t = t.In(c.zone).Truncate(time.Minute).Add(time.Minute)
	for end := t.AddDate(5, 0, 0); t.Before(end); {
		switch {
		case c.month&(1<<t.Month()) == 0:
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, c.zone)
		case !c.on(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, c.zone)
		case c.hour&(1<<t.Hour()) == 0:
			t = t.Add(time.Duration(60-t.Minute()) * time.Minute) // hours of a zone need not begin with those of UTC
		case c.minute&(1<<t.Minute()) == 0:
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

// on says whether the day is meant. As cron does, of two that are given either
// will do.
func (c *Cron) on(t time.Time) bool {
	day, weekday := c.day&(1<<t.Day()) != 0, c.weekday&(1<<t.Weekday()) != 0
	if c.anyDay || c.anyWeekday {
		return day && weekday
	}
	return day || weekday
}
