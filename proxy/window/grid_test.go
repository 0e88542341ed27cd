package window

import (
	"math/rand/v2"
	"testing"
	"time"
)

func load(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestStart(t *testing.T) {
	for _, c := range []struct{ duration, reset, zone, at, start, end string }{
		{"1d", "", "UTC", "2026-11-21T05:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"1d", "", "Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, // 23 hours
		{"24h", "", "UTC", "2026-11-21T05:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"7d", "", "UTC", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"1w", "", "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"30d", "2026-12-01T00:00:00Z", "UTC", "2026-11-21T05:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"1mo", "", "America/New_York", "2026-12-31T23:59:59Z", "2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"},
		{"12h", "", "Europe/Berlin", "2026-10-25T08:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T11:00:00Z"}, // noon, 13 hours after midnight
		{"1h", "", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
		{"30s", "", "UTC", "2026-11-21T05:14:30Z", "2026-11-21T05:14:30Z", "2026-11-21T05:15:00Z"},
		{"3d", "2026-11-24T00:00:00Z", "UTC", "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"3d", "2026-11-24T00:00:00Z", "UTC", "2026-11-29T12:00:00Z", "2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z"}, // the reset has passed, twice
		{"3d", "2026-11-24T00:00:00Z", "UTC", "2026-11-20T12:00:00Z", "2026-11-18T00:00:00Z", "2026-11-21T00:00:00Z"}, // it lies far ahead
		{"3mo", "2027-02-01T00:00:00Z", "UTC", "2026-11-30T00:00:00Z", "2026-11-01T00:00:00Z", "2027-02-01T00:00:00Z"},
		{"48h", "2026-11-23T00:00:00Z", "UTC", "2026-11-21T05:00:00Z", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"5h", "2026-11-22T01:00:00Z", "UTC", "2026-11-22T00:30:00Z", "2026-11-21T20:00:00Z", "2026-11-22T01:00:00Z"},
		{"30d", "2026-12-05T13:05:07Z", "UTC", "2026-12-05T13:05:06Z", "2026-11-05T13:05:07Z", "2026-12-05T13:05:07Z"}, // as imported
		{"30d", "2026-12-05T13:05:07Z", "UTC", "2026-12-05T13:05:07Z", "2026-12-05T13:05:07Z", "2027-01-05T13:05:07Z"},
		{"1mo", "2026-01-31T13:00:00Z", "UTC", "2026-02-10T00:00:00Z", "2026-01-28T13:00:00Z", "2026-02-28T13:00:00Z"},
		{"7d", "2026-11-25T09:00:00Z", "UTC", "2026-11-21T00:00:00Z", "2026-11-18T09:00:00Z", "2026-11-25T09:00:00Z"},
	} {
		start, end := Start(c.duration, instant(t, c.reset), load(t, c.zone), instant(t, c.at))
		if start.Format(time.RFC3339) != c.start || end.Format(time.RFC3339) != c.end {
			t.Errorf("%s with %q at %s in %s: %s to %s, want %s to %s", c.duration, c.reset, c.at, c.zone,
				start.Format(time.RFC3339), end.Format(time.RFC3339), c.start, c.end)
		}
	}
	for _, none := range []string{"", "often", "0d"} {
		if start, end := Start(none, time.Now(), nil, time.Now()); !start.IsZero() || !end.IsZero() || !New(none, time.Time{}, nil).Endless() {
			t.Errorf("%q has a window from %v to %v", none, start, end)
		}
	}
}

// agree checks that a window holds its moment, that the next one begins where it
// ends, and that it is the same whichever of its ends is the reset that is known.
func agree(t *testing.T, duration string, reset time.Time, zone *time.Location, at time.Time) {
	t.Helper()
	g := New(duration, reset, zone)
	start, end := g.At(at)
	if start.After(at) || !end.After(at) {
		t.Fatalf("%s, reset %v in %v: the window of %v is %v to %v", duration, reset, zone, at, start, end)
	}
	for _, inside := range []time.Time{start, end.Add(-1)} {
		if s, e := g.At(inside); !s.Equal(start) || !e.Equal(end) {
			t.Fatalf("%s, reset %v in %v: the window of %v is %v to %v, of %v %v to %v", duration, reset, zone, at, start, end, inside, s, e)
		}
	}
	if s, _ := g.At(end); !s.Equal(end) {
		t.Fatalf("%s, reset %v in %v: a window ends %v, the next one begins %v", duration, reset, zone, end, s)
	}
	for _, known := range []time.Time{start, end, g.Next(end)} {
		if s, e := Start(duration, known, zone, at); !s.Equal(start) || !e.Equal(end) {
			t.Fatalf("%s in %v: the window of %v is %v to %v by the reset %v, and %v to %v by %v", duration, zone, at, start, end, reset, s, e, known)
		}
	}
}

var durations = []string{
	"1s", "7s", "90s", "1m", "45m", "1h", "5h", "7h", "12h", "24h", "25h", "36h", "48h", "1d", "2d", "3d", "7d", "2w", "10d", "30d", "31d", "90d", "1mo", "2mo", "3mo", "12mo",
}

// Windows that API objects get divide time, on every day that a clock is changed.
func TestWindowsDivideTime(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Beirut", "America/Havana"} {
		zone := load(t, name)
		for _, duration := range durations {
			span, err := Parse(duration)
			if err != nil {
				t.Fatal(err)
			}
			for range 60 {
				made := time.Date(2026, 1, 1, 0, 0, dice.IntN(366*86400), 0, zone)
				at := made.Add(time.Duration(dice.IntN(120*86400)) * time.Second)
				agree(t, duration, span.Reset(made), zone, at)
				agree(t, duration, time.Time{}, zone, at)
			}
			// Around the days on which clocks are changed.
			for at := time.Date(2026, 3, 28, 22, 0, 1, 0, time.UTC); at.Month() == 3 && at.Day() < 31; at = at.Add(23*time.Minute + 13*time.Second) {
				agree(t, duration, time.Time{}, zone, at)
			}
		}
	}
}

// Any reset at all has windows that divide time, whichever of them is known.
func TestAnyReset(t *testing.T) {
	dice := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	for _, duration := range durations {
		for range 1000 {
			reset := time.Date(2026, 1, 1, 0, 0, dice.IntN(366*86400), 0, time.UTC)
			if dice.IntN(3) == 0 {
				reset = reset.Truncate(time.Hour)
			}
			agree(t, duration, reset, time.UTC, reset.Add(time.Duration(dice.IntN(800*86400)-400*86400)*time.Second))
		}
	}
}

// FuzzStart: every text, reset and moment has one window.
func FuzzStart(f *testing.F) {
	f.Add("30d", int64(1_800_000_000), int64(1_700_000_000))
	f.Add("7h", int64(0), int64(-1))
	f.Add("1200mo", int64(4_000_000_000), int64(1))
	f.Fuzz(func(t *testing.T, text string, reset, at int64) {
		const most = 8_000_000_000
		if _, err := Parse(text); err != nil {
			return
		}
		anchor, moment := time.Unix(reset%most, 0), time.Unix(at%most, 0)
		start, end := Start(text, anchor, nil, moment)
		if start.After(moment) || !end.After(moment) {
			t.Errorf("%q with %v: the window of %v is %v to %v", text, anchor, moment, start, end)
		}
	})
}

func BenchmarkAt(b *testing.B) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for _, duration := range []string{"1h", "1d", "30d", "3d"} {
		g := New(duration, time.Time{}, zone)
		b.Run(duration, func(b *testing.B) {
			for b.Loop() {
				g.At(now)
			}
		})
	}
}
