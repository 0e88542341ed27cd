package window

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Span{
		"30s": {30, "s"}, "5m": {5, "m"}, "12h": {12, "h"}, "7d": {7, "d"}, "2w": {14, "d"}, "1mo": {1, "mo"}, "007d": {7, "d"}, "36525d": {36525, "d"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %+v %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "often", "5", "d", "0d", "-1d", "+1d", "1.5h", " 1d", "1d ", "1D", "1y", "1dd", "36526d", "99999999999999999999s", "1mo1d", "٣d",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestDurationAfter(t *testing.T) {
	from := time.Date(2026, 1, 31, 10, 20, 30, 0, time.UTC)
	for text, want := range map[string]string{
		"30s": "2026-01-31T10:21:00Z", "5m": "2026-01-31T10:25:30Z", "12h": "2026-01-31T22:20:30Z", "1d": "2026-02-01T10:20:30Z",
		"2w": "2026-02-14T10:20:30Z", "1mo": "2026-02-28T10:20:30Z", "2mo": "2026-03-31T10:20:30Z", "12mo": "2027-01-31T10:20:30Z",
	} {
		s, err := Parse(text)
		if got := s.After(from).Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%s after %s: %s, want %s (%v)", text, from, got, want, err)
		}
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct{ duration, now, zone, want string }{
		{"7d", "2026-11-21T07:19:10Z", "UTC", "2026-11-23T00:00:00Z"}, // as recorded
		{"1w", "2026-11-23T00:00:00Z", "UTC", "2026-11-30T00:00:00Z"}, // on the boundary: the next one
		{"7d", "2026-11-22T23:59:59Z", "UTC", "2026-11-23T00:00:00Z"},
		{"1d", "2026-11-21T00:00:00Z", "UTC", "2026-11-22T00:00:00Z"},
		{"24h", "2026-11-21T05:00:00Z", "UTC", "2026-11-22T00:00:00Z"},
		{"48h", "2026-11-21T05:00:00Z", "UTC", "2026-11-23T00:00:00Z"},
		{"30d", "2026-11-21T05:00:00Z", "UTC", "2026-12-01T00:00:00Z"},
		{"1mo", "2026-12-31T23:59:59Z", "UTC", "2027-01-01T00:00:00Z"},
		{"3mo", "2026-11-30T00:00:00Z", "UTC", "2027-02-01T00:00:00Z"},
		{"2w", "2026-11-21T05:00:00Z", "UTC", "2026-12-05T00:00:00Z"},
		{"3d", "2026-11-21T05:00:00Z", "UTC", "2026-11-24T00:00:00Z"},
		{"12h", "2026-11-21T05:00:00Z", "UTC", "2026-11-21T12:00:00Z"},
		{"1h", "2026-11-21T23:30:00Z", "UTC", "2026-11-22T00:00:00Z"},
		{"15m", "2026-11-21T05:14:59Z", "UTC", "2026-11-21T05:15:00Z"},
		{"30s", "2026-11-21T05:14:30Z", "UTC", "2026-11-21T05:15:00Z"},
		{"90s", "2026-11-21T00:01:31Z", "UTC", "2026-11-21T00:03:00Z"},
		{"1d", "2026-11-21T23:30:00Z", "Europe/Berlin", "2026-11-22T23:00:00Z"},
		{"1d", "2026-03-28T23:30:00Z", "Europe/Berlin", "2026-03-29T22:00:00Z"}, // a day of 23 hours
		{"1h", "2026-03-29T00:30:00Z", "Europe/Berlin", "2026-03-29T01:00:00Z"}, // two o'clock is skipped
		{"1h", "2026-10-25T01:30:00Z", "Europe/Berlin", "2026-10-25T02:00:00Z"}, // half past two for the second time
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Next(c.duration, now, zone)
		if err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("%s from %s in %s: %s, want %s (%v)", c.duration, c.now, c.zone, got.Format(time.RFC3339), c.want, err)
		}
	}
	if got, err := Next("1d", time.Date(2026, 5, 5, 5, 5, 5, 0, time.UTC), nil); err != nil || got.Day() != 6 {
		t.Errorf("without a zone: %s %v", got, err)
	}
	if _, err := Next("often", time.Now(), time.UTC); err == nil {
		t.Error("a duration that is none has a reset")
	}
}

// Every reset lies in the future, in every zone and whatever the clock does.
func TestNextIsLater(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, duration := range []string{"1s", "7s", "1m", "45m", "1h", "5h", "25h", "1d", "7d", "30d", "1mo"} {
			for now := time.Date(2026, 3, 27, 0, 0, 1, 0, zone); now.Year() == 2026; now = now.Add(4*time.Hour + 17*time.Minute) {
				if end, err := Next(duration, now, zone); err != nil || !end.After(now) {
					t.Fatalf("%s from %s in %s: %s %v", duration, now, name, end, err)
				}
			}
		}
	}
}

// FuzzDuration: a duration that is read leads to a later moment, at most about a
// hundred years away, and its window ends after it begins.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"30s", "1mo", "1200mo", "36525d", "5217w", "0d", "-1", "9000000000d", "1d ", "٣d", "24h", "7d", "30d", "90m"} {
		f.Add(s, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		now := time.Unix(seconds%4_000_000_000, 0).UTC()
		if after := s.After(now); !after.After(now) || after.After(now.AddDate(101, 0, 0)) {
			t.Errorf("%q after %v is %v", text, now, after)
		}
		if end := s.Reset(now); !end.After(now) || end.After(now.AddDate(101, 0, 0)) {
			t.Errorf("%q: the window of %v ends %v", text, now, end)
		}
	})
}
